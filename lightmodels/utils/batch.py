"""Reads batches: their number of samples, and the arguments for ``forward``; joins batches' results."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lightmodels.utils.step_errors import explain_errors, name_of, refuse_broadcasting


def batch_size(batch: Any) -> int:
    """The length of the first tensor found in a tensor, a sequence or a mapping of batches.

    Raises:
        ValueError: there is no tensor with a first dimension in it.
    """
    size = _first_length(batch)
    if size is None:
        raise ValueError("cannot infer the number of samples from the batch: return it as 'size' from shared_step")
    return size


def _first_length(batch: Any) -> int | None:
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else None
    if isinstance(batch, Mapping):
        batch = batch.values()
    elif not isinstance(batch, (tuple, list)):
        return None
    return next((size for part in batch if (size := _first_length(part)) is not None), None)


def values_and_size(returned: Any, batch: Any, step: str) -> tuple[dict[str, Any], int]:
    """Splits what a step returned into its values and the batch's number of samples.

    Raises:
        ValueError: not a dict with a scalar ``"loss"``, or a size that is neither returned nor can be inferred.
    """
    if not isinstance(returned, Mapping) or "loss" not in returned:
        got = f"the keys {sorted(returned)}" if isinstance(returned, Mapping) else type(returned).__name__
        raise ValueError(f"{step} must return a dict with 'loss', got {got}")
    values, loss = dict(returned), returned["loss"]
    if isinstance(loss, Tensor) and loss.numel() != 1:
        raise ValueError(f"'loss' of {step} must be a scalar, the mean over the batch, got shape {tuple(loss.shape)}")
    size = values.pop("size", None)
    return values, batch_size(batch) if size is None else int(size)


def run_step(step: Callable[[Any], Any], batch: Any, is_first: bool = False) -> tuple[dict[str, Any], int]:
    """Calls a model's step: ``values_and_size`` of what it returns. A first batch's loss must not broadcast."""
    with refuse_broadcasting() if is_first else nullcontext():
        returned = explain_errors(step, batch)
    return values_and_size(returned, batch, name_of(step))


def forward_arguments(batch: Any, module: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the positional and keyword arguments for a module's ``forward``.

    These are all parts of a sequence but the last (the target), the entries of a mapping that ``forward``
    has parameters for, or the batch itself.

    Raises:
        ValueError: no key of a mapping is a parameter of ``forward``.
    """
    if isinstance(batch, Mapping):
        compiled_from: Any = getattr(module, "_orig_mod", module)  # torch.compile hides the names
        names = list(inspect.signature(compiled_from.forward).parameters)
        named = {name: batch[name] for name in names if name in batch}
        if not named:
            raise ValueError(f"forward takes {', '.join(names)}, but the batch has {', '.join(map(str, batch))}")
        return (), named
    if isinstance(batch, (tuple, list)):
        return tuple(batch[:-1] or batch), {}
    return (batch,), {}


def concatenate(batches: Sequence[Any]) -> Any:
    """Joins batches' results: tensors of equal row shapes along dimension 0, mappings of equal keys entry by entry.

    Results that cannot be joined, such as lists of boxes or rows of different widths, stay a list of one per batch.
    """
    first = batches[0] if batches else None
    if isinstance(first, Mapping) and all(
        isinstance(part, Mapping) and part.keys() == first.keys() for part in batches
    ):
        return {name: concatenate([batch[name] for batch in batches]) for name in first}
    if isinstance(first, Tensor) and all(isinstance(part, Tensor) for part in batches):
        rows = [part if part.dim() else part[None] for part in batches]
        if all(part.shape[1:] == rows[0].shape[1:] for part in rows):
            return torch.cat(rows)
    return list(batches)
