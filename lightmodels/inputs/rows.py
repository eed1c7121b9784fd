"""Rows of numbers in CSV files, and features that are computed from columns."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lightmodels.inputs.base import Inputs, Source, file_content, shorten
from lightmodels.utils.data_error import DataError

MAX_VALUE = torch.finfo(torch.float32).max


class Rows(Inputs):
    """Raw: the features, float32 ``(N, features)``."""

    required: ClassVar[Mapping[str, type]] = {"features": list}

    @classmethod
    def is_valid(cls, info: Mapping[str, Any]) -> bool:
        """Whether features, if they are to be computed, are each one of the columns or a quotient of two."""
        columns, formulas = info.get("columns"), info.get("formulas")
        if formulas is None:
            return True
        if type(columns) is not list or type(formulas) is not list or len(formulas) != len(info["features"]):
            return False
        shapes = all(type(formula) is list and len(formula) in (1, 2) for formula in formulas)
        return shapes and all(type(name) is str and name in columns for formula in formulas for name in formula)

    def read(self, arguments: Sequence[str]) -> tuple[list[Source], Tensor]:
        """Each argument is a CSV file with an input a row."""
        tables = [(path, read_features(path, self.info)) for path in arguments]
        sources = [Source(path, number) for path, rows in tables for number in range(1, len(rows) + 1)]
        return sources, torch.tensor([row for _, rows in tables for row in rows])

    def convert(self, data: Any) -> Tensor:
        """A DataFrame with the features, or with the columns that they follow from, or an array of features."""
        columns = list(map(str, getattr(data, "columns", self.info["features"])))
        values = torch.as_tensor(np.asarray(data, dtype=np.float64))
        formulas = self.info.get("formulas") if set(self.info["features"]) - set(columns) else None
        wanted = self.info["features"] if formulas is None else self.info["columns"]
        if missing := [name for name in wanted if name not in columns]:
            raise DataError(f"data has no column {', '.join(missing)}")
        if values.dim() != 2 or values.shape[1] != len(columns):
            raise DataError(f"data must be rows of {len(columns)} numbers, got an array of shape {tuple(values.shape)}")
        if formulas is not None:
            return derive_features(values, columns, formulas).float()
        return values[:, [columns.index(name) for name in wanted]].float()

    def random(self, count: int) -> Tensor:
        """Normal numbers of standard deviation 5."""
        return 5 * torch.randn(count, len(self.info["features"]), generator=torch.Generator().manual_seed(0))


def read_features(path: str, info: dict[str, Any]) -> list[list[float]]:
    """The features of a CSV file's rows, which may be the columns that the data's formulas make features of."""
    if "formulas" not in info or set(info["features"]) == set(header_of(path)):
        return read_rows(path, info["features"])
    table = torch.tensor(read_rows(path, info["columns"]), dtype=torch.float64)
    features = derive_features(table, info["columns"], info["formulas"])
    if bad := (~features.isfinite().all(1)).nonzero().flatten().tolist():
        raise DataError(f"{path} row {bad[0] + 1}: a feature is not a finite number, as its divisor is 0")
    return features.tolist()


def header_of(path: str) -> list[str]:
    """The names in a CSV file's first line; it may be a row of numbers."""
    return [cell.strip() for cell in next(csv.reader(io.StringIO(file_content(path))), [])]


def read_rows(path: str, features: Sequence[str]) -> list[list[float]]:
    """The rows of a CSV file, with columns in the order of ``features`` if a header names them all.

    Raises DataError for no such file, no rows, or a row that is not one finite number per feature.
    """
    reader = csv.reader(io.StringIO(file_content(path)))
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise DataError(f"{path} is not a CSV file: line {reader.line_num}, {error}") from error
    order = list(range(len(features)))
    if lines and not any(_is_number(cell) for cell in lines[0][1]):
        header = [cell.strip() for cell in lines.pop(0)[1]]
        if sorted(header) == sorted(features):
            order = [header.index(feature) for feature in features]
    if not lines:
        raise DataError(f"{path} has no rows of numbers")
    rows = []
    for number, (line, cells) in enumerate(lines, start=1):
        place = f"{path} row {number} (line {line})"
        if len(cells) != len(features):
            raise DataError(f"{place} has {len(cells)} columns, not {len(features)}: {', '.join(features)}")
        values = [_number(cell, place) for cell in cells]
        rows.append([values[column] for column in order])
    return rows


def _number(cell: str, place: str) -> float:
    if not _is_number(cell):
        raise DataError(f"{place}: {shorten(cell)!r} is not a number")
    if not abs(value := float(cell)) <= MAX_VALUE:
        problem = "not a finite number" if not math.isfinite(value) else "too large"
        raise DataError(f"{place}: {shorten(cell)} is {problem}")
    return value


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # float accepts 1_000


def derive_features(table: Tensor, columns: Sequence[str], formulas: Sequence[Sequence[str]]) -> Tensor:
    """Columns, or quotients of two columns, of a table ``(N, columns)``: ``(N, formulas)``."""
    features = []
    for numerator, *denominator in formulas:
        values = table[:, columns.index(numerator)]
        features.append(values / table[:, columns.index(denominator[0])] if denominator else values)
    return torch.stack(features, dim=1)
