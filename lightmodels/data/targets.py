"""The targets of tables, texts and images: classes, several labels a row, or a number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lightmodels.data.labels import balanced_weights, encode_labels
from lightmodels.inputs.base import class_name, shorten
from lightmodels.inputs.frame_columns import as_numbers, different_values, kind_of, place
from lightmodels.inputs.table_files import Names, choose_columns, import_pandas
from lightmodels.utils.data_error import DataError

MAX_CLASSES = 20  # different whole numbers that are told to be classes


@dataclass(frozen=True)
class Target:
    """What is to be predicted: a class, with ``separator`` or several ``columns`` any number of labels, or a number.

    Args:
        columns: the names of its columns.
        classes: names of classes or labels; none for a number.
        separator: what is between the labels in a column of texts.
    """

    columns: Sequence[str]
    classes: Sequence[str] = ()
    separator: str | None = None

    @property
    def is_multi_label(self) -> bool:
        return self.separator is not None or len(self.columns) > 1

    @property
    def info(self) -> dict[str, Any]:
        """What a ``data_info`` has of it."""
        if not self.classes:
            return {"target": self.columns[0]}
        return {"classes": list(self.classes), "multi_label": self.is_multi_label}

    def encode(self, frame: Any, where: str) -> Tensor:
        """The target of each row of a DataFrame, or of a dict of arrays.

        That is classes, int64 ``(N,)``; labels, 0 or 1, float32 ``(N, labels)``; or numbers, float32 ``(N, 1)``. Raises
        DataError, which names row and column, for a value that is missing or not a target.
        """
        for name in self.columns:
            if name not in frame:
                raise DataError(f"{where} has no column {name!r}, the target")
            if self.separator is None:
                _require_values(frame[name], where)
        if len(self.columns) > 1:
            return torch.stack([_zeros_and_ones(frame[name], where) for name in self.columns], dim=1)
        column = frame[self.columns[0]]
        if not self.classes:
            return torch.from_numpy(as_numbers(column, where).astype(np.float32))[:, None]
        rows, values = different_values(column, where)
        numbers = {name: number for number, name in enumerate(self.classes)}
        if self.separator is not None:
            labels = torch.zeros(len(values) + 1, len(numbers))  # the last row is for cells without a text
            for row, value in zip(labels, values, strict=False):
                for name in _labels(value, self.separator):
                    row[self._number(numbers, name, column, rows, value, where)] = 1
            return labels[rows]
        found = [self._number(numbers, class_name(value), column, rows, value, where) for value in values]
        return torch.tensor(found)[rows]

    def require_rows(self, y: Tensor, train: Tensor, where: str, advice: str = "add rows, or remove it") -> None:
        """Raises DataError for a class that has one row only, or none among the training rows ``train``."""
        if not self.classes:
            return
        every, trained = (_counts(part, len(self.classes)) for part in (y, y[train]))
        for name, count, training in zip(self.classes, every.tolist(), trained.tolist(), strict=True):
            if count == 1:
                raise DataError(f"{where}: class {name!r} has one row only; {advice}")
            if not training:
                raise DataError(f"{where}: class {name!r} has no training rows ({count:,} rows in all)")

    def training_weights(self, y: Tensor, train: Tensor, weights: Sequence[Tensor], classes: str) -> list[Tensor]:
        """The rows' ``weights``, if any, times those of their classes, if ``classes`` is ``balanced``.

        Raises ValueError for ``balanced`` if rows have no class, or several.
        """
        if classes != "balanced":
            return list(weights)
        if not self.classes or self.is_multi_label:
            what = "several labels a row" if self.classes else "a number"
            raise ValueError(f"class_weights balanced is for classes, but the target is {what}")
        balanced = balanced_weights(y, train)
        return [balanced * each for each in weights] or [balanced]

    def _number(self, numbers: dict[str, int], name: str, column: Any, rows: Any, value: Any, where: str) -> int:
        if name not in numbers:
            row = int(np.argmax(column == value))
            raise DataError(f"{place(column, row, where)}: {shorten(name)!r} is not a class of the training data")
        return numbers[name]


def find_target(
    frame: Any, columns: Sequence[str], kind: Literal["auto", "classes", "number"], separator: str | None, where: str
) -> Target:
    """The target in the columns of a DataFrame, and its classes; see ``TableDataModule`` for how its kind is told.

    Raises DataError for a target of one class or without labels, and for a missing value; ValueError for an empty
    ``separator``.
    """
    if separator == "":
        raise ValueError("separator must not be empty")
    if len(columns) > 1:
        return Target(columns, columns)
    column = frame[columns[0]]
    if separator is not None:
        texts = different_values(column, where)[1]
        labels = sorted({label for text in texts for label in _labels(text, separator)})
        if not labels:
            raise DataError(f"{where}: column {columns[0]!r} has no labels")
        return Target(columns, labels, separator)
    _require_values(column, where)
    if kind == "number" or (kind == "auto" and kind_of(column, where)[0] == "number" and not _is_code(column, where)):
        return Target(columns)
    about = where if isinstance(column, np.ndarray) else f"{where} column {columns[0]!r}"
    return Target(columns, encode_labels(different_values(column, where)[1], about)[1])


def find_labels(columns: Any, target: Names, separator: str | None, where: str) -> Target:
    """The classes or labels in the columns that ``target`` names in a DataFrame, or in those of ``folder_columns``."""
    names = list(columns) if isinstance(columns, dict) else choose_columns(columns, target, "target", where)
    return find_target(columns, names, "classes", separator, where)


def folder_columns(
    classes: Sequence[str], target: Names, others: Mapping[str, Names], folder: object
) -> dict[str, Any]:
    """The classes of files in a folder per class, as a column; DataError if ``others`` names any other column."""
    if named := [names for names in others.values() if names is not None]:
        raise DataError(f"{folder} is a folder, which has no column {named[0]!r}")
    return {target if isinstance(target, str) else ",".join(target or ()): np.array(classes)}


def _counts(y: Tensor, classes: int) -> Tensor:
    """The rows of each class or label."""
    return torch.bincount(y, minlength=classes) if y.dim() == 1 else y.sum(0).long()


def _is_code(column: Any, where: str) -> bool:
    """Whether numbers are few different whole ones."""
    numbers = as_numbers(column, where)
    different = np.unique(numbers[: 100 * MAX_CLASSES])  # most columns have too many near the beginning
    if len(different) <= MAX_CLASSES:
        different = np.unique(numbers)
    return len(different) <= MAX_CLASSES and bool((different % 1 == 0).all())


def _labels(text: Any, separator: str) -> list[str]:
    return [part.strip() for part in class_name(text).split(separator) if part.strip()]


def _zeros_and_ones(column: Any, where: str) -> Tensor:
    numbers = column if import_pandas().api.types.is_bool_dtype(column) else as_numbers(column, where)
    values = np.asarray(numbers, dtype=np.float32)
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        row = int(wrong.argmax())
        problem = "where several target columns say yes or no by 1 or 0"
        raise DataError(f"{place(column, row, where)}: the value is {values[row]:g}, {problem}")
    return torch.from_numpy(values)


def _require_values(column: Any, where: str) -> None:
    if isinstance(column, np.ndarray):
        return
    missing = column.isna().to_numpy()
    if missing.any():
        what = f"the target is missing (in {missing.sum():,} of {len(missing):,} rows)"
        raise DataError(f"{place(column, int(missing.argmax()), where)}: {what}; remove the rows, or fill it in")
