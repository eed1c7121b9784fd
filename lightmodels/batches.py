"""What can be read off a batch: how many samples it has, and which of its parts go into ``forward``."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightmodels.utils.step_errors import explain_errors, name_of


def batch_size(batch: Any) -> int:
    """The length of the first tensor found in a tensor, a sequence or a mapping of batches.

    Raises:
        ValueError: there is no tensor with a first dimension in it.
    """
    size = _first_length(batch)
    if size is None:
        raise ValueError(
            "the number of samples cannot be read off the batch: return it as 'size' from shared_step"
        )
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
    """What a step has returned, without ``"size"``, and the number of samples in its batch.

    Raises:
        ValueError: no dict with ``"loss"``, or a batch whose size is neither given nor to be seen.
    """
    if not isinstance(returned, Mapping) or "loss" not in returned:
        got = f"the keys {sorted(returned)}" if isinstance(returned, Mapping) else type(returned).__name__
        raise ValueError(f"{step} must return a dict with 'loss', got {got}")
    values = dict(returned)
    size = values.pop("size", None)
    return values, batch_size(batch) if size is None else int(size)


def run_step(step: Callable[[Any], Any], batch: Any) -> tuple[dict[str, Any], int]:
    """``values_and_size`` of what a model's step returns; raises as ``explain_errors`` does."""
    return values_and_size(explain_errors(step, batch), batch, name_of(step))


def inputs_of(batch: Any, module: nn.Module) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a module's ``forward`` in a batch, positional and named.

    Of a sequence, all parts but the last (the target), or its only part; of a mapping, the
    entries that ``forward`` has parameters for; anything else as it is.

    Raises:
        ValueError: no entry of a mapping has the name of one of ``forward``'s parameters.
    """
    if isinstance(batch, Mapping):
        compiled_from: Any = getattr(module, "_orig_mod", module)  # as torch.compile hides the names
        names = list(inspect.signature(compiled_from.forward).parameters)
        named = {name: batch[name] for name in names if name in batch}
        if not named:
            raise ValueError(
                f"forward takes {', '.join(names)}, but the batch has {', '.join(map(str, batch))}"
            )
        return (), named
    if isinstance(batch, (tuple, list)):
        return tuple(batch[:-1] or batch), {}
    return (batch,), {}


def join(batches: Sequence[Any]) -> Any:
    """One result of many batches: tensors end to end, mappings entry by entry; other kinds stay a list."""
    first = batches[0] if batches else None
    if isinstance(first, Tensor):
        return torch.cat([batch if batch.dim() else batch[None] for batch in batches])
    if isinstance(first, Mapping):
        return {name: join([batch[name] for batch in batches]) for name in first}
    return list(batches)
