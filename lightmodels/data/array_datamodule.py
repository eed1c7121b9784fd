"""ArrayDataModule: your own tensors or numpy arrays, split and batched."""

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
    stay as they are. Without validation or test rows, there is no such loader.

    Args:
        train: training rows: an array, or a tuple of arrays of equal length.
        val: validation rows.
        test: rows to test and predict on.
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of ``train`` to split off for validation; 0 for none.
        seed: seed of the split and of the order of the training rows.

    Raises:
        ValueError: arrays that are empty or of different lengths, a fraction that leaves either part
            without rows, or both ``val`` and ``val_fraction``.
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
        super().__init__(batch_size, val_fraction or 0.1, seed)
        if val is not None and val_fraction:
            raise ValueError("val_fraction must be 0 if validation rows are given")
        kept, held_out = _to_tensors(train, "train"), () if val is None else _to_tensors(val, "val")
        if val_fraction:
            kept, held_out = train_val_split(kept, val_fraction, seed)
        self._splits = Splits(kept, held_out, () if test is None else _to_tensors(test, "test"))
        for name, rows in (("val_dataloader", held_out), ("test_dataloader", self._splits.test)):
            if not rows:  # Lightning runs a stage if its dataloader method is overridden
                setattr(self, name, MethodType(getattr(pl.LightningDataModule, name), self))


def _to_tensors(arrays: Arrays, name: str) -> Tensors:
    parts = arrays if isinstance(arrays, (tuple, list)) else (arrays,)
    tensors = tuple(_to_tensor(part, name) for part in parts)
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) != 1 or not lengths[0]:
        raise ValueError(f"{name} must hold arrays of equal length with rows in them, got lengths {lengths}")
    return tensors


def _to_tensor(array: Any, name: str) -> Tensor:
    tensor: Tensor = array
    if not isinstance(array, Tensor):
        values = np.asarray(array)
        if values.dtype.kind not in "fiub":
            raise ValueError(f"{name} must hold arrays of numbers, got dtype {values.dtype}")
        dtype = values.dtype.newbyteorder("=") if values.dtype.kind == "f" else np.int64
        tensor = torch.from_numpy(np.array(values, dtype, order="C"))
        tensor = tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor
    if not tensor.dim():
        raise ValueError(f"{name} must hold arrays with one row per sample, got a single number")
    return tensor
