"""Sample: the first rows of a data set, kept from a pass over it that is made anyway."""

from collections.abc import Callable
from typing import Any

from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lightmodels.utils.batch import batch_size, concatenate

MOST_ROWS = 2_000
MOST_BYTES = 64 * 2**20
MOST_RESULT_BYTES = 256 * 2**20


class Sample:
    """Copies of batches, of up to 2,000 rows and 64 MiB; no loader is asked for a further pass.

    Attributes:
        batches: what is kept, on the device where it was.
        complete: whether no more is to be added.
    """

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.complete = False
        self._rows, self._bytes = 0, 0.0

    def add(self, batch: Any) -> None:
        """Adds a batch as far as there is room, and if it can be joined with those before."""
        if self.complete:
            return
        try:
            size = batch_size(batch)
        except ValueError:  # a kind of batch that cannot be cut
            self.complete = True
        if self.complete or (self.batches and _shapes(batch) != _shapes(self.batches[0])):
            return
        row_bytes = sum(part.nbytes for part in _tensors(batch)) / max(size, 1)
        keep = min(size, MOST_ROWS - self._rows, int((MOST_BYTES - self._bytes) / max(row_bytes, 1)))
        if keep > 0:
            self.batches.append(_first_rows(batch, size, keep))
            self._rows, self._bytes = self._rows + keep, self._bytes + keep * row_bytes
        self.complete = keep < size or self._rows == MOST_ROWS

    def mapped(self, function: Callable[[Any], Any]) -> Any:
        """What a function makes of the batches, joined; batches beyond 256 MiB of that are dropped."""
        results: list[Any] = []
        for batch in self.batches:
            results.append(function(batch))
            if sum(part.nbytes for part in _tensors(results)) > MOST_RESULT_BYTES:
                break
        del self.batches[len(results) :]
        return concatenate(results)

    def joined(self) -> Any:
        """All rows as one batch."""
        return _joined(self.batches)


def _tensors(batch: Any) -> list[Tensor]:
    found: list[Tensor] = []
    apply_to_collection(batch, Tensor, found.append)
    return found


def _shapes(batch: Any) -> list[Any]:
    return [part.shape[1:] for part in _tensors(batch)]


def _first_rows(batch: Any, size: int, keep: int) -> Any:
    """Copies, as the next batch may come in the same memory."""

    def cut(part: Tensor) -> Tensor:
        return (part[:keep] if part.dim() and len(part) == size else part).clone()

    return apply_to_collection(batch, Tensor, cut)


def _joined(batches: list[Any]) -> Any:
    """One batch of many: parts end to end."""
    if isinstance(batches[0], (tuple, list)):
        return tuple(_joined(list(parts)) for parts in zip(*batches, strict=True))
    return concatenate(batches)
