"""Tokens have the words of the data's description."""

import torch

from lightmodels.core import vocabulary
from lightmodels.core.vocabulary import token_words, word_embeddings

INFO = {"word_index": {"the": 1, "2": 2, "oil": 3, "rare": 4}, "tokens": {"offset": 3}}


def test_the_words_of_tokens():
    assert token_words(INFO, 100) == {4: "the", 5: "2", 6: "oil", 7: "rare"}
    assert token_words(INFO, 6) == {4: "the", 5: "2"}
    assert token_words({"kind": "table"}, 100) == {}


def test_the_embeddings_of_the_most_common_words_without_numbers(monkeypatch):
    weight = torch.arange(16.0).reshape(8, 2)
    found = word_embeddings(token_words(INFO, 8), weight)["words"]
    assert (found.columns["label"], found.vectors.tolist()) == (["the", "oil", "rare"], weight[[4, 6, 7]].tolist())
    monkeypatch.setattr(vocabulary, "MOST_COMMON_WORDS", 2)
    assert word_embeddings(token_words(INFO, 8), weight)["words"].columns["label"] == ["the", "oil"]
    assert word_embeddings({}, weight) == {}
    assert word_embeddings({5: "2"}, weight) == {}
