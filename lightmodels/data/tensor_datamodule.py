"""TensorDataModule: the LightningDataModule for data that fits in memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightmodels.data.remote_files import DataError
from lightmodels.data.tensor_loader import TensorLoader

Tensors = tuple[Tensor, ...]


class Splits(NamedTuple):
    """The three parts of a data set, each a tuple of tensors of equal length: inputs, then targets."""

    train: Tensors
    val: Tensors
    test: Tensors


class TensorDataModule(pl.LightningDataModule):
    """Loads tensors once and hands out exact, reproducible batches of them.

    A subclass writes ``load()`` and, if files must be fetched first, ``prepare_data()``; sizes
    that a model's constructor asks for go into ``sizes``. Training batches are shuffled anew each
    epoch from ``seed``; validation, test and prediction go through every row once, in order.

    Args:
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the training rows that a subclass carves out for validation.
        seed: seed of the splits, of made data and of the order of the training rows.

    Raises:
        ValueError: ``batch_size < 1``, a fraction that is not between 0 and 1, or a negative ``seed``.
    """

    def __init__(self, batch_size: int = 32, val_fraction: float = 0.1, seed: int = 0) -> None:
        super().__init__()
        at_least_one(batch_size=batch_size)
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.seed = seed
        self._splits: Splits | None = None

    def load(self) -> Splits:
        """Reads or makes the tensors of the three splits; called once."""
        raise NotImplementedError(f"{type(self).__name__} must define load() -> Splits(train, val, test)")

    @property
    def sizes(self) -> dict[str, int]:
        """What a model must know of the data, under the names of its constructor's arguments."""
        return {}

    @property
    def info(self) -> dict[str, Any]:
        """What must be known of the data by somebody who has only a trained model; it is in checkpoints.

        Plain data: ``"kind"`` (``"table"``, ``"image"`` or ``"text"``), ``"classes"``, their names in the
        order of the labels, if there are classes, and whatever it takes to make inputs of new data.
        """
        return {}

    @property
    def splits(self) -> Splits:
        """The tensors, loaded at the first use.

        Raises:
            DataError: one of the three sets is empty.
        """
        if self._splits is None:
            splits = Splits(*self.load())
            counts = {name: len(tensors[0]) for name, tensors in splits._asdict().items()}
            if not all(counts.values()):
                rows = ", ".join(f"{count} {name}" for name, count in counts.items())
                raise DataError(f"{type(self).__name__} has an empty set: {rows} rows")
            self._splits = splits
        return self._splits

    def setup(self, stage: str | None = None) -> None:
        """Loads the tensors; a second call costs nothing."""
        _ = self.splits

    def train_dataloader(self) -> TensorLoader:
        return self._loader(self.splits.train, shuffle=True)

    def val_dataloader(self) -> TensorLoader:
        return self._loader(self.splits.val)

    def test_dataloader(self) -> TensorLoader:
        return self._loader(self.splits.test)

    def predict_dataloader(self) -> TensorLoader:
        return self.test_dataloader()

    def _loader(self, tensors: Tensors, shuffle: bool = False) -> TensorLoader:
        """A loader whose tensors lie on the trainer's device, so that no batch need be copied."""
        if self.trainer is not None:
            tensors = tuple(t.to(self.trainer.strategy.root_device) for t in tensors)
        loader = TensorLoader(*tensors, batch_size=self.batch_size, shuffle=shuffle, seed=self.seed)
        if self.trainer is not None:
            loader.shard(self.trainer.global_rank, self.trainer.world_size)
        return loader


def at_least_one(**counts: int) -> None:
    """Raises ValueError, with its name, for a count below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def train_val_split(tensors: Tensors, fraction: float, seed: int) -> tuple[Tensors, Tensors]:
    """Splits rows at random: ``(the rest, round(fraction * N) rows)``, the same for the same seed.

    Raises:
        ValueError: a fraction that leaves either part without a row.

    Example:
        >>> kept, carved = train_val_split((torch.arange(10),), fraction=0.3, seed=0)
        >>> len(kept[0]), len(carved[0])
        (7, 3)
    """
    rows = len(tensors[0])
    count = round(fraction * rows)
    if not 0 < count < rows:
        raise ValueError(
            f"val_fraction must leave rows for training and for validation, got {fraction} of {rows} rows"
        )
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    kept, carved = order[:-count], order[-count:]
    return tuple(t[kept] for t in tensors), tuple(t[carved] for t in tensors)


def draw_splits(
    sample: Callable[[int, torch.Generator], Tensors],
    num_rows: int,
    test_rows: int,
    val_fraction: float,
    seed: int,
) -> Splits:
    """Splits of made data: ``num_rows`` for training and validation, and ``test_rows`` fresh ones.

    Args:
        sample: draws so many rows from a generator.
        num_rows: rows that are split.
        test_rows: rows of the test set.
        val_fraction: share of ``num_rows`` for validation.
        seed: seed of the rows and of the split.
    """
    generator = torch.Generator().manual_seed(seed)
    train, val = train_val_split(sample(num_rows, generator), val_fraction, seed)
    return Splits(train, val, test=sample(test_rows, generator))
