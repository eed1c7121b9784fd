"""Texts as rows of tokens, by Keras's convention, for the news items of the data set and for new texts."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightmodels.utils.data_error import DataError

Integers = np.ndarray[Any, np.dtype[np.int64]]
PADDING, START, UNKNOWN, OFFSET = 0, 1, 2, 3  # tokens; the word of rank r is token r + OFFSET
MAX_RANK = 10**6  # so that a hostile file cannot cause a huge vocabulary
CONVENTION = {"padding": PADDING, "start": START, "unknown": UNKNOWN, "offset": OFFSET}
# The separators of Keras's Tokenizer. The apostrophe is not one: "don't" and "banks'" are words.
SPACES = dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " ")
QUOTES = dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "'")
SEPARATORS = str.maketrans(SPACES | QUOTES)
REVIEW_WORDS = re.compile("[a-z0-9']+")


def split_words(text: str) -> list[str]:
    """The words of a text in lower case; ``3.75`` and ``u.s.`` are two words each, ``company's`` is one."""
    return text.lower().translate(SEPARATORS).split()


def split_review(text: str) -> list[str]:
    """The words of a review: ``[a-z0-9']+`` of the text in lower case, with ``<br />`` as a space.

    Examples:
        >>> split_review("It's <br />the 2nd na\u00efve/best")
        ["it's", 'the', '2nd', 'na', 've', 'best']
    """
    return REVIEW_WORDS.findall(text.lower().replace("<br />", " "))


SPLITTERS = {"keras": split_words, "review": split_review}  # by their names in the ``info`` of data sets


def word_ranks(text: str, word_index: Mapping[str, int], splitter: str = "keras") -> Integers:
    """The rank of each word of a text, ``UNKNOWN - OFFSET`` for words that are not in the index.

    ``splitter`` is a name in ``SPLITTERS``. Raises DataError if it is not, or if the text has no words, or none that
    is in the index.
    """
    if splitter not in SPLITTERS:
        raise DataError(f"cannot be split into words by {splitter!r}, only by {' or '.join(SPLITTERS)}")
    words = SPLITTERS[splitter](text)
    ranks = np.array([word_index.get(word, UNKNOWN - OFFSET) for word in words], dtype=np.int64)
    if not len(ranks):
        raise DataError("holds no word")
    if ranks.max() < 0:
        raise DataError(f"holds no word of the vocabulary of {len(word_index):,} words")
    return ranks


def join_words(items: Sequence[Integers]) -> tuple[Integers, Integers]:
    """All items, given as ranks, as one row of tokens with a start token before each; and their lengths."""
    lengths = np.array([len(item) + 1 for item in items])
    starts = np.cumsum(lengths - 1) - (lengths - 1)
    return np.insert(np.concatenate(items) + OFFSET, starts, START), lengths


def tokenize(items: Sequence[Integers], train_rows: int) -> tuple[Integers, Integers, int]:
    """``join_words``, with words that no training item has as unknown; and the size of the vocabulary."""
    tokens, lengths = join_words(items)
    training = tokens[: lengths[:train_rows].sum()]
    known = np.zeros(tokens.max() + 1, dtype=bool)
    known[training] = True
    return np.where(known[tokens], tokens, UNKNOWN), lengths, int(training.max()) + 1


def pad_front(tokens: Integers, lengths: Integers, max_length: int) -> Integers:
    """The last ``max_length`` tokens of each item at the end of its row, ``(N, max_length)``."""
    table = np.full((len(lengths), max_length), PADDING)
    kept = np.minimum(lengths, max_length)
    # Row by row: five times as fast as indexing with arrays of all positions.
    for row, end, count in zip(table, np.cumsum(lengths).tolist(), kept.tolist(), strict=True):
        row[max_length - count :] = tokens[end - count : end]
    return table
