"""Texts as rows of tokens, by Keras's convention, for the texts of data sets and for new ones."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from lightmodels.utils.data_error import DataError

Integers = np.ndarray[Any, np.dtype[np.int64]]
Numbers = np.ndarray[Any, np.dtype[np.int32]]
PADDING, START, UNKNOWN, OFFSET = 0, 1, 2, 3  # tokens; the word of rank r is token r + OFFSET
MAX_RANK = 10**6  # so that a hostile file cannot cause a huge vocabulary
CONVENTION = {"padding": PADDING, "start": START, "unknown": UNKNOWN, "offset": OFFSET}
# The separators of Keras's Tokenizer. The apostrophe is not one: "don't" and "banks'" are words.
SPACES = dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " ")
QUOTES = dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "'")
SEPARATORS = str.maketrans(SPACES | QUOTES)
REVIEW_WORDS = re.compile("[a-z0-9']+")
ASCII_WORDS = re.compile(r"\w+(?:'\w+)*")
MARKS = 0x300, 0x1F000  # code points that include all signs that belong to the letter before them
# Han characters and kana, which are written without spaces between words.
IDEOGRAPHS = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
CHUNK = 4096  # texts of which tokens are joined at a time


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


def split_unicode(text: str) -> list[str]:
    """The words of a text in any language: letters and digits, with their accents, and apostrophes between them.

    Han characters and kana are words of their own. ``_`` separates words. Upper case stays.

    Examples:
        >>> split_unicode("It's na\u00efve_\u2018to\u2019: 2nd, \u4f60\u597d!")
        ["It's", 'naïve', 'to', '2nd', '你', '好']
    """
    text = text.replace("_", " ").replace(chr(0x2018), "'").replace(chr(0x2019), "'")
    if text.isascii():
        return ASCII_WORDS.findall(text)
    text = IDEOGRAPHS.sub(r" \g<0> ", unicodedata.normalize("NFC", text))
    return _unicode_words().findall(text)


@cache
def _unicode_words() -> re.Pattern[str]:
    """Words with the marks that belong to their letters; it takes three times as long as ``ASCII_WORDS``."""
    marks = "".join(filter(lambda sign: unicodedata.category(sign)[0] == "M", map(chr, range(*MARKS))))
    return re.compile(rf"\w+(?:[{marks}]+\w*|'\w+)*")


# By their names in the ``info`` of data sets; all but "unicode" put texts into lower case themselves.
SPLITTERS = {"keras": split_words, "review": split_review, "unicode": split_unicode}


def word_ranks(text: str, word_index: Mapping[str, int], splitter: str = "keras", lower: bool = True) -> Integers:
    """The rank of each word of a text, ``UNKNOWN - OFFSET`` for words that are not in the index.

    ``splitter`` is a name in ``SPLITTERS``; with ``lower``, the text is put into lower case first. Raises DataError if
    there is no such splitter, or if the text has no words, or none that is in the index.
    """
    if splitter not in SPLITTERS:
        raise DataError(f"cannot be split into words by {splitter!r}, only by {' or '.join(SPLITTERS)}")
    words = SPLITTERS[splitter](text.lower() if lower else text)
    ranks = np.array([word_index.get(word, UNKNOWN - OFFSET) for word in words], dtype=np.int64)
    if not len(ranks):
        raise DataError("holds no word")
    if ranks.max() < 0:
        raise DataError(f"holds no word of the vocabulary of {len(word_index):,} words")
    return ranks


def number_words(texts: Iterable[Sequence[str]]) -> tuple[list[Numbers], dict[str, int]]:
    """Each text's words as numbers, and the number of each word; words are numbered as they come."""
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    rows = [np.fromiter(map(numbers.__getitem__, words), np.int32, len(words)) for words in texts]
    return rows, dict(numbers)


def rank_words(
    rows: Sequence[Numbers], numbers: Mapping[str, int], min_count: int = 1, max_words: int | None = None
) -> tuple[Integers, list[str]]:
    """A vocabulary from the words of some rows: the most frequent first, of equal ones by the alphabet.

    Args:
        rows: numbers of words, as ``number_words`` gives them.
        numbers: the number of each word.
        min_count: how often a word must be in the rows.
        max_words: at most so many words.

    Returns:
        The rank of each number, from 1, or ``UNKNOWN - OFFSET`` for one outside the vocabulary; and the words by rank.
    """
    counts = np.bincount(np.concatenate(rows), minlength=len(numbers)).tolist()
    found = [word for word, number in numbers.items() if counts[number] >= min_count]
    words = sorted(found, key=lambda word: (-counts[numbers[word]], word))[:max_words]
    ranks = np.full(len(numbers), UNKNOWN - OFFSET)
    ranks[[numbers[word] for word in words]] = np.arange(1, len(words) + 1)
    return ranks, words


def token_table(rows: Sequence[Numbers], ranks: Integers, max_length: int) -> Integers:
    """Rows of words' numbers as tokens, padded and cut at the front, ``(N, max_length)``."""
    table = np.empty((len(rows), max_length), np.int64)
    for start in range(0, len(rows), CHUNK):  # so that memory is the table and little more
        part = [ranks[row[-max_length:]] for row in rows[start : start + CHUNK]]
        table[start : start + CHUNK] = pad_front(*join_words(part), max_length)
    return table


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
