"""Texts with their labels, from a table or from a folder a class, which are read one at a time."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lightmodels.inputs.base import file_content
from lightmodels.inputs.table_files import read_frame
from lightmodels.inputs.texts import column_texts, require_column
from lightmodels.utils.data_error import DataError


class LabelledTexts(NamedTuple):
    """Texts to iterate over once, and what else is known of each."""

    where: str  # the file or folder, for messages
    texts: Iterable[str]
    columns: Mapping[str, Any]  # argument that names a column, such as target -> its values (N,)
    files: Sequence[Path] = ()  # of each text, in a folder

    def place(self, row: int) -> str:
        """The name of a text, given by its number from 0."""
        return str(self.files[row]) if self.files else f"{self.where} row {row + 1}"

    def about(self, argument: str, name: str) -> str:
        """The name of a column, for messages."""
        return self.where if self.files else f"{self.where} column {name!r}"


def read_labelled_texts(source: Any, text: str, columns: Mapping[str, str]) -> LabelledTexts:
    """The texts of a file of a table, a folder or a DataFrame.

    Args:
        source: path of a file or a folder, or a DataFrame.
        text: name of the column of texts.
        columns: argument -> the name of its column; ``target`` is among them.

    Raises:
        DataError: a file that cannot be read, or a column that is missing.
    """
    if isinstance(source, str) and Path(source).is_dir():
        if others := [name for argument, name in columns.items() if argument != "target"]:
            raise DataError(f"{source} is a folder, which has no column {others[0]!r}")
        return _read_folder(Path(source))
    frame, where = (read_frame(source), source) if isinstance(source, str) else (source, "data")
    texts = column_texts(frame, text, where)
    values = {argument: np.asarray(require_column(frame, name, where, argument)) for argument, name in columns.items()}
    return LabelledTexts(where, texts, values)


def _read_folder(folder: Path) -> LabelledTexts:
    """Each folder in ``folder`` is a class; the files in it, at any depth, are its texts. Hidden ones are skipped."""
    classes = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not classes:
        raise DataError(f"{folder} has no folders: there must be one for each class")
    files, labels = list[Path](), list[str]()
    for each in classes:
        paths = (path for path in sorted(each.rglob("*")) if path.is_file())
        found = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(each).parts)]
        if not found:
            raise DataError(f"{each} has no files: it must hold the texts of a class")
        files += found
        labels += [each.name] * len(found)
    texts = (file_content(str(path)) for path in files)
    return LabelledTexts(str(folder), texts, {"target": np.array(labels)}, files)
