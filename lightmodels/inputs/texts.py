"""Texts, text files, and texts in the column of a table as rows of tokens."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightmodels.inputs.base import Inputs, Source, file_content, named
from lightmodels.inputs.frames import as_frame
from lightmodels.inputs.table_files import JSON_LINES, PARQUET, choose_columns, read_frame
from lightmodels.inputs.tokens import CONVENTION, MAX_RANK, SPLITTERS, join_words, pad_front, word_ranks
from lightmodels.utils.data_error import DataError

TABLES = (".csv", ".tsv", *JSON_LINES, *PARQUET)


class Texts(Inputs):
    """Raw: tokens, int64 ``(N, max_length)``; those outside the vocabulary count as unknown."""

    required: ClassVar[Mapping[str, type]] = {
        "classes": list, "word_index": dict, "num_words": int, "max_length": int, "tokens": dict
    }  # fmt: skip

    @classmethod
    def is_valid(cls, info: Mapping[str, Any]) -> bool:
        """Whether the vocabulary is one, and the splitter a known one."""
        ranks_fit = all(type(rank) is int and 0 < rank <= MAX_RANK for rank in info["word_index"].values())
        options_fit = type(info.get("lower", True)) is bool and type(info.get("text", "")) is str
        known = info["tokens"] == CONVENTION and info.get("splitter", "keras") in list(SPLITTERS)
        return ranks_fit and options_fit and known

    def read(self, arguments: Sequence[str]) -> tuple[list[Source], Tensor]:
        """Each argument is a text, a file with one, or, for models of such data, a table with a column of texts."""
        found = [each for argument in arguments for each in self._open(argument, is_text=not _is_path(argument))]
        sources, texts = [source for source, _ in found], [text for _, text in found]
        return sources, self._tokens(texts, sources)

    def convert(self, data: Any) -> Tensor:
        """A text, a list of texts, a Series of them, or a DataFrame with the data's column; a ``Path`` is read."""
        if hasattr(data, "columns"):
            texts = list(column_texts(as_frame(data, "data"), self.info.get("text", "text"), "data"))
        elif hasattr(data, "to_frame"):
            texts = list(cell_texts(data))
        else:
            items = [data] if isinstance(data, (str, Path)) else list(data)
            if wrong := [each for each in items if not isinstance(each, (str, Path))]:
                raise DataError(f"data must be texts or paths, got {type(wrong[0]).__name__}")
            pairs = [each for item in items for each in self._open(str(item), is_text=isinstance(item, str))]
            texts = [text for _, text in pairs]
        return self._tokens(texts, [f"text {number}" for number in range(len(texts))])

    def _open(self, argument: str, is_text: bool) -> list[tuple[Source, str]]:
        """The texts that an argument stands for, with where they come from."""
        if is_text:
            return [(Source(argument, is_text=True), argument)]
        if "text" not in self.info or Path(argument).suffix.lower() not in TABLES:
            return [(Source(argument), file_content(argument))]
        texts = column_texts(read_frame(argument), self.info["text"], argument)
        return [(Source(argument, row), text) for row, text in enumerate(texts, start=1)]

    def _tokens(self, texts: Sequence[str], sources: Sequence[object]) -> Tensor:
        if not texts:
            raise DataError("data has no texts")
        options = self.info["word_index"], self.info.get("splitter", "keras"), self.info.get("lower", True)
        ranks = [named(source, word_ranks, text, *options) for source, text in zip(sources, texts, strict=True)]
        return torch.from_numpy(pad_front(*join_words(ranks), self.info["max_length"]))

    def preprocess(self, raw: Tensor) -> Tensor:
        """Tokens outside the vocabulary as unknown."""
        known = (raw >= 0) & (raw < self.info["num_words"])
        return torch.where(known, raw, self.info["tokens"]["unknown"])

    def restore(self, x: Tensor) -> Tensor:
        """Unknown words as a token outside the vocabulary."""
        return torch.where(x == self.info["tokens"]["unknown"], self.info["num_words"] + 7, x)

    def random(self, count: int) -> Tensor:
        """Random tokens, some outside the vocabulary."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(self.info["num_words"] + 7, (count, self.info["max_length"]), generator=generator)


def column_texts(frame: Any, name: str, where: object) -> Iterator[str]:
    """The texts in a column of a DataFrame; DataError if there is no such column."""
    choose_columns(frame, [name], "text", where)
    return cell_texts(frame[name])


def cell_texts(column: Any) -> Iterator[str]:
    """The values of a Series as texts; missing ones are empty."""
    return ("" if missing else str(value) for value, missing in zip(column, column.isna(), strict=True))


def _is_path(argument: str) -> bool:
    """Whether an argument is an existing file, or looks like the path of one."""
    path = Path(argument)
    try:
        is_file = path.exists() and not path.is_dir()
    except (OSError, ValueError):  # too long, or with characters that no path has
        is_file = False
    return is_file or bool(re.fullmatch(r"\S*/\S*|\S+\.[A-Za-z]\w{0,4}", argument))
