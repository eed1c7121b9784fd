"""Columns of tables as arrays of numbers: what a column holds, its moments, and its values, or where one is wrong."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from lightmodels.inputs.base import class_name, shorten
from lightmodels.inputs.table_files import import_pandas
from lightmodels.utils.data_error import DataError

Array = np.ndarray[Any, np.dtype[Any]]
FORMATS = ("ISO8601", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")  # of dates that are texts
PARTS = ("days", "month", "day", "weekday", "hour")  # of a date; days since 1970
NUMERIC = 0.9  # share of a column's different values from which the others are errors, not categories
MIN_ROWS = 2  # of a category in training; the rarer ones train what unknown categories get
MAX_CATEGORIES = 10_000  # of a column, the most common ones
MAX_VALUE = float(np.finfo(np.float32).max)


def kind_of(column: Any, where: str) -> tuple[str, str | None]:
    """What a column of a DataFrame holds: ``number``, ``category`` or ``date``, the last with the format of its texts.

    Texts are dates if all of them are, in one of ``FORMATS``; numbers if at least nine in ten different ones are, so
    that ``as_numbers`` names the first of the others; and categories else. Booleans are categories.
    """
    types = import_pandas().api.types
    if types.is_bool_dtype(column):
        return "category", None
    if types.is_numeric_dtype(column):
        return "number", None
    if types.is_datetime64_any_dtype(column):
        return "date", FORMATS[0]
    _, values = different_values(column, where)
    if not len(values) or np.isfinite(_to_numbers(values)).mean() >= NUMERIC:
        return "number", None
    for each in FORMATS:
        if not np.isnan(_to_dates(values[:100], each)).any() and not np.isnan(_to_dates(values, each)).any():
            return "date", each
    return "category", None


def as_numbers(column: Any, where: str, advice: str = "") -> Array:
    """The numbers of a column, float64 ``(N,)``, NaN where there is none; DataError names the first row without one.

    ``advice`` follows "correct it" in that error.
    """
    types = import_pandas().api.types
    if types.is_numeric_dtype(column) and not types.is_complex_dtype(column):
        plain = isinstance(column.dtype, np.dtype)  # else pandas' own, which has a missing value of its own
        numbers: Array = column.to_numpy(np.float64) if plain else column.to_numpy(np.float64, na_value=np.nan)
    else:
        numbers = _by_value(column, _to_numbers, where, "a number", advice)
    wrong = (numbers > MAX_VALUE) | (numbers < -MAX_VALUE)  # false for NaN
    if wrong.any():
        value = numbers[wrong.argmax()]
        problem = "is not a finite number" if np.isinf(value) else "is too large"
        raise DataError(f"{place(column, int(wrong.argmax()), where)}: {value:g} {problem}")
    return numbers


def as_dates(column: Any, format_: str, where: str) -> Array:
    """The ``PARTS`` of a column's dates, float64 ``(N, 5)``, NaN where there is none; DataError names a wrong one."""
    return _by_value(column, lambda values: _to_dates(values, format_), where, "a date")


def as_codes(column: Any, categories: list[str], missing: bool, where: str) -> Array:
    """The number of each row's category, int64 ``(N,)``: 0 for unknown ones, else from 1 on; missing ones come last.

    Without ``missing``, missing ones are unknown.
    """
    numbers = {name: number for number, name in enumerate(categories, start=1)}
    rows, values = different_values(column, where)
    codes: Array = np.array([*(numbers.get(class_name(value), 0) for value in values), 0])
    if missing:
        codes[-1] = len(categories) + 1
    return codes[rows]


def common_categories(column: Any, where: str) -> dict[str, Any]:
    """The names of the ``categories`` of at least ``MIN_ROWS`` rows, at most ``MAX_CATEGORIES``; whether it is text."""
    rows, values = different_values(column, where)
    counts: Counter[str] = Counter()
    for value, count in zip(values, np.bincount(rows[rows >= 0], minlength=len(values)).tolist(), strict=True):
        counts[class_name(value)] += count
    names = sorted(name for name, count in counts.most_common(MAX_CATEGORIES) if count >= MIN_ROWS)
    return {"categories": names, "text": any(isinstance(value, str) for value in values)}


def moments(values: Array) -> dict[str, list[float]]:
    """Median, mean and standard deviation of each column of ``(N, columns)``, the last two with medians for NaN.

    The deviation of a column whose values are all the same is 1, and the median of one without values 0.
    """
    found: dict[str, list[float]] = {"median": [], "mean": [], "std": []}
    for column in values.T:
        missing = np.isnan(column)
        given = column[~missing] if missing.any() else column
        median = _median(given) if len(given) else 0.0
        filled = np.where(missing, median, column) if missing.any() else column
        found["median"].append(median)
        found["mean"].append(float(filled.mean()))
        found["std"].append(float(filled.std()) if filled.min() < filled.max() else 1.0)
    return found


def _median(values: Array) -> float:
    """As ``np.median``, in a tenth of its time, as numpy is fast for one rank only."""
    middle = len(values) // 2
    ordered = np.partition(values, middle)
    return float(ordered[middle] if len(values) % 2 else (ordered[:middle].max() + ordered[middle]) / 2)


def place(column: Any, position: int, where: str) -> str:
    """The row and column of a value, for messages; the DataFrame's index has the row numbers of the file, from 0."""
    if isinstance(column, np.ndarray):
        return where
    return f"{where} row {column.index[position] + 1}, column {column.name!r}"


def different_values(column: Any, where: str) -> tuple[Array, Any]:
    """The number of each row's value among the different values, -1 if it is missing; and those values.

    The column is one of a DataFrame, or an array of texts, which needs no pandas.
    """
    if isinstance(column, np.ndarray):
        values, rows = np.unique(column, return_inverse=True)
        return rows, values
    try:
        rows, values = import_pandas().factorize(column)
    except TypeError as error:
        raise DataError(f"{where}: column {column.name!r} holds neither numbers, texts nor dates") from error
    return rows, values


def _by_value(column: Any, convert: Callable[[Any], Array], where: str, what: str, advice: str = "") -> Array:
    """``convert`` of each row's value, from the different ones; where it gives NaN, the value is not ``what``."""
    rows, values = different_values(column, where)
    converted = convert(values)
    wrong = np.isnan(converted if converted.ndim == 1 else converted[:, 0])
    if wrong.any():
        row = int(np.append(wrong, False)[rows].argmax())
        shown = shorten(str(values[rows[row]]))
        raise DataError(f"{place(column, row, where)}: {shown!r} is not {what}; correct it{advice}")
    return np.append(converted, np.full((1, *converted.shape[1:]), np.nan), axis=0)[rows]


def _to_numbers(values: Any) -> Array:
    pandas = import_pandas()
    texts = pandas.Series(values).astype(str)
    return np.asarray(pandas.to_numeric(texts, errors="coerce"), dtype=np.float64)


def _to_dates(values: Any, format_: str) -> Array:
    """The parts of dates, ``(N, 5)``; a row of NaN for what is not one."""
    pandas = import_pandas()
    column = pandas.Series(values)
    texts = column if pandas.api.types.is_datetime64_any_dtype(column) else column.astype(str)
    dates = pandas.DatetimeIndex(pandas.to_datetime(texts, format=format_, errors="coerce", utc=True))
    days = (dates - pandas.Timestamp(0, tz="UTC")) / pandas.Timedelta(days=1)
    parts = (days, dates.month, dates.day, dates.day_of_week, dates.hour + dates.minute / 60)
    return np.stack([np.asarray(part, dtype=np.float64) for part in parts], axis=1)
