"""Data that a Trainer's methods accept besides dataloaders and data modules: arrays and Datasets."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, random_split

from lightmodels.data import array_datamodule
from lightmodels.data.array_datamodule import ArrayDataModule
from lightmodels.utils.preserve import get_rng_state, set_rng_state

RANDOM_ROWS = 8  # validation rows that are read twice


def as_arrays(data: Any) -> tuple[Any, ...] | None:
    """The arrays that data is or wraps; None for other kinds of data.

    Raises:
        ValueError: what cannot be data: a text, a number, or a mapping of arrays.
    """
    if isinstance(data, TensorDataset):
        return data.tensors
    if isinstance(data, Mapping) and any(array_datamodule.is_array(part) for part in data.values()):
        raise ValueError(f"data must be arrays in a tuple, such as (X, y), got a {type(data).__name__} of arrays")
    if isinstance(data, (str, bytes, Real)):
        raise ValueError(f"data must be arrays, a Dataset, a dataloader or a data module, got {data!r}")
    return array_datamodule.as_arrays(data)


@contextmanager
def float_type_of(model: Any, precision: str) -> Iterator[None]:
    """Keeps float64 in arrays for a model in double precision, which needs it."""
    parameters = model.parameters() if isinstance(model, torch.nn.Module) else ()
    is_double = precision == "64-true" or any(parameter.dtype == torch.float64 for parameter in parameters)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if is_double else before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def as_loader(data: Any, batch_size: int, shuffle: bool = False) -> Any:
    """A loader of arrays or a Dataset; anything else is returned as it is."""
    arrays = as_arrays(data)
    if arrays is not None:
        module = ArrayDataModule(arrays, batch_size=batch_size, test=None if shuffle else arrays)
        return module.train_dataloader() if shuffle else module.test_dataloader()
    if isinstance(data, Dataset):
        shuffle = shuffle and not isinstance(data, IterableDataset)
        return DataLoader(data, batch_size=batch_size, shuffle=shuffle)
    return data


def fit_arguments(
    loaders: Any, val_loaders: Any, datamodule: Any, data: Any, val_data: Any, split: float, batch_size: int
) -> dict[str, Any]:
    """The arguments of ``pl.Trainer.fit`` for those of ours; ValueError if they exclude each other."""
    if not isinstance(split, Real) or not 0 <= split < 1:
        raise ValueError(f"validation_split must be a fraction of the rows, at least 0 and below 1, got {split!r}")
    given = {"train_dataloaders": loaders, "val_dataloaders": val_loaders, "datamodule": datamodule}
    if data is not None:
        if any(part is not None for part in given.values()):
            raise ValueError("train_data cannot be combined with dataloaders or a data module")
    elif as_arrays(loaders) is not None or isinstance(loaders, Dataset):
        if datamodule is not None or (val_loaders is not None and val_data is not None):
            raise ValueError("training or validation data are given twice")
        data, val_data = loaders, val_loaders if val_data is None else val_data
    elif val_data is not None or split:
        raise ValueError("validation_data and validation_split need train_data; or pass val_dataloaders")
    else:
        return given | {"val_dataloaders": as_loader(val_loaders, batch_size)}
    if val_data is not None and split:
        raise ValueError("validation_split cannot be combined with validation_data")
    if isinstance(val_data, pl.LightningDataModule):
        raise ValueError("validation_data must be arrays, a Dataset or a dataloader, got a data module")
    return _from_data(data, val_data, split, batch_size)


def _from_data(data: Any, val_data: Any, split: float, batch_size: int) -> dict[str, Any]:
    if isinstance(data, pl.LightningDataModule):
        if val_data is not None or split:
            raise ValueError("a data module has validation data of its own")
        return {"datamodule": data}
    arrays, val_arrays = as_arrays(data), as_arrays(val_data)
    if arrays is not None and (val_data is None or val_arrays is not None):
        if split:
            _held_out(split, len(arrays[0]))
        module = ArrayDataModule(arrays, val_arrays, batch_size=batch_size, val_fraction=split)
        return {"datamodule": module}
    if split:
        if not isinstance(data, Dataset) or isinstance(data, IterableDataset):
            raise ValueError(f"validation_split needs arrays or a Dataset, got {type(data).__name__}")
        data, val_data = _split_dataset(data, split)
    loaders = {"train_dataloaders": as_loader(data, batch_size, shuffle=True)}
    return loaders | ({} if val_data is None else {"val_dataloaders": as_loader(val_data, batch_size)})


def _split_dataset(data: Any, fraction: float) -> list[Any]:
    count = _held_out(fraction, len(data))
    train, val = random_split(data, [len(data) - count, count], torch.Generator().manual_seed(0))
    if _is_random(val):
        what = "a Dataset that changes its rows at random would change validation rows too"
        rank_zero_warn(f"{what}: pass validation_data, a Dataset that does not, instead of validation_split")
    return [train, val]


def _is_random(data: Any) -> bool:
    """Whether one of the first rows differs when it is read again; the random states are left as they are."""
    states = get_rng_state()
    rows = range(min(len(data), RANDOM_ROWS))
    try:
        return any(not _same(data[row], data[row]) for row in rows)
    finally:
        set_rng_state(states)


def _same(one: Any, other: Any) -> bool:
    """Whether all tensors of two rows are equal, as far as they are found."""
    found: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
    for row, tensors in zip((one, other), found, strict=True):
        apply_to_collection(row, torch.Tensor, tensors.append)
    pairs = zip(*found, strict=False)
    return all(a.shape == b.shape and bool(((a == b) | (a != a)).all()) for a, b in pairs)  # NaN equals NaN


def _held_out(fraction: float, rows: int) -> int:
    count = round(fraction * rows)
    if not 0 < count < rows:
        raise ValueError(f"validation_split must leave rows in both parts, got {fraction} of {rows}")
    return count
