"""New texts are encoded as the texts of the data set are."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.reuters import ReutersDataModule
from lightmodels.inputs.tokens import (
    join_words,
    number_words,
    pad_front,
    rank_words,
    split_review,
    split_unicode,
    split_words,
    token_table,
    word_ranks,
)
from lightmodels.utils.data_error import DataError

INDEX = {"the": 1, "oil": 2, "don't": 3, "banks'": 4, "75": 5, "u": 6, "s": 7}


def encoded(text, index, max_length):
    return pad_front(*join_words([word_ranks(text, index)]), max_length)[0].tolist()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The OIL, the oil.", "the oil the oil"),
        ("Don't! (banks')", "don't banks'"),
        ("Don\N{RIGHT SINGLE QUOTATION MARK}t", "don't"),
        ("3.75 mln-dlrs", "3 75 mln dlrs"),
        ("U.S.\tdebt/equity\r\nswap", "u s debt equity swap"),
        ("", ""),
        (" ... \n", ""),
    ],
)
def test_split_words(text, words):
    assert split_words(text) == words.split()


def test_the_separators_are_those_of_keras():
    """The default of ``filters`` in Keras's Tokenizer, from its documentation."""
    for letter in '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n':
        assert split_words(f"a{letter}b") == ["a", "b"]
    for letter in "'\u00e4\u20ac":
        assert split_words(f"a{letter}b") == [f"a{letter}b"]


def test_rare_words_are_unknown_and_rows_are_padded_and_cut_at_the_front():
    assert encoded("The price of OIL", INDEX, 7) == [0, 0, 1, 4, 2, 2, 5]
    assert encoded("The price of OIL", INDEX, 3) == [2, 2, 5]


@pytest.mark.parametrize(
    ("text", "line"),
    [("", "holds no word"), ("?!", "holds no word"), ("gold", "holds no word of the vocabulary of 7 words")],
)
def test_a_text_without_known_words_is_refused(text, line):
    with pytest.raises(DataError, match=f"^{line}$"):
        word_ranks(text, INDEX)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's GREAT,<br /><br />10/10!", "it's great 10 10"),
        ("<BR />na\u00efve caf\u00e9...r\u00e9sum\u00e9", "na ve caf r sum"),
        ("<br/>a_b''", "br a b''"),
        ("\u2019?!", ""),
    ],
)
def test_split_review(text, words):
    assert split_review(text) == words.split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don\u2019t! 'quoted' rock'n'roll", "Don't quoted rock'n'roll"),
        ("snake_case 3.75 2nd", "snake case 3 75 2nd"),
        ("na\u00efve cafe\u0301 \u00dcber", "na\u00efve caf\u00e9 \u00dcber"),
        (
            "\u043f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
            "\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440",
        ),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e",
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e",
        ),
        ("\u4f60\u597d, \u30c6\u30ad", "\u4f60 \u597d \u30c6 \u30ad"),
        ("\u2026?! _ \u0301", ""),
    ],
    ids=["apostrophes", "digits", "accents", "Cyrillic", "Hindi", "Chinese and kana", "none"],
)
def test_split_unicode(text, words):
    assert split_unicode(text) == words.split()


def test_lower_case_is_an_option():
    index = {"Oil": 1, "oil": 2}
    assert word_ranks("Oil oil OIL", index, "unicode").tolist() == [2, 2, 2]
    assert word_ranks("Oil oil OIL", index, "unicode", lower=False).tolist() == [1, 2, -1]


def test_a_vocabulary_by_hand_and_the_table_is_that_of_joined_rows(monkeypatch):
    rows, numbers = number_words(text.split() for text in ["b b a c", "c a d", "", "e b"])
    assert (numbers, [row.tolist() for row in rows]) == ({"b": 0, "a": 1, "c": 2, "d": 3, "e": 4},
                                                         [[0, 0, 1, 2], [2, 1, 3], [], [4, 0]])  # fmt: skip
    ranks, words = rank_words(rows[:2], numbers)
    assert (words, ranks.tolist()) == (["a", "b", "c", "d"], [2, 1, 3, 4, -1])
    assert rank_words(rows[:2], numbers, min_count=2, max_words=2)[1] == ["a", "b"]
    assert rank_words(rows[:2], numbers, min_count=9)[1] == []
    monkeypatch.setattr("lightmodels.inputs.tokens.CHUNK", 3)
    for length in (1, 3, 5, 6):
        expected = pad_front(*join_words([ranks[row] for row in rows]), length)
        assert np.array_equal(token_table(rows, ranks, length), expected)


def test_texts_are_split_by_the_splitter_of_the_data():
    index = {"br": 1, "re": 2, "sum": 3, "r\u00e9sum\u00e9": 4, "r": 5}
    assert word_ranks("R\u00e9sum\u00e9<br />", index).tolist() == [4, 1]
    assert word_ranks("R\u00e9sum\u00e9<br />", index, "review").tolist() == [5, 3]
    with pytest.raises(DataError, match=r"^cannot be split into words by 'other', only by keras or review or unicode$"):
        word_ranks("text", index, "other")


@pytest.fixture(scope="module")
def real(data_dir):
    data = ReutersDataModule(data_dir)
    data.setup()
    return data


@pytest.mark.real_data
def test_decoded_news_items_are_encoded_to_the_same_tokens(real):
    x, _ = real.splits.test
    for row in x[:400]:
        text = real.decode(row).replace("?", "qqzzqq").upper().replace(" ", ", ")
        assert encoded(text, real.info["word_index"], 300) == row.tolist()


@pytest.mark.real_data
def test_the_info_has_the_words_of_the_training_items(real, data_dir):
    info = json.loads(json.dumps(real.info))  # plain data
    whole = json.loads((Path(data_dir) / "reuters/reuters_word_index.json").read_text())
    train, val, _ = real.splits
    seen = set(np.unique(torch.cat([train[0], val[0]]).numpy()).tolist())
    assert set(whole.items()) >= set(info["word_index"].items())
    tokens = {rank + 3 for rank in info["word_index"].values()}
    assert seen - {0, 1, 2} <= tokens
    assert max(tokens) < info["num_words"] == real.sizes["num_words"]
    assert len(tokens) < len(whole)  # some words occur in the test items only
    assert info["classes"][:4] == ["cocoa", "grain", "veg-oil", "earn"]
    assert info["tokens"] == {"padding": 0, "start": 1, "unknown": 2, "offset": 3}
