"""What each kind of data must know to turn raw data into inputs of a model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from lightmodels.utils.data_error import DataError, one_line

MAX_TEXT = 40  # characters of a text in a message or table


class Source(NamedTuple):
    """Where an input comes from."""

    argument: str  # of the command line, a file or a text
    row: int | None = None  # of a table file, counted from 1 without the header
    is_text: bool = False  # whether the argument is the text itself

    def __str__(self) -> str:
        if self.is_text:
            return repr(shorten(self.argument))
        return self.argument if self.row is None else f"{self.argument} row {self.row}"


class Inputs(ABC):
    """One kind of data, as a ``data_info`` describes it: reading, preparing, and the way back.

    "Raw" is the tensor that an exported program takes: what files hold, before any arithmetic.

    Args:
        info: a ``data_info`` of this kind, for which ``is_valid`` holds; it is plain data.
    """

    required: ClassVar[Mapping[str, type]] = {}  # keys of the info, with the types of their values

    def __init__(self, info: dict[str, Any]) -> None:
        self.info = info

    @classmethod
    def is_valid(cls, info: Mapping[str, Any]) -> bool:
        """Whether an info, which may come from a file, has all that this kind needs, and nothing harmful."""
        return True

    @abstractmethod
    def read(self, arguments: Sequence[str]) -> tuple[list[Source], Tensor]:
        """Arguments of a command as raw rows, in order; DataError names a bad one."""

    def convert(self, data: Any) -> Tensor:
        """Objects in Python, such as a list of paths or a DataFrame, as raw rows; DataError names a bad one."""
        if not isinstance(data, (list, tuple)) or not all(isinstance(each, (str, Path)) for each in data):
            raise DataError(f"data must be a list of paths or texts, got {type(data).__name__}")
        return self.read([str(each) for each in data])[1]

    def preprocess(self, raw: Tensor) -> Tensor:
        """Raw rows as inputs of the model, in operations that can be exported."""
        return raw

    def restore(self, x: Tensor) -> Tensor:
        """Raw rows that ``preprocess`` turns into ``x``."""
        return x

    @abstractmethod
    def random(self, count: int) -> Tensor:
        """Made-up raw rows, the same ones each time."""


def shorten(text: str) -> str:
    """At most ``MAX_TEXT`` printable characters of a text, on one line."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def class_name(value: Any) -> str:
    """The name of a class or category: its text, with whole numbers as such.

    Examples:
        >>> class_name(3.0), class_name(True), class_name("red")
        ('3', 'True', 'red')
    """
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def named(source: object, read: Callable[..., Any], *arguments: Any) -> Any:
    """Calls ``read``; its DataErrors begin with the source."""
    try:
        return read(*arguments)
    except DataError as error:
        raise DataError(f"{source} {error}") from error


def file_content(path: str) -> str:
    """The text of a file in UTF-8, with or without a byte order mark; DataError names it."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {one_line(error)}") from error
