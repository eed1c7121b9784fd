"""Splits of a table's rows that its columns decide: said parts, groups, or time."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightmodels.data.row_splits import split_rows
from lightmodels.inputs.base import shorten
from lightmodels.inputs.frame_columns import as_dates, as_numbers, different_values, kind_of, place
from lightmodels.inputs.table_files import import_pandas
from lightmodels.utils.data_error import DataError

PARTS = ("train", "val", "test")


def said_parts(column: Any, where: str) -> list[Tensor]:
    """The row numbers for which a column says ``train``, ``val`` and ``test``, in any case; there may be none for val.

    Raises DataError for anything else.
    """
    rows, values = different_values(column, where)
    names = [str(value).strip().lower() for value in values]
    numbers = np.array([*(PARTS.index(name) if name in PARTS else -1 for name in names), -1])[rows]
    if (numbers < 0).any():
        row = int(numbers.argmin())
        shown = repr(shorten(str(column.iloc[row])))
        raise DataError(f"{place(column, row, where)}: a split is train, val or test, got {shown}")
    for part in ("train", "test"):
        if part not in names:
            raise DataError(f"{where}: column {column.name!r} says {part} of no row")
    return [torch.from_numpy(np.flatnonzero(numbers == number)) for number in range(len(PARTS))]


def group_numbers(column: Any, where: str) -> Tensor:
    """The number of each row's group, int64 ``(N,)``; DataError for a missing one, or a single group."""
    numbers, groups = import_pandas().factorize(column)
    if (numbers < 0).any():
        raise DataError(f"{place(column, int((numbers < 0).argmax()), where)}: the group is missing")
    if len(groups) < 3:
        what = f"{len(groups)} groups, which are too few for training, validation and test rows"
        raise DataError(f"{where}: column {column.name!r} has {what}")
    return torch.from_numpy(numbers.astype(np.int64))


def as_times(column: Any, where: str) -> Tensor:
    """The time of each row, float64 ``(N,)``, of dates or numbers; DataError for a missing one."""
    kind, format_ = kind_of(column, where)
    times = as_dates(column, str(format_), where)[:, 0] if kind == "date" else as_numbers(column, where)
    if np.isnan(times).any():
        raise DataError(f"{place(column, int(np.isnan(times).argmax()), where)}: the time is missing")
    return torch.from_numpy(times)


def hold_out(
    rows: Tensor,
    fraction: float,
    seed: int,
    argument: str,
    labels: Tensor | None = None,
    groups: Tensor | None = None,
    times: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``split_rows``; with ``times`` the latest rows are held out, those of equal times on the same side.

    Raises ValueError, which begins with the ``argument`` that has the fraction, if either part would have no rows.
    """
    if times is None:
        return split_rows(rows, fraction, seed, labels, groups, argument)
    sorted_times = times[rows].sort().values
    count = max(1, round(fraction * len(rows)))
    held = times[rows] >= sorted_times[len(rows) - count]
    if held.all():
        raise ValueError(f"{argument} must leave rows for both parts, got {fraction} of {len(rows)} rows by time")
    return rows[~held], rows[held]
