"""TensorLoader: batches sliced out of tensors that are already in memory."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lightmodels.utils.argument_checks import at_least

MAX_SHUFFLED_BYTES = 2**20  # of tensors that are shuffled as a whole, not batch by batch


class TensorLoader:
    """Iterates over tensors of equal length in batches, without workers or per-sample Python.

    The order of an epoch is a pure function of ``(seed, epoch)``: it depends neither on the global random
    state nor on the device or the number of processes. Each pass moves on to the next epoch.

    With several processes, each rank takes its share of every *global* batch, so that all ranks together see
    what one process would: no padding, no row twice. Shares differ by at most one row, and can be empty.

    Args:
        tensors: one or more tensors, each of shape ``(N, ...)``; a batch is a tuple of as many.
        batch_size: rows in a global batch, over all ranks.
        shuffle: whether to draw a new permutation each epoch.
        seed: seed of the permutations.

    Examples:
        >>> [x.tolist() for (x,) in TensorLoader(torch.arange(5), batch_size=2)]
        [[0, 1], [2, 3], [4]]
    """

    batch_sampler = None  # Lightning looks for set_epoch here, too
    source_rows: Tensor | None = None  # the row numbers of ``tensors`` in what they are a part of
    transform: Callable[[Tensor], Tensor] | None = None  # of the first tensor of each batch, see ``_transformed``

    def __init__(self, *tensors: Tensor, batch_size: int, shuffle: bool = False, seed: int = 0) -> None:
        lengths = [len(tensor) for tensor in tensors]
        if len(set(lengths)) != 1:
            raise ValueError(f"tensors must be given and have equal lengths, got lengths {lengths}")
        at_least(1, batch_size=batch_size)
        self.tensors, self.batch_size, self.shuffle, self.seed = tensors, batch_size, shuffle, seed
        self.num_rows = lengths[0]  # over all ranks
        self.rank, self.world_size = 0, 1
        self.epoch, self._batch = 0, 0  # of the next batch
        self._resumed = False  # whether the position was loaded, and no pass has started from it yet

    @property
    def sampler(self) -> "TensorLoader":
        """Where Lightning looks for ``set_epoch``."""
        return self

    def shard(self, rank: int, world_size: int) -> None:
        """Restricts this process to its share of each batch, unless that was done before."""
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in 0..{world_size - 1}, got {rank}")
        if self.world_size == 1:
            self.rank, self.world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Starts the next pass at the beginning of ``epoch``, unless a loaded position lies in it."""
        if not (self._resumed and epoch == self.epoch):
            self._move_to(epoch, 0)

    def __len__(self) -> int:
        return -(-self.num_rows // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        if self._batch and not self._resumed:  # the last pass was interrupted
            self._move_to(self.epoch + 1, 0)
        self._resumed = False
        epoch, first = self.epoch, self._batch
        for batch, parts in enumerate(self._slices(epoch, first), first):
            # Before the yield, as the caller may stop after the last batch without exhausting the loader.
            self._move_to(epoch + (batch + 1) // len(self), (batch + 1) % len(self))
            yield parts if self.transform is None else self._transformed(parts, epoch, batch)

    def _slices(self, epoch: int, first: int) -> Iterator[tuple[Tensor, ...]]:
        """This rank's shares of an epoch's batches, from batch ``first`` on."""
        tensors, order = self.tensors, self.order(epoch) if self.shuffle else None
        if order is not None and sum(tensor.nbytes for tensor in tensors) <= MAX_SHUFFLED_BYTES:
            tensors, order = tuple(tensor.index_select(0, order) for tensor in tensors), None
        for rows in map(self._share, range(first, len(self))):
            if order is None:
                yield tuple(tensor[rows] for tensor in tensors)
            else:
                yield tuple(tensor.index_select(0, order[rows]) for tensor in tensors)

    def _transformed(self, parts: tuple[Tensor, ...], epoch: int, batch: int) -> tuple[Tensor, ...]:
        """A batch with its inputs transformed; the random numbers for it follow from seed, epoch, batch and rank.

        So a resumed run sees the same images, however many batches were loaded ahead.
        """
        assert self.transform is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mix(_mix(self.seed, epoch), batch * self.world_size + self.rank))
            return self.transform(parts[0]), *parts[1:]

    def batch_at(self, epoch: int, batch: int) -> tuple[Tensor, ...]:
        """This rank's share of any batch, not transformed."""
        return next(self._slices(epoch, batch))

    def row_numbers(self, epoch: int, batch: int) -> Tensor:
        """The row numbers of this rank's share of a batch, in the file or array that the rows come from."""
        rows = self.order(epoch)[self._share(batch)].cpu()
        return rows if self.source_rows is None else self.source_rows[rows]

    def order(self, epoch: int) -> Tensor:
        """All row numbers in the order of an epoch, shape ``(N,)``."""
        if not self.shuffle:
            return torch.arange(self.num_rows)
        generator = torch.Generator().manual_seed(_mix(self.seed, epoch))
        return torch.randperm(self.num_rows, generator=generator).to(self.tensors[0].device)

    def state_dict(self) -> dict[str, Any]:
        """The position: the epoch, and how many of its batches were returned."""
        return {"epoch": self.epoch, "batch": self._batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a position, in the order of this loader's own seed."""
        self._move_to(state["epoch"], state["batch"])
        self._resumed = True

    def _move_to(self, epoch: int, batch: int) -> None:
        self.epoch, self._batch, self._resumed = epoch, batch, False

    def _share(self, batch: int) -> slice:
        start = batch * self.batch_size
        size = min(self.batch_size, self.num_rows - start)
        first, last = self.rank * size, (self.rank + 1) * size
        return slice(start + first // self.world_size, start + last // self.world_size)


def _mix(seed: int, epoch: int) -> int:
    """Hashes both to 63 bits, so that neighboring seeds and epochs share no permutation."""
    mixed = (seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 31)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 29)) >> 1
