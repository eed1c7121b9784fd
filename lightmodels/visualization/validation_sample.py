"""ValidationSample: the first rows of the validation data, kept as they are validated."""

from collections.abc import Callable
from typing import Any

from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lightmodels.utils.batch import batch_size, concatenate

MAX_ROWS = 2_000
MAX_BYTES = 64 * 2**20
MAX_OUTPUT_BYTES = 256 * 2**20


class ValidationSample:
    """Copies of validation batches, up to 2,000 rows and 64 MiB.

    The ``batches`` are on the device they came from; no further one is kept once the sample is ``complete``.
    """

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.complete = False
        self._rows, self._bytes = 0, 0.0

    def add(self, batch: Any) -> None:
        """Keeps a batch, or its first rows, if there is room and its rows have the shapes of the others."""
        if self.complete:
            return
        try:
            size = batch_size(batch)
        except ValueError:  # no tensors, hence no rows
            self.complete = True
            return
        if self.batches and _row_shapes(batch) != _row_shapes(self.batches[0]):
            return
        row_bytes = _nbytes(batch) / max(size, 1)
        keep = min(size, MAX_ROWS - self._rows, int((MAX_BYTES - self._bytes) / max(row_bytes, 1)))

        def first_rows(tensor: Tensor) -> Tensor:  # a copy, because loaders may reuse the memory
            return (tensor[:keep] if tensor.dim() and len(tensor) == size else tensor).clone()

        if keep > 0:
            self.batches.append(apply_to_collection(batch, Tensor, first_rows))
            self._rows, self._bytes = self._rows + keep, self._bytes + keep * row_bytes
        self.complete = keep < size or self._rows == MAX_ROWS

    def predict(self, function: Callable[[Any], Any]) -> tuple[Any, Any]:
        """All rows as one batch, and a function's results for them; batches beyond 256 MiB of results are dropped."""
        results: list[Any] = []
        for batch in self.batches:
            results.append(function(batch))
            if _nbytes(results) > MAX_OUTPUT_BYTES:
                break
        del self.batches[len(results) :]
        return _join(self.batches), concatenate(results)


def _tensors(batch: Any) -> list[Tensor]:
    found: list[Tensor] = []
    apply_to_collection(batch, Tensor, found.append)
    return found


def _nbytes(batch: Any) -> int:
    return sum(tensor.nbytes for tensor in _tensors(batch))


def _row_shapes(batch: Any) -> list[Any]:
    return [tensor.shape[1:] for tensor in _tensors(batch)]


def _join(batches: list[Any]) -> Any:
    if isinstance(batches[0], (tuple, list)):
        return tuple(_join(list(parts)) for parts in zip(*batches, strict=True))
    return concatenate(batches)
