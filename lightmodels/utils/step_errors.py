"""One-line errors for what is wrong with a step's inputs, labels, indices or loss."""

import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.optim import Optimizer

HINTS = {  # how torch's message starts -> what it does not tell
    "Target ": "labels must be 0..C-1, where C is the number of outputs",
    "index out of range in self": "embedding indices must be 0..num_embeddings-1",
}

DTYPES = re.compile(  # how torch says that a layer's input is of another type than its weights
    r"(mat1 and mat2 must have the same dtype|expected m1 and m2 to have the same dtype"
    r"|Input type \(.*\) and (weight|bias) type \(.*\) should be the same).*"
)
ONE_ROW = "Expected more than 1 value per channel"  # how the error of torch's BatchNorm starts
BROADCASTING = "Using a target size"  # how the warning of torch's losses starts


def explain_errors(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a model's step, or the model, and returns what it returns.

    Raises:
        ValueError: a label or the index of an embedding is out of range (on a CPU, where torch reports it); inputs of
            another type than the weights; a training batch of one row, in a BatchNorm; inside
            ``refuse_broadcasting``, a loss of torch's that broadcasts.
    """
    try:
        return function(*args, **kwargs)
    except IndexError as error:
        for start, hint in HINTS.items():
            if str(error).startswith(start):
                raise ValueError(f"{name_of(function)}: {str(error).rstrip('.')} ({hint})") from error
        raise
    except RuntimeError as error:
        if found := DTYPES.match(str(error)):
            hint = "convert the inputs in forward, as by x.float(), or before"
            raise ValueError(f"{name_of(function)}: {found[0]} ({hint})") from error
        raise
    except ValueError as error:
        if str(error).startswith(ONE_ROW):
            raise ValueError(f"{name_of(function)}: {_explain_one_row(function)} ({error})") from error
        raise
    except UserWarning as warning:
        if str(warning).startswith(BROADCASTING):
            raise ValueError(f"{name_of(function)}: {warning}") from warning
        raise


def _explain_one_row(function: Callable[..., Any]) -> str:
    """Names the batch size, as far as the model's trainer has a loader that knows it."""
    try:
        model: Any = getattr(function, "__self__", function)
        loader = model.trainer.train_dataloader
    except (AttributeError, RuntimeError):  # how Lightning says that there is no trainer
        loader = None
    size = getattr(loader, "batch_size", None)
    named = "" if size is None else f" (batch_size={size})"
    what = f"BatchNorm cannot be trained on a batch of one row{named}"
    return f"{what}: choose a batch_size that leaves no single row at the end, or a DataLoader with drop_last=True"


@contextmanager
def refuse_broadcasting() -> Iterator[None]:
    """Turns the warning of torch's losses about shapes that differ into an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", BROADCASTING)
        yield


def name_of(function: Callable[..., Any]) -> str:
    """``Model.shared_step`` for that step of a ``Model``, also if it is inherited."""
    owner = type(getattr(function, "__self__", function)).__name__
    return f"{owner}.{getattr(function, '__name__', 'forward')}"


def require_closure(optimizer: Optimizer, was_called: bool = True) -> None:
    """Raises ValueError if an optimizer's ``step`` takes no closure, or has not called it."""
    try:
        inspect.signature(type(optimizer).step).bind(optimizer, closure=None)
    except TypeError:
        was_called = False
    if not was_called:
        name = type(optimizer).__name__
        raise ValueError(f"{name}.step must take a closure and call it, as it computes the loss and its gradients")


def require_gradient(loss: Any, model: pl.LightningModule) -> None:
    """Raises ValueError if automatic optimization could not train the model with this loss."""
    if not model.automatic_optimization or (isinstance(loss, Tensor) and loss.requires_grad):
        return
    name = type(model).__name__
    if not isinstance(loss, Tensor):
        raise ValueError(f"'loss' of {name}.shared_step must be a tensor, got {type(loss).__name__}")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"{name} has nothing to train: none of its parameters requires a gradient")
    detached = "compute it from the net's outputs, without detach() or torch.no_grad()"
    raise ValueError(f"'loss' of {name}.shared_step has no gradient: {detached}")
