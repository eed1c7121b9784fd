"""TensorLoader: whole batches cut out of tensors that are already in memory."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class TensorLoader:
    """Iterates over tensors of equal length in batches, without workers or per-sample Python.

    The order of an epoch is a pure function of ``(seed, epoch)``; it depends neither on the
    global random state nor on the device or the number of processes. Every pass moves on to the
    next epoch; Lightning sets the epoch itself through ``sampler.set_epoch``.

    With several processes the *global* batch is cut first and each rank takes its contiguous
    share of it, so that all ranks together see exactly what one process would see: no padding,
    no row twice. A share can be one row shorter than another's, or empty.

    Args:
        tensors: one or more tensors, each of shape ``(N, ...)``; a batch is a tuple of as many.
        batch_size: rows in a global batch, that is over all ranks.
        shuffle: draw a new permutation each epoch; otherwise the rows come in their own order.
        seed: seed of the permutations.
        drop_last: leave out a last batch that is not full.
        rank: this process, ``0 <= rank < world_size``.
        world_size: number of processes that share each batch.

    Raises:
        ValueError: no tensor, lengths that differ, ``batch_size < 1`` or a rank out of range.

    Example:
        >>> [x.tolist() for (x,) in TensorLoader(torch.arange(5), batch_size=2)]
        [[0, 1], [2, 3], [4]]
    """

    batch_sampler = None  # Lightning looks here too, and finds that ``sampler`` is all

    def __init__(
        self,
        *tensors: Tensor,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        lengths = [len(tensor) for tensor in tensors]
        if len(set(lengths)) != 1:
            raise ValueError(f"tensors must be given and have one length, got lengths {lengths}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in 0..{world_size - 1}, got {rank}")
        self.tensors = tensors
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self._batch = 0  # the next batch of this epoch
        self._resumed = False  # the position was loaded, and no pass has started from it yet

    @property
    def num_rows(self) -> int:
        """Rows of the whole data set, over all ranks."""
        return len(self.tensors[0])

    @property
    def sampler(self) -> "TensorLoader":
        """Where Lightning looks for ``set_epoch``."""
        return self

    def shard(self, rank: int, world_size: int) -> None:
        """Leaves this process its share of each batch from now on, unless that is settled already."""
        if self.world_size == 1:
            self.rank, self.world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Starts the next pass at the beginning of ``epoch``, unless a loaded position lies in it."""
        if not (self._resumed and epoch == self.epoch):
            self._move_to(epoch, 0)

    def __len__(self) -> int:
        full, rest = divmod(self.num_rows, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        if self._batch and not self._resumed:  # the last pass was broken off
            self._move_to(self.epoch + 1, 0)
        self._resumed = False
        epoch, order = self.epoch, self.order() if self.shuffle else None
        for batch in range(self._batch, len(self)):
            # Before the yield, since nobody need exhaust a loader that has a length.
            self._move_to(*((epoch, batch + 1) if batch + 1 < len(self) else (epoch + 1, 0)))
            rows = self._share(batch)
            if order is None:
                yield tuple(tensor[rows] for tensor in self.tensors)
            else:
                yield tuple(tensor.index_select(0, order[rows]) for tensor in self.tensors)

    def row_numbers(self, epoch: int, batch: int) -> Tensor:
        """Which rows of the data set this process has in a batch of an epoch."""
        return self.order(epoch)[self._share(batch)]

    def order(self, epoch: int | None = None) -> Tensor:
        """The row numbers of an epoch, by default this one, in the order they are read: shape ``(N,)``."""
        if not self.shuffle:
            return torch.arange(self.num_rows)
        generator = torch.Generator().manual_seed(_mix(self.seed, self.epoch if epoch is None else epoch))
        return torch.randperm(self.num_rows, generator=generator).to(self.tensors[0].device)

    def state_dict(self) -> dict[str, Any]:
        """The position: which epoch, and how many of its batches were handed out."""
        return {"epoch": self.epoch, "batch": self._batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a position that ``state_dict`` gave, in the order that the own seed gives."""
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
    """One 63-bit seed of two numbers, so that neighbouring seeds and epochs share no permutation."""
    mixed = (seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 31)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 29)) >> 1
