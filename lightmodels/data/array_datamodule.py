"""ArrayDataModule: your own tensors or numpy arrays, split and batched."""

from collections.abc import Sequence
from numbers import Number, Real
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

    float64 becomes torch's default type (float32), numpy's integers and booleans int64; other tensors stay as they
    are. A list of numbers, or of lists of them, is one array, as for numpy. Without validation or test rows, there is
    no such loader.

    Args:
        train: training rows: an array, or a tuple of arrays of equal length.
        val: validation rows.
        test: rows to test and predict on.
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of ``train`` to split off for validation; 0 for none.
        seed: seed of the split and of the order of the training rows.

    Raises:
        ValueError: arrays that are empty, of different lengths or not of real numbers, a fraction that leaves either
            part without rows, or both ``val`` and ``val_fraction``.
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
        kept: Sequence[Tensor] = _to_tensors(train, "train")
        held_out: Sequence[Tensor] = () if val is None else _to_tensors(val, "val")
        if val_fraction:
            parts = train_val_split((*kept, torch.arange(len(kept[0]))), val_fraction, seed)
            (*kept, self.train_rows), (*held_out, self.val_rows) = parts
        self._splits = Splits(tuple(kept), tuple(held_out), () if test is None else _to_tensors(test, "test"))
        for name, rows in (("val_dataloader", held_out), ("test_dataloader", self._splits.test)):
            if not rows:  # Lightning runs a stage if its dataloader method is overridden
                setattr(self, name, MethodType(getattr(pl.LightningDataModule, name), self))


def as_arrays(data: Any) -> tuple[Any, ...] | None:
    """The arrays that data consists of: one, or a tuple or list of them; None for other kinds of data."""
    if is_array(data):
        return (data,)
    if not isinstance(data, (tuple, list)) or not data:
        return None
    if is_array(data[0]):
        return tuple(data)
    if not _holds_plain_values(data):
        return None
    several = isinstance(data, tuple) and isinstance(data[0], (tuple, list))
    return data if several else (data,)  # type: ignore[return-value]


def is_array(data: Any) -> bool:
    """Whether data is a tensor, or something of numpy, pandas or scipy."""
    return isinstance(data, (Tensor, np.ndarray)) or hasattr(data, "to_numpy") or hasattr(data, "toarray")


def _holds_plain_values(data: Any) -> bool:
    """Whether the first value in nested lists is a number or a text."""
    while isinstance(data, (tuple, list)) and data:
        data = data[0]
    return isinstance(data, (Number, str, bytes)) or data is None


def _to_tensors(arrays: Arrays, name: str) -> Tensors:
    tensors = tuple(_to_tensor(part, name) for part in as_arrays(arrays) or (arrays,))
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) != 1 or not lengths[0]:
        raise ValueError(f"{name} must hold arrays of equal length with rows in them, got lengths {lengths}")
    return tensors


def _to_tensor(array: Any, name: str) -> Tensor:
    tensor: Tensor = array if isinstance(array, Tensor) else torch.from_numpy(_to_numpy(array, name))
    if not tensor.dim():
        raise ValueError(f"{name} must hold arrays with one row per sample, got a single number")
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def _to_numpy(array: Any, name: str) -> np.ndarray[Any, Any]:
    """An array of floats or int64 in the order that torch needs; ValueError says what else it is."""
    if hasattr(array, "toarray"):
        raise ValueError(f"{name} must hold dense arrays, got a sparse {type(array).__name__}: call its .toarray()")
    if np.ma.is_masked(array):
        raise ValueError(f"{name} must hold arrays without masked values: call .filled(…) with a value for them")
    try:
        values = np.asarray(array)
    except ValueError as error:  # lists of different lengths
        reason = "got lists of different lengths; pass several arrays as a tuple, such as (X, y)"
        raise ValueError(f"{name} must hold arrays of numbers, {reason}") from error
    if values.dtype.kind == "O":
        values = _from_objects(values, name)
    if values.dtype.kind not in "fiub":
        hints = {"c": ": pass real and imaginary parts, np.stack([x.real, x.imag], -1)", "U": ": encode texts first"}
        kind = values.dtype.kind.replace("S", "U")
        raise ValueError(f"{name} must hold arrays of numbers, got dtype {values.dtype}{hints.get(kind, '')}")
    if values.dtype == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must hold numbers below 2**63, got {values.max()}")
    if values.dtype.kind != "f":
        return np.array(values, np.int64, order="C")
    return np.array(values, np.float64 if values.dtype.itemsize > 8 else values.dtype.newbyteorder("="), order="C")


def _from_objects(values: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """Numbers that are stored as Python objects as an array of numbers."""
    for index, value in np.ndenumerate(values):
        if not isinstance(value, (Real, np.bool_)):
            place = f"in row {index[0]}" if index else "as a whole"
            raise ValueError(
                f"{name} must hold arrays of numbers, got {_shortened(value)} {place}: encode it, or leave it out"
            )
    return np.array(values.tolist())


def _shortened(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else text[:39] + "…"
