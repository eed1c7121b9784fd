"""Files of tables as DataFrames: CSV, TSV, Parquet and JSON lines, with one clear line for what cannot be read."""

import csv
import importlib
import io
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightmodels.utils.data_error import DataError, one_line

SEPARATORS = ",;\t|"
PARQUET, JSON_LINES = (".parquet", ".pq"), (".jsonl", ".ndjson")
MAX_NAMES = 20  # of columns in a message
Names = Sequence[str] | str | None  # of columns: ["a", "b"] or "a,b"
SAMPLE = 2**16  # bytes from which the separator and the header are read


def import_pandas() -> Any:
    """The package pandas; DataError says how to install it."""
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        raise DataError("tables need pandas: pip install pandas") from error


def read_frame(path: str | Path, texts: Sequence[str] = ()) -> Any:
    """The rows of a file as a DataFrame, by its suffix: Parquet, JSON lines, or else text with a header line.

    Columns of text are separated by comma, semicolon, tab or bar, whichever splits the header into most names. Cells
    may be quoted and hold newlines; those of the columns in ``texts`` stay texts, even if they look like numbers.
    Raises DataError, which names the file, for one that is missing, empty, damaged or not UTF-8, or in which two
    columns have the same name.
    """
    pandas = import_pandas()
    suffix = Path(path).suffix.lower()
    try:
        if suffix in PARQUET:
            frame = pandas.read_parquet(path)
        elif suffix in JSON_LINES:
            frame = pandas.read_json(path, lines=True, dtype=False)
        else:
            frame = _read_text(pandas, Path(path), texts)
    except (OSError, ValueError, ImportError, pandas.errors.ParserError) as error:
        raise DataError(f"{path} cannot be read: {one_line(error)}") from error
    except Exception as error:  # damaged Parquet files can raise anything
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read: {one_line(error)}") from error
    if not len(frame):
        raise DataError(f"{path} has no rows")
    frame.columns = [str(name) for name in frame.columns]
    return frame


def choose_columns(frame: Any, names: Names, argument: str, where: object) -> list[str]:
    """The columns of a DataFrame that an argument names, as a list or as ``a,b``; DataError if they are not there."""
    if isinstance(names, str):
        names = [names] if names in frame.columns else [name.strip() for name in names.split(",")]
    for name in names or ():
        if name not in frame.columns:
            known = ", ".join(map(repr, frame.columns[:MAX_NAMES]))
            more = f" and {len(frame.columns) - MAX_NAMES} more" if len(frame.columns) > MAX_NAMES else ""
            raise DataError(f"{where} has no column {name!r} ({argument}); it has {known}{more}")
    return list(names or ())


def _read_text(pandas: Any, path: Path, texts: Sequence[str]) -> Any:
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
    try:
        text = sample.decode("utf-8-sig", errors="strict" if len(sample) < SAMPLE else "ignore")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text") from error
    if not text.strip():
        raise DataError(f"{path} is empty")
    separator = max(SEPARATORS, key=lambda each: len(_header(text, each)))
    names = Counter(_header(text, separator))
    if twice := [name for name, count in names.items() if count > 1]:
        raise DataError(f"{path} has {names[twice[0]]} columns named {twice[0]!r}: rename all but one")
    options = {
        "sep": separator,
        "encoding": "utf-8-sig",
        "skipinitialspace": f"{separator} " in text,  # slower
        "dtype": dict.fromkeys(texts, str),
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.DtypeWarning)
            return pandas.read_csv(path, **options)
    except pandas.errors.DtypeWarning:  # parts of a column hold different kinds of values
        return pandas.read_csv(path, **options, low_memory=False)  # slower
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text") from error


def _header(text: str, separator: str) -> list[str]:
    try:
        rows = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
        return [cell.strip() for cell in next(row for row in rows if row)]
    except (csv.Error, StopIteration):
        return []
