"""What is wrong with a step's loss or indices, said in one line where torch is short of words."""

from collections.abc import Callable
from traceback import walk_tb
from typing import Any

import pytorch_lightning as pl
from torch import Tensor


def explained(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """What a model's step, or the model, returns.

    Raises:
        ValueError: a label or an index of an embedding is out of range (where torch says so: on a CPU).
    """
    try:
        return function(*args, **named)
    except IndexError as error:
        if reason := _out_of_range(error):
            raise ValueError(f"{name_of(function)}: {reason}") from error
        raise


def name_of(function: Callable[..., Any]) -> str:
    """``Model.shared_step`` for that step of a ``Model``, whichever class it comes from."""
    owner = type(getattr(function, "__self__", function)).__name__
    return f"{owner}.{getattr(function, '__name__', 'forward')}"


def require_gradient(loss: Any, model: pl.LightningModule) -> None:
    """Raises ValueError if Lightning, left to optimize by itself, could train nothing with this loss."""
    if not model.automatic_optimization or (isinstance(loss, Tensor) and loss.requires_grad):
        return
    name = type(model).__name__
    if not isinstance(loss, Tensor):
        raise ValueError(f"'loss' of {name}.shared_step must be a tensor, got {type(loss).__name__}")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"{name} has nothing to train: none of its parameters requires a gradient")
    raise ValueError(
        f"'loss' of {name}.shared_step has no gradient: compute it from the net's outputs, "
        "without detach() or torch.no_grad()"
    )


def _out_of_range(error: IndexError) -> str | None:
    """Which value torch's loss or embedding has refused, and what it would have taken."""
    for frame, _ in walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") != "torch.nn.functional":
            continue
        given = frame.f_locals
        if frame.f_code.co_name in ("cross_entropy", "nll_loss"):
            classes = given["input"].shape[1 if given["input"].dim() > 1 else 0]
            return _first_outside(given["target"], classes, "label", given["ignore_index"])
        if frame.f_code.co_name == "embedding":
            return _first_outside(given["input"], len(given["weight"]), "embedding index")
    return None


def _first_outside(values: Tensor, count: int, what: str, ignored: int | None = None) -> str | None:
    outside = ((values < 0) | (values >= count)) & (True if ignored is None else values != ignored)
    if not outside.any():
        return None
    first = outside.nonzero()[0].tolist()
    row = f" in row {first[0]} of the batch" if first else ""
    plural = "labels" if what == "label" else "embedding indices"
    return f"{what} {values[tuple(first)].item()}{row} is out of range: {plural} must be 0..{count - 1}"
