"""Reads the inputs of predict.py, according to the kind of data that the model was trained on."""

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datamodules import tokens
from datamodules.digit_images import read_digit
from datamodules.housing import derive_features
from lightmodels.cli.exit_codes import UsageError
from lightmodels.data.remote_files import DataError, one_line

MAX_TEXT = 40  # characters of a text in a message or table
MAX_VALUE = torch.finfo(torch.float32).max


class Source(NamedTuple):
    """Where an input comes from."""

    argument: str  # of the command line, a file or a text
    row: int | None = None  # of a CSV file, counted from 1 without the header
    is_text: bool = False  # whether the argument is the text itself

    def __str__(self) -> str:
        if self.is_text:
            return repr(shorten(self.argument))
        return self.argument if self.row is None else f"{self.argument} row {self.row}"


def shorten(text: str) -> str:
    """At most ``MAX_TEXT`` printable characters of a text, on one line."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def read_inputs(arguments: Sequence[str], info: dict[str, Any]) -> tuple[list[Source], Tensor]:
    """All inputs, in the order given, as the raw inputs of a ``Pipeline``; UsageError names a bad one."""
    if info["kind"] == "table":
        tables = [(path, read_features(path, info)) for path in arguments]
        sources = [Source(path, number) for path, rows in tables for number in range(1, len(rows) + 1)]
        return sources, torch.tensor([row for _, rows in tables for row in rows])
    if info["kind"] == "image":
        sources = [Source(path) for path in arguments]
        return sources, torch.stack([_named(source, read_digit, source.argument) for source in sources])
    sources = [Source(each, is_text=not _is_path(each)) for each in arguments]
    texts = [source.argument if source.is_text else _content(source.argument) for source in sources]
    pairs = zip(sources, texts, strict=True)
    ranks = [
        _named(source, tokens.word_ranks, text, info["word_index"], info.get("splitter", "keras"))
        for source, text in pairs
    ]
    return sources, torch.from_numpy(tokens.pad_front(*tokens.join_words(ranks), info["max_length"]))


def _is_path(argument: str) -> bool:
    """Whether a text argument is an existing file, or looks like the path of one."""
    path = Path(argument)
    try:
        is_file = path.exists() and not path.is_dir()
    except (OSError, ValueError):  # too long, or with characters that no path has
        is_file = False
    return is_file or bool(re.fullmatch(r"\S*/\S*|\S+\.[A-Za-z]\w{0,4}", argument))


def read_features(path: str, info: dict[str, Any]) -> list[list[float]]:
    """The features of a CSV file's rows, which may be the columns that the data's formulas make features of."""
    if "formulas" not in info or set(info["features"]) == set(header_of(path)):
        return read_rows(path, info["features"])
    table = torch.tensor(read_rows(path, info["columns"]), dtype=torch.float64)
    features = derive_features(table, info["columns"], info["formulas"])
    if bad := (~features.isfinite().all(1)).nonzero().flatten().tolist():
        raise UsageError(f"{path} row {bad[0] + 1}: a feature is not a finite number, as its divisor is 0")
    return features.tolist()


def header_of(path: str) -> list[str]:
    """The names in a CSV file's first line; it may be a row of numbers."""
    return [cell.strip() for cell in next(csv.reader(io.StringIO(_content(path))), [])]


def read_rows(path: str, features: Sequence[str]) -> list[list[float]]:
    """The rows of a CSV file, with columns in the order of ``features`` if a header names them all.

    Raises UsageError for no such file, no rows, or a row that is not one finite number per feature.
    """
    reader = csv.reader(io.StringIO(_content(path)))
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise UsageError(f"{path} is not a CSV file: line {reader.line_num}, {error}") from error
    order = list(range(len(features)))
    if lines and not any(_is_number(cell) for cell in lines[0][1]):
        header = [cell.strip() for cell in lines.pop(0)[1]]
        if sorted(header) == sorted(features):
            order = [header.index(feature) for feature in features]
    if not lines:
        raise UsageError(f"{path} has no rows of numbers")
    rows = []
    for number, (line, cells) in enumerate(lines, start=1):
        place = f"{path} row {number} (line {line})"
        if len(cells) != len(features):
            raise UsageError(f"{place} has {len(cells)} columns, not {len(features)}: {', '.join(features)}")
        values = [_number(cell, place) for cell in cells]
        rows.append([values[column] for column in order])
    return rows


def _number(cell: str, place: str) -> float:
    if not _is_number(cell):
        raise UsageError(f"{place}: {shorten(cell)!r} is not a number")
    if not abs(value := float(cell)) <= MAX_VALUE:
        problem = "not a finite number" if not math.isfinite(value) else "too large"
        raise UsageError(f"{place}: {shorten(cell)} is {problem}")
    return value


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # float accepts 1_000


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {one_line(error)}") from error


def _named(source: Source, read: Callable[..., Any], *arguments: Any) -> Any:
    """Calls ``read``; its errors name the source."""
    try:
        return read(*arguments)
    except DataError as error:
        raise UsageError(f"{source} {error}") from error
