"""What a Trainer's methods accept as data besides loaders and data modules: arrays and Datasets."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, random_split

from lightmodels.data.array_datamodule import ArrayDataModule


def as_arrays(data: Any) -> Any:
    """The array, or tuple of arrays, that data is or wraps; None for other kinds of data."""
    if isinstance(data, TensorDataset):
        return data.tensors
    first = data[0] if isinstance(data, (tuple, list)) and data else data
    return data if isinstance(first, (Tensor, np.ndarray)) or hasattr(first, "to_numpy") else None


def fit_arguments(
    given: dict[str, Any], train_data: Any, validation_data: Any, validation_split: float, batch_size: int
) -> dict[str, Any]:
    """The arguments of ``pl.Trainer.fit``: those given, or what ``to_fit`` makes of data.

    Args:
        given: ``train_dataloaders``, ``val_dataloaders`` and ``datamodule``; None for what was left out.
        train_data: data of any kind; None to use what is given.
        validation_data: as in ``to_fit``.
        validation_split: as in ``to_fit``.
        batch_size: as in ``to_fit``.

    Raises:
        ValueError: data and loaders at once, or data that do not fit together.
    """
    loaders, validation = given["train_dataloaders"], given["val_dataloaders"]
    if train_data is not None:
        if any(part is not None for part in given.values()):
            raise ValueError("train_data takes the place of loaders and of a data module: give one of them")
        return arguments_for(train_data, validation_data, validation_split, batch_size)
    if as_arrays(loaders) is not None:
        if given["datamodule"] is not None or (validation is not None and validation_data is not None):
            raise ValueError("data are given twice: leave out the data module, or one of the validation sets")
        validation_data = validation if validation_data is None else validation_data
        return arguments_for(loaders, validation_data, validation_split, batch_size)
    if validation_data is not None or validation_split:
        raise ValueError(
            "validation_data and validation_split go with train_data; loaders take val_dataloaders"
        )
    return given | {"val_dataloaders": as_loader(validation, batch_size)}


def arguments_for(data: Any, validation: Any, validation_split: float, batch_size: int) -> dict[str, Any]:
    """The arguments of ``pl.Trainer.fit`` for data of any kind.

    Args:
        data: arrays (inputs, then the target), a Dataset, a loader, or a data module.
        validation: the same, for validation; None for none, or for a part of ``data``.
        validation_split: share of ``data`` to validate on; at random, but the same each time.
        batch_size: rows in a batch of arrays and Datasets.

    Raises:
        ValueError: arrays that do not fit together, or a split of what cannot be split.
    """
    if validation is not None and validation_split:
        raise ValueError("validation_split and validation_data exclude each other")
    if isinstance(validation, pl.LightningDataModule):
        raise ValueError("validation_data must be arrays, a Dataset or a loader, got a data module")
    if isinstance(data, pl.LightningDataModule):
        if validation is not None or validation_split:
            raise ValueError("a data module validates on rows of its own: give no others")
        return {"datamodule": data}
    arrays = as_arrays(data)
    if arrays is not None and (validation is None or as_arrays(validation) is not None):
        options = {"batch_size": batch_size, "val_fraction": validation_split}
        return {"datamodule": ArrayDataModule(arrays, as_arrays(validation), **options)}
    if validation_split:
        if not isinstance(data, Dataset) or isinstance(data, IterableDataset):
            raise ValueError(f"validation_split needs arrays or a Dataset, got {type(data).__name__}")
        data, validation = split_dataset(data, validation_split)
    loaders = {"train_dataloaders": as_loader(data, batch_size, shuffle=True)}
    return loaders | ({} if validation is None else {"val_dataloaders": as_loader(validation, batch_size)})


def split_dataset(data: Any, fraction: float) -> list[Any]:
    """The two parts of a Dataset, at random but each time the same."""
    count = round(fraction * len(data))
    if not 0 < count < len(data):
        raise ValueError(f"validation_split must leave rows for both, got {fraction} of {len(data)} rows")
    return list(random_split(data, [len(data) - count, count], torch.Generator().manual_seed(0)))


def as_loader(data: Any, batch_size: int, shuffle: bool = False) -> Any:
    """A loader of arrays or a Dataset; anything else is taken for a loader as it is."""
    arrays = as_arrays(data)
    if arrays is not None:
        module = ArrayDataModule(arrays, batch_size=batch_size, test=None if shuffle else arrays)
        return module.train_dataloader() if shuffle else module.test_dataloader()
    if isinstance(data, Dataset):
        shuffled = shuffle and not isinstance(data, IterableDataset)
        return DataLoader(data, batch_size=batch_size, shuffle=shuffled)
    return data
