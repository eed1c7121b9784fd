"""Texts with their labels, from a table or from a folder a class, which are read one at a time."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightmodels.data.targets import folder_columns
from lightmodels.inputs.base import file_content
from lightmodels.inputs.frames import as_frame
from lightmodels.inputs.table_files import Names, choose_columns, read_frame
from lightmodels.inputs.texts import cell_texts
from lightmodels.utils.data_error import DataError


class LabelledTexts(NamedTuple):
    """Texts to iterate over once, and what else is known of each."""

    where: str  # the file or folder, for messages
    texts: Iterable[str]
    rows: int  # their number
    columns: Any  # a DataFrame, or of a folder what ``folder_columns`` returns
    files: Sequence[Path] = ()  # of each text, in a folder

    def place(self, row: int) -> str:
        """The name of a text, given by its number from 0."""
        return str(self.files[row]) if self.files else f"{self.where} row {row + 1}"


def read_labelled_texts(source: Any, text: str, target: Names, others: Mapping[str, Names]) -> LabelledTexts:
    """The texts of a file of a table, a folder or a DataFrame.

    Args:
        source: path of a file or a folder, or a DataFrame.
        text: name of the column of texts.
        target: name of the column of the labels, or of several.
        others: argument -> the name of its column, or None.

    Raises:
        DataError: a file that cannot be read, or a column that is missing.
    """
    if isinstance(source, str) and Path(source).is_dir():
        return _read_folder(Path(source), target, others)
    frame, where = (read_frame(source), source) if isinstance(source, str) else (as_frame(source, "data"), "data")
    for argument, names in {"text": text, "target": target, **others}.items():
        choose_columns(frame, names, argument, where)
    return LabelledTexts(where, cell_texts(frame[text]), len(frame), frame)


def _read_folder(folder: Path, target: Names, others: Mapping[str, Names]) -> LabelledTexts:
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
    return LabelledTexts(str(folder), texts, len(files), folder_columns(labels, target, others, folder), files)
