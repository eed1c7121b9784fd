"""Texts as rows of tokens, by Keras's convention: for the wires of a data set and for new ones alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightmodels.data.remote_files import DataError

Integers = np.ndarray[Any, np.dtype[np.int64]]
PADDING, START, UNKNOWN, OFFSET = 0, 1, 2, 3  # tokens; the word of rank r is token r + OFFSET
MAX_RANK = 10**6  # so that a hostile file can't ask for a huge vocabulary
CONVENTION = {"padding": PADDING, "start": START, "unknown": UNKNOWN, "offset": OFFSET}
# What Keras's Tokenizer takes for a space. The apostrophe stays: "don't" and "banks'" are words.
SPACES = dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " ")
QUOTES = dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "'")
SEPARATORS = str.maketrans(SPACES | QUOTES)


def split_words(text: str) -> list[str]:
    """The words of a text in lower case; ``3.75`` is two, ``u.s.`` too, ``company's`` is one."""
    return text.lower().translate(SEPARATORS).split()


def word_ranks(text: str, word_index: Mapping[str, int]) -> Integers:
    """The ranks of a text's words, and ``UNKNOWN - OFFSET`` for words that have none.

    Raises:
        DataError: there is no word, or none that has a rank.
    """
    words = split_words(text)
    ranks = np.array([word_index.get(word, UNKNOWN - OFFSET) for word in words], dtype=np.int64)
    if not len(ranks):
        raise DataError("holds no word")
    if ranks.max() < 0:
        raise DataError(f"holds no word of the vocabulary of {len(word_index):,} words")
    return ranks


def join_words(wires: Sequence[Integers]) -> tuple[Integers, Integers]:
    """All wires, given as ranks, as one row of tokens with a start before each; and their lengths."""
    lengths = np.array([len(wire) + 1 for wire in wires])
    starts = np.cumsum(lengths - 1) - (lengths - 1)
    return np.insert(np.concatenate(wires) + OFFSET, starts, START), lengths


def tokenize(wires: Sequence[Integers], train_rows: int) -> tuple[Integers, Integers, int]:
    """All wires as one row of tokens, the length of each wire, and the size of the vocabulary."""
    tokens, lengths = join_words(wires)
    trained = tokens[: lengths[:train_rows].sum()]
    known = np.zeros(tokens.max() + 1, dtype=bool)  # what no training wire has is unknown
    known[trained] = True
    return np.where(known[tokens], tokens, UNKNOWN), lengths, int(trained.max()) + 1


def pad_front(tokens: Integers, lengths: Integers, max_length: int) -> Integers:
    """The last ``max_length`` tokens of each wire at the end of its row, ``(N, max_length)``."""
    table = np.full((len(lengths), max_length), PADDING)
    kept = np.minimum(lengths, max_length)
    # a row at a time: five times as quick as with arrays of where each token comes from and goes to
    for row, end, count in zip(table, np.cumsum(lengths).tolist(), kept.tolist(), strict=True):
        row[max_length - count :] = tokens[end - count : end]
    return table
