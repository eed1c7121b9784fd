"""Texts and text files as rows of tokens."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightmodels.inputs.base import Inputs, Source, file_content, named
from lightmodels.inputs.tokens import CONVENTION, MAX_RANK, SPLITTERS, join_words, pad_front, word_ranks


class Texts(Inputs):
    """Raw: tokens, int64 ``(N, max_length)``; those outside the vocabulary count as unknown."""

    required: ClassVar[Mapping[str, type]] = {
        "classes": list, "word_index": dict, "num_words": int, "max_length": int, "tokens": dict
    }  # fmt: skip

    @classmethod
    def is_valid(cls, info: Mapping[str, Any]) -> bool:
        """Whether the vocabulary is one, and the splitter a known one."""
        ranks_fit = all(type(rank) is int and 0 < rank <= MAX_RANK for rank in info["word_index"].values())
        return ranks_fit and info["tokens"] == CONVENTION and info.get("splitter", "keras") in list(SPLITTERS)

    def read(self, arguments: Sequence[str]) -> tuple[list[Source], Tensor]:
        """Each argument is a text, or a file with one."""
        sources = [Source(each, is_text=not _is_path(each)) for each in arguments]
        texts = [source.argument if source.is_text else file_content(source.argument) for source in sources]
        return sources, self._tokens(texts, sources)

    def convert(self, data: Any) -> Tensor:
        """Each item is a text; those that are a ``Path`` are read."""
        texts = [file_content(str(each)) if isinstance(each, Path) else str(each) for each in data]
        return self._tokens(texts, [f"text {number}" for number in range(len(texts))])

    def _tokens(self, texts: Sequence[str], sources: Sequence[object]) -> Tensor:
        words, splitter = self.info["word_index"], self.info.get("splitter", "keras")
        ranks = [named(source, word_ranks, text, words, splitter) for source, text in zip(sources, texts, strict=True)]
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


def _is_path(argument: str) -> bool:
    """Whether an argument is an existing file, or looks like the path of one."""
    path = Path(argument)
    try:
        is_file = path.exists() and not path.is_dir()
    except (OSError, ValueError):  # too long, or with characters that no path has
        is_file = False
    return is_file or bool(re.fullmatch(r"\S*/\S*|\S+\.[A-Za-z]\w{0,4}", argument))
