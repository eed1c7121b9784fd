"""Reads batches: their number of samples, and the arguments for ``forward``; joins batches' results."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lightmodels.utils.step_errors import explain_errors, name_of, refuse_broadcasting

UNKNOWN = object()  # in place of samples that are not collated


def batch_size(batch: Any) -> int:
    """The first dimension that all tensors of a batch share, in sequences and mappings too; scalars do not count.

    Raises:
        ValueError: there is none, as tensors disagree, the batch is a list of samples, or holds other objects.
    """
    sizes: set[int | None] = set()
    samples = isinstance(batch, list) and batch and all(isinstance(part, (tuple, Mapping)) for part in batch)
    _collect_sizes(UNKNOWN if samples else batch, sizes)
    if len(sizes) != 1 or None in sizes:
        known = sorted(size for size in sizes if size is not None)
        why = f", whose tensors have first dimensions {known}" if len(known) > 1 else ""
        raise ValueError(
            f"cannot infer the number of samples from the batch{why}: return it as 'size' from shared_step"
        )
    return sizes.pop()  # type: ignore[return-value]


def _collect_sizes(batch: Any, sizes: set[int | None]) -> None:
    """Adds the first dimensions of all tensors; None for what may hold samples in a way of its own."""
    if isinstance(batch, Tensor):
        sizes.update(batch.shape[:1])
    elif isinstance(batch, (tuple, list)) and not isinstance(batch, PackedSequence):
        for part in batch:
            of_samples = isinstance(part, (tuple, list)) and part and all(isinstance(each, Mapping) for each in part)
            _collect_sizes(UNKNOWN if of_samples else part, sizes)
    elif isinstance(batch, Mapping):
        for part in batch.values():
            _collect_sizes(part, sizes)
    elif batch is not None and not isinstance(batch, (str, bytes, Number)):
        sizes.add(None)


def values_and_size(returned: Any, batch: Any, step: Callable[..., Any]) -> tuple[dict[str, Any], float]:
    """Splits what a step returned into its values and the batch's number of samples, which may be a fraction.

    Raises:
        ValueError: not a dict with a scalar ``"loss"``, or a size that is neither returned nor can be inferred.
    """
    if not isinstance(returned, Mapping) or "loss" not in returned:
        got = f"the keys {sorted(returned)}" if isinstance(returned, Mapping) else type(returned).__name__
        raise ValueError(f"{name_of(step)} must return a dict with 'loss', got {got}")
    values, loss = dict(returned), returned["loss"]
    if isinstance(loss, Tensor) and loss.numel() != 1:
        shape = tuple(loss.shape)
        raise ValueError(f"'loss' of {name_of(step)} must be a scalar, the mean over the batch, got shape {shape}")
    size = values.pop("size", None)
    if size is None:
        return values, batch_size(batch)
    return values, size if isinstance(size, int) else float(size)


def run_step(step: Callable[[Any], Any], batch: Any, is_first: bool = False) -> tuple[dict[str, Any], float]:
    """Calls a model's step: ``values_and_size`` of what it returns. A first batch's loss must not broadcast."""
    if not is_first:
        return values_and_size(explain_errors(step, batch), batch, step)
    with refuse_broadcasting():
        return values_and_size(explain_errors(step, batch), batch, step)


def warn_of_none(stage: str) -> None:
    """Says that a loader has yielded None instead of a batch, which is left out."""
    rank_zero_warn(f"a {stage} batch is None: it is skipped", stacklevel=2)


def forward_arguments(batch: Any, module: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the positional and keyword arguments for a module's ``forward``.

    These are all parts of a sequence but the last (the target), at most as many as ``forward`` takes, as weights may
    follow the target; the entries of a mapping that ``forward`` has parameters for; or the batch itself.

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
        return tuple(batch[:-1] or batch)[: _most_arguments(module) if len(batch) > 2 else None], {}
    return (batch,), {}


def inputs_and_target(batch: Any, module: nn.Module) -> Any:
    """A batch without what may follow the target, such as weights."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 3:
        return batch
    return batch[: len(forward_arguments(batch, module)[0]) + 1]


def _most_arguments(module: nn.Module) -> int | None:
    """How many positional arguments ``forward`` takes; None for any number."""
    compiled_from: Any = getattr(module, "_orig_mod", module)
    kinds = [parameter.kind for parameter in inspect.signature(compiled_from.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(kind in positional for kind in kinds)


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
