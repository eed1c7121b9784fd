"""ArrayDataModule: tensors or numpy arrays of one's own, split and batched like any data set here."""

from collections.abc import Sequence
from types import MethodType
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, Tensors, train_val_split

Arrays = Tensor | np.ndarray[Any, Any] | Sequence[Any]  # one array, or several of equal length


class ArrayDataModule(TensorDataModule):
    """Arrays in memory: the inputs, then the target, each of shape ``(N, ...)``.

    numpy's float64 becomes torch's default type (float32), its integers and booleans int64; tensors
    stay as they are. Without validation or test rows there is no such loader.

    Args:
        train: rows to train on: an array, or a tuple of arrays of equal length.
        val: rows to validate on; by default carved out of ``train``.
        test: rows to test and predict on.
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of ``train`` to validate on if there is no ``val``; 0 for none.
        seed: seed of the split and of the order of the training rows.

    Raises:
        ValueError: arrays of different lengths or without rows, a fraction that leaves either part
            without a row, or both ``val`` and ``val_fraction``.

    Example:
        >>> data = ArrayDataModule((np.zeros((10, 3)), np.arange(10)), val_fraction=0.3, batch_size=4)
        >>> [tuple(x.shape) for x, y in data.train_dataloader()]
        [(4, 3), (3, 3)]
    """

    def __init__(
        self,
        train: Arrays,
        val: Arrays | None = None,
        test: Arrays | None = None,
        batch_size: int = 32,
        val_fraction: float = 0.0,
        seed: int = 0,
    ) -> None:
        share = {"val_fraction": val_fraction} if val_fraction else {}
        super().__init__(batch_size=batch_size, seed=seed, **share)
        if val is not None and val_fraction:
            raise ValueError("val_fraction must be 0 where there are rows to validate on")
        kept, carved = to_tensors(train, "train"), () if val is None else to_tensors(val, "val")
        if val_fraction:
            kept, carved = train_val_split(kept, val_fraction, seed)
        self._splits = Splits(kept, carved, () if test is None else to_tensors(test, "test"))
        for name, rows in (("val_dataloader", self.splits.val), ("test_dataloader", self.splits.test)):
            if not rows:  # then Lightning must find that the method is not overridden
                setattr(self, name, MethodType(getattr(pl.LightningDataModule, name), self))


def to_tensors(arrays: Arrays, name: str) -> Tensors:
    """The tensors of one array or of several.

    Args:
        arrays: one array, or a tuple or list of arrays of equal length.
        name: what they are, for messages.

    Raises:
        ValueError: lengths that differ, no rows, or something that is no array of numbers.
    """
    parts = arrays if isinstance(arrays, (tuple, list)) else (arrays,)
    tensors = tuple(to_tensor(part, name) for part in parts)
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) != 1:
        raise ValueError(f"{name} must hold arrays of one length, got lengths {lengths}")
    if not lengths[0]:
        raise ValueError(f"{name} must hold rows, got 0")
    return tensors


def to_tensor(array: Any, name: str) -> Tensor:
    """An array as a tensor with at least one dimension; anything that numpy can read is one."""
    if isinstance(array, Tensor):
        tensor = array
    else:
        values = np.asarray(array)
        if values.dtype.kind not in "fiub":
            raise ValueError(f"{name} must hold arrays of numbers, got one of {values.dtype}")
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
        tensor = torch.tensor(values, dtype=torch.int64 if values.dtype.kind in "iub" else None)
        tensor = tensor.to(torch.get_default_dtype()) if values.dtype == np.float64 else tensor
    if not tensor.dim():
        raise ValueError(f"{name} must hold arrays with a row a sample, got a single number")
    return tensor
