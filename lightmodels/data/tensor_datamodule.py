"""TensorDataModule: the LightningDataModule for data that fits in memory."""

from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.utils.argument_checks import at_least
from lightmodels.utils.data_error import DataError

Tensors = tuple[Tensor, ...]


class Splits(NamedTuple):
    """The three parts of a data set, each a tuple of tensors of equal length: inputs, then targets."""

    train: Tensors
    val: Tensors
    test: Tensors


class TensorDataModule(pl.LightningDataModule):
    """Loads tensors once and provides exact, reproducible batches of them.

    A subclass defines ``load()`` and, if files must be downloaded first, ``prepare_data()``. Training rows
    are shuffled each epoch; validation, test and prediction use every row once, in order.

    Args:
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the training rows that a subclass splits off for validation.
        seed: seed of the splits, of synthetic data and of the order of the training rows.

    Raises:
        ValueError: ``batch_size < 1``, a fraction that is not between 0 and 1, or a negative ``seed``.
    """

    train_rows: Tensor | None = None  # the row numbers of the split in its file or array, for error messages
    val_rows: Tensor | None = None
    augment: bool = False  # whether ``augment_batch`` changes training batches

    def __init__(self, batch_size: int = 32, val_fraction: float = 0.1, seed: int = 0) -> None:
        super().__init__()
        at_least(1, batch_size=batch_size)
        at_least(0, seed=seed)
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
        self.batch_size, self.val_fraction, self.seed = batch_size, val_fraction, seed
        self._splits: Splits | None = None

    def load(self) -> Splits:
        """Reads or generates the tensors of the three splits; called once."""
        raise NotImplementedError(f"{type(self).__name__} must define load() -> Splits(train, val, test)")

    @property
    def sizes(self) -> dict[str, int]:
        """What ``train.py`` passes to the model's constructor, by argument name."""
        return {}

    @property
    def info(self) -> dict[str, Any]:
        """A description of the data, saved in checkpoints for those who have only the trained model.

        Plain data: ``"kind"`` (``"table"``, ``"image"`` or ``"text"``), ``"classes"`` (their names, in the
        order of the labels), and whatever it takes to turn new data into inputs.
        """
        return {}

    @property
    def splits(self) -> Splits:
        """The tensors, loaded on first use; raises DataError if one of the splits is empty."""
        if self._splits is None:
            splits = Splits(*self.load())
            counts = {name: len(tensors[0]) for name, tensors in splits._asdict().items()}
            if not all(counts.values()):
                rows = ", ".join(f"{count} {name}" for name, count in counts.items())
                raise DataError(f"{type(self).__name__} has an empty split: {rows} rows")
            self._splits = splits
        return self._splits

    def setup(self, stage: str | None = None) -> None:
        """Loads the tensors, unless they are loaded already."""
        _ = self.splits

    def augment_batch(self, inputs: Tensor) -> Tensor:
        """Changes the inputs of a training batch at random, if ``augment`` is true; a subclass says how."""
        raise NotImplementedError(f"{type(self).__name__} must define augment_batch(inputs) -> Tensor")

    def train_dataloader(self) -> TensorLoader:
        loader = self._loader(self.splits.train, self.train_rows, shuffle=True)
        if self.augment:
            loader.transform = self.augment_batch
        return loader

    def val_dataloader(self) -> TensorLoader:
        return self._loader(self.splits.val, self.val_rows)

    def test_dataloader(self) -> TensorLoader:
        return self._loader(self.splits.test)

    def predict_dataloader(self) -> TensorLoader:
        return self.test_dataloader()

    def _loader(self, tensors: Tensors, rows: Tensor | None = None, shuffle: bool = False) -> TensorLoader:
        """A loader of tensors on the trainer's device, so that no batch needs to be copied."""
        loader = self._make_loader(tensors, shuffle)
        loader.source_rows = rows
        if self.trainer is not None:
            loader.tensors = tuple(tensor.to(self.trainer.strategy.root_device) for tensor in loader.tensors)
            loader.shard(self.trainer.global_rank, self.trainer.world_size)
        return loader

    def _make_loader(self, tensors: Tensors, shuffle: bool) -> TensorLoader:
        return TensorLoader(*tensors, batch_size=self.batch_size, shuffle=shuffle, seed=self.seed)


def train_val_split(tensors: Tensors, fraction: float, seed: int) -> tuple[Tensors, Tensors]:
    """Splits rows at random into ``(train, val)`` with ``round(fraction * N)`` rows in ``val``.

    Raises ValueError for a fraction that leaves either part without rows.
    """
    rows = len(tensors[0])
    count = round(fraction * rows)
    if not 0 < count < rows:
        raise ValueError(f"val_fraction must leave rows for training and for validation, got {fraction} of {rows}")
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    train, val = order[:-count], order[-count:]
    return tuple(tensor[train] for tensor in tensors), tuple(tensor[val] for tensor in tensors)
