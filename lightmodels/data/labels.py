"""Class labels of any kind as numbers, and weights that make up for rare classes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightmodels.inputs.base import class_name
from lightmodels.inputs.frame_columns import as_numbers, place
from lightmodels.utils.data_error import DataError


def encode_labels(values: Any, where: str) -> tuple[Tensor, list[str]]:
    """The class of each row, int64 ``(N,)``, and the classes' names, in the order of their values.

    Values can be texts, booleans, or numbers; 3.0 is named ``3``. ``where``, such as ``data.csv column 'kind'``,
    begins the message of the DataError for missing values, of which it names the first row, and for a single class.
    """
    values = np.asarray(values)
    missing = np.array([value is None or value != value for value in values.tolist()], dtype=bool)
    if missing.any():
        raise DataError(f"{where}: row {int(missing.argmax()) + 1} has no value ({missing.sum():,} have none)")
    if values.dtype == object and len({type(value) for value in values.tolist()}) > 1:
        values = np.array([class_name(value) for value in values.tolist()])
    found, labels = np.unique(values, return_inverse=True)
    if len(found) < 2:
        raise DataError(f"{where}: all rows are of one class, {class_name(found.tolist()[0])!r}")
    return torch.from_numpy(labels.reshape(-1).astype(np.int64)), [class_name(value) for value in found.tolist()]


def row_weights(column: Any, where: str) -> Tensor:
    """The weights of rows in a column, float32 ``(N,)``; DataError names one that is not a number of at least 0."""
    weights = as_numbers(column, where)
    wrong = ~(weights >= 0)  # true for NaN
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{place(column, row, where)}: a weight must be a number of at least 0, got {weights[row]:g}")
    return torch.from_numpy(weights.astype(np.float32))


def balanced_weights(labels: Tensor, rows: Tensor | None = None) -> Tensor:
    """The weight of each row, float32 ``(N,)``, with which every class weighs as much in training; 1 on average.

    A class's weight is N / (classes * its rows), as scikit-learn's ``class_weight="balanced"``. Only ``rows``, those
    of training, are counted; by default all.
    """
    counts = torch.bincount(labels if rows is None else labels[rows], minlength=int(labels.max()) + 1)
    weights = counts.sum() / (len(counts) * counts.clamp_min(1))
    return weights.float()[labels]
