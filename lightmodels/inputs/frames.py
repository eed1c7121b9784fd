"""Tables of numbers, categories and dates: from DataFrames and files to the inputs of a model, and back."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from lightmodels.inputs import frame_columns
from lightmodels.inputs.base import Inputs, Source
from lightmodels.inputs.table_files import import_pandas, read_frame
from lightmodels.utils.data_error import DataError, one_line

CATEGORY = "category"
ADVICE = ", or name the column as one of categories"
UNNAMED = "Unnamed: "  # how pandas begins the names of columns without one, such as a saved index


class Frames(Inputs):
    """Raw: float64 ``(N, width)``: the numbers, and the parts of dates, NaN where missing; then categories' codes.

    Code 0 is an unknown category, 1, 2, … are the known ones in their order, and the last one is for missing values, if
    training rows had some. The ``columns`` of the info are what ``fit_columns`` found; its ``others`` are the names of
    columns that tables may have too: the target, and those that were left out.
    """

    required: ClassVar[Mapping[str, type]] = {"features": list, "columns": list, "others": list}

    def __init__(self, info: dict[str, Any]) -> None:
        super().__init__(info)
        self.numbers = [column for column in info["columns"] if column["kind"] != CATEGORY]
        self.categories = [column for column in info["columns"] if column["kind"] == CATEGORY]
        self.median, self.mean, self.std = (
            torch.tensor([value for column in self.numbers for value in column[key]], dtype=torch.float64)
            for key in ("median", "mean", "std")
        )
        starts = np.cumsum([0, *(len(column["median"]) for column in self.numbers)]).tolist()
        flagged = [start for start, column in zip(starts, self.numbers, strict=False) if column["missing"]]
        self.flagged = torch.tensor(flagged, dtype=torch.long)  # columns of raw with an indicator of missing values
        self.cardinalities = [1 + len(each["categories"]) + each["missing"] for each in self.categories]

    @classmethod
    def is_valid(cls, info: Mapping[str, Any]) -> bool:
        """Whether each column is as ``fit_columns`` describes it."""
        return bool(info["columns"]) and all(isinstance(each, dict) and _is_column(each) for each in info["columns"])

    @property
    def num_features(self) -> int:
        """Values of an input row: numbers, indicators and codes."""
        return len(self.median) + len(self.flagged) + len(self.categories)

    @property
    def texts(self) -> list[str]:
        """Columns to be read as texts."""
        return [column["name"] for column in self.categories if column["text"]]

    def read(self, arguments: Sequence[str]) -> tuple[list[Source], Tensor]:
        """Each argument is a file of a table, with an input a row."""
        frames = [(path, read_frame(path, self.texts)) for path in arguments]
        sources = [Source(path, number) for path, frame in frames for number in range(1, len(frame) + 1)]
        return sources, self._encode_new(frames)

    def convert(self, data: Any) -> Tensor:
        """A DataFrame, a dict of columns, or a list of paths."""
        pandas = import_pandas()
        if isinstance(data, (list, tuple)) and data and all(isinstance(each, (str, Path)) for each in data):
            return self.read([str(each) for each in data])[1]
        if not isinstance(data, (dict, pandas.DataFrame)):
            raise DataError(
                f"data must be a DataFrame, a dict of columns or a list of paths, not {type(data).__name__}"
            )
        return self._encode_new([("data", as_frame(data, "data"))])

    def encode(self, frame: Any, where: str) -> Tensor:
        """The rows of a DataFrame, whose index numbers them; DataError names a value that cannot be used."""
        arrays: list[Any] = []
        for column in self.numbers + self.categories:
            values = frame[column["name"]]
            if column["kind"] == "number":
                arrays.append(frame_columns.as_numbers(values, where, ADVICE))
            elif column["kind"] == "date":
                arrays.append(frame_columns.as_dates(values, column["format"], where))
            else:
                arrays.append(frame_columns.as_codes(values, column["categories"], column["missing"], where))
        return torch.from_numpy(np.column_stack(arrays).astype(np.float64, copy=False))

    def preprocess(self, raw: Tensor) -> Tensor:
        """Standardized numbers, with the median where missing, indicators of missing values, and codes: float32."""
        device = raw.device
        numbers, codes = raw[:, : len(self.median)], raw[:, len(self.median) :]
        missing = numbers.isnan()
        filled = torch.where(missing, self.median.to(device), numbers)
        scaled = (filled - self.mean.to(device)) / self.std.to(device)
        indicators = missing.index_select(1, self.flagged.to(device)).to(raw.dtype)
        is_known = (codes >= 0) & (codes < torch.tensor(self.cardinalities, dtype=raw.dtype, device=device))
        return torch.cat([scaled, indicators, torch.where(is_known, codes, 0)], dim=1).float()

    def restore(self, x: Tensor) -> Tensor:
        """Raw rows, up to rounding."""
        count, flags = len(self.median), len(self.flagged)
        raw = x[:, :count].double() * self.std + self.mean
        for place, column in enumerate(self.flagged.tolist(), start=count):
            raw[x[:, place] == 1, column] = math.nan
        return torch.cat([raw, x[:, count + flags :].double()], dim=1)

    def random(self, count: int) -> Tensor:
        """Normal numbers with the moments of the training rows, some of them missing, and random codes."""
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(count, len(self.median), generator=generator, dtype=torch.float64)
        numbers = torch.where(noise > 2, math.nan, noise * self.std + self.mean)
        codes = [torch.randint(size, (count, 1), generator=generator).double() for size in self.cardinalities]
        return torch.cat([numbers, *codes], dim=1)

    def _encode_new(self, frames: Sequence[tuple[str, Any]]) -> Tensor:
        """The rows of tables that were not trained on; warns of unknown categories."""
        for where, frame in frames:
            self.check_columns(list(frame.columns), where)
        raw = torch.cat([self.encode(frame, where) for where, frame in frames])
        unknown = (raw[:, len(self.median) :] == 0).sum(0).tolist()
        if any(unknown):
            columns = [
                f"{column['name']} {count:,}" for column, count in zip(self.categories, unknown, strict=True) if count
            ]
            what = "unknown categories, which training rows do not have, or have only once"
            rank_zero_warn(f"{sum(unknown):,} {what}: {', '.join(columns)}", stacklevel=4)
        return raw

    def check_columns(self, columns: Sequence[str], where: str) -> None:
        """Raises DataError for columns that are missing, or that the training data does not have."""
        features, others = self.info["features"], self.info["others"]
        if missing := [name for name in features if name not in columns]:
            raise DataError(f"{where} has no column {', '.join(map(repr, missing))}, which the model was trained on")
        known = {*features, *others}
        if excess := [name for name in columns if name not in known and not name.startswith(UNNAMED)]:
            names = ", ".join(map(repr, excess))
            raise DataError(f"{where} has a column {names}, which the training data does not have: remove it")


def as_frame(data: Any, where: str) -> Any:
    """A DataFrame, or what one is made of, with rows numbered from 0 and columns named by texts.

    Raises DataError if it has no rows, columns of the same name, or columns of different lengths.
    """
    try:
        frame = import_pandas().DataFrame(data).reset_index(drop=True)
    except ValueError as error:
        raise DataError(f"{where} is not a table: {one_line(error)}") from error
    frame.columns = [str(name) for name in frame.columns]
    if not len(frame):
        raise DataError(f"{where} has no rows")
    if not frame.columns.is_unique:
        name = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{where} has {list(frame.columns).count(name)} columns named {name!r}: rename all but one")
    return frame


def fit_columns(frame: Any, rows: Any, categories: Sequence[str], where: str) -> list[dict[str, Any]]:
    """What the columns of a DataFrame hold, as plain data, measured on its training ``rows``.

    A number or date has ``median``, ``mean`` and ``std``, lists with one value or one for each of a date's parts; a
    category has the names of its ``categories``, and whether they are ``text``. ``missing``: whether values are.
    Columns in ``categories`` are categories, whatever they hold.
    """
    columns: list[dict[str, Any]] = []
    for name in frame.columns:
        whole = frame[name]
        kind, format_ = (CATEGORY, None) if name in categories else frame_columns.kind_of(whole, where)
        train = whole.iloc[rows]
        column = {"name": name, "kind": kind, "missing": bool(train.isna().any())}
        if kind == CATEGORY:
            column |= frame_columns.common_categories(train, where)
        elif kind == "date":
            dates = frame_columns.as_dates(train, str(format_), where)
            column |= {"format": format_, **frame_columns.moments(dates)}
        else:
            column |= frame_columns.moments(frame_columns.as_numbers(train, where, ADVICE)[:, None])
        columns.append(column)
    return columns


def _is_column(column: Mapping[str, Any]) -> bool:
    """Whether a description, which may come from a file, is one of ``fit_columns``."""
    if type(column.get("name")) is not str or type(column.get("missing")) is not bool:
        return False
    if column.get("kind") == CATEGORY:
        names = column.get("categories")
        return type(names) is list and all(type(name) is str for name in names) and type(column.get("text")) is bool
    count = {"number": 1, "date": len(frame_columns.PARTS)}.get(str(column.get("kind")))
    if count == len(frame_columns.PARTS) and column.get("format") not in frame_columns.FORMATS:
        return False
    lists = [column.get(key) for key in ("median", "mean", "std")]
    return all(type(each) is list and len(each) == count and all(type(v) is float for v in each) for each in lists)
