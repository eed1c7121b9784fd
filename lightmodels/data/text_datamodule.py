"""TextDataModule: texts of your own with their labels, from a table, a folder or a DataFrame."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from lightmodels.data.labelled_texts import LabelledTexts, read_labelled_texts
from lightmodels.data.labels import balanced_weights, encode_labels
from lightmodels.data.row_splits import split_rows
from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, Tensors
from lightmodels.inputs.base import class_name, shorten
from lightmodels.inputs.tokens import (
    CONVENTION,
    OFFSET,
    Integers,
    Numbers,
    number_words,
    rank_words,
    split_unicode,
    token_table,
)
from lightmodels.utils.argument_checks import at_least
from lightmodels.utils.data_error import DataError

MIN_LENGTH = 55  # what the most demanding of the text models needs
USUAL = 95  # percentile of the lengths of training texts
PARTS = ("train", "val", "test")


class TextDataModule(TensorDataModule):
    """Texts as ``(tokens, labels)``, int64 ``(N, length)`` and ``(N,)``, and ``weights``, float32 ``(N,)``, if any.

    Words are letters and digits of any language, see ``lightmodels.inputs.tokens.split_unicode``. Tokens: 0 padding, 1
    start, 2 unknown, else 3 + the word's rank by frequency in the training texts. Texts are padded and cut at the
    front. Labels are texts, booleans or numbers of any values, each a class. Texts without a word are left out, with a
    warning. The test texts are a random share of each class, and so are the validation texts of the others.

    Class weights, scikit-learn's, are in the training loss only, weights of texts in every loss.

    Args:
        path: CSV, TSV, JSON lines, Parquet, a folder with a folder of text files for each class, or a DataFrame.
        text: column of the texts.
        target: column of the labels.
        test_path: file or folder of the test texts, if ``path`` has none.
        test_fraction: share of the texts for testing.
        split: column that says train, val or test; without val, ``val_fraction`` of the training texts are.
        max_words: size of the vocabulary; rarer words are unknown.
        max_length: tokens of a text; by default 95 % of the training texts are not longer, and it is at least 55.
        min_count: words that are rarer in the training texts are unknown.
        lower: whether to convert texts to lower case.
        class_weights: ``balanced`` for equal classes.
        sample_weight: column of the texts' weights in the loss.
        batch_size: rows in a global batch.
        val_fraction: share of the texts for validation.
        seed: seed of the splits and of the order of the training texts.
    """

    input_dtype: ClassVar[torch.dtype] = torch.long

    def __init__(  # noqa: PLR0913 (each is a flag of train.py)
        self,
        path: str | Any,
        *,
        text: str = "text",
        target: str = "label",
        test_path: str | Any | None = None,
        test_fraction: float = 0.2,
        split: str | None = None,
        max_words: int = 30_000,
        max_length: int | None = None,
        min_count: int = 1,
        lower: bool = True,
        class_weights: Literal["none", "balanced"] = "none",
        sample_weight: str | None = None,
        batch_size: int = 32,
        val_fraction: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_fraction, seed)
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction must be between 0 and 1, got {test_fraction}")
        if test_path is not None and split is not None:
            raise ValueError("split and test_path exclude each other")
        at_least(1, max_words=max_words, min_count=min_count, max_length=1 if max_length is None else max_length)
        path, test_path = (str(each) if isinstance(each, Path) else each for each in (path, test_path))
        frames = [name for name, each in (("path", path), ("test_path", test_path)) if not isinstance(each, str | None)]
        self.save_hyperparameters(ignore=frames)  # plain data only
        self._sources = [path] if test_path is None else [path, test_path]
        self._words, self._classes, self._length = list[str](), list[str](), 0  # set by load

    @property
    def sizes(self) -> dict[str, int]:
        _ = self.splits
        return {"num_words": self._num_words, "num_classes": len(self._classes), "length": self._length}

    @property
    def info(self) -> dict[str, Any]:
        """As IMDB's, with the column of the texts, and whether they are put into lower case."""
        _ = self.splits
        return {
            "kind": "text",
            "classes": self._classes,
            "word_index": {word: rank for rank, word in enumerate(self._words, start=1)},
            "num_words": self._num_words,
            "max_length": self._length,
            "tokens": dict(CONVENTION),
            "splitter": "unicode",
            "lower": self.hparams["lower"],
            "text": self.hparams["text"],
        }

    @property
    def _num_words(self) -> int:
        return len(self._words) + OFFSET + 1

    def load(self) -> Splits:
        """Reads the texts; DataError names file, row and column of what cannot be used."""
        named = {name: self.hparams[name] for name in ("target", "split", "sample_weight")}
        columns = {argument: name for argument, name in named.items() if name is not None}
        parts = [read_labelled_texts(source, self.hparams["text"], columns) for source in self._sources]
        labels, weights = self._encode(parts), self._weights(parts)
        rows, numbers = number_words(self._split_words(text) for part in parts for text in part.texts)
        kept = _rows_with_words(rows, parts)
        train, val, test = self._split_rows(kept, labels, parts)
        self.train_rows, self.val_rows = train, val
        _warn_of_copies(rows, torch.cat([train, val]), test, parts[-1].where)
        ranks = self._make_vocabulary([rows[row] for row in train.tolist()], numbers, parts[0].where)

        def tensors(chosen: Tensor, weights: Tensor | None) -> Tensors:
            table = token_table([rows[row] for row in chosen.tolist()], ranks, self._length)
            return torch.from_numpy(table), labels[chosen], *(() if weights is None else (weights[chosen],))

        training = weights
        if self.hparams["class_weights"] == "balanced":
            balanced = balanced_weights(labels, train)
            training = balanced if weights is None else balanced * weights
        return Splits(tensors(train, training), tensors(val, weights), tensors(test, weights))

    def _split_words(self, text: str) -> list[str]:
        return split_unicode(text.lower() if self.hparams["lower"] else text)

    def _encode(self, parts: Sequence[LabelledTexts]) -> Tensor:
        """The class of each text of all parts; those of a test file must be classes of the first part."""
        first, *others = parts
        target = self.hparams["target"]
        labels, self._classes = encode_labels(first.columns["target"], first.about("target", target))
        numbers = {name: number for number, name in enumerate(self._classes)}
        every = [labels]
        for part in others:
            names = [class_name(value) for value in part.columns["target"].tolist()]
            if unknown := [row for row, name in enumerate(names) if name not in numbers]:
                problem = f"{shorten(names[unknown[0]])!r} is no class of {first.where}"
                raise DataError(f"{part.place(unknown[0])} column {target!r}: {problem} ({len(unknown):,} such rows)")
            every.append(torch.tensor([numbers[name] for name in names]))
        return torch.cat(every)

    def _weights(self, parts: Sequence[LabelledTexts]) -> Tensor | None:
        """The weight of each text, float32 ``(N,)``; None without a column of them."""
        name, found = self.hparams["sample_weight"], list[float]()
        if name is None:
            return None
        for part in parts:
            for row, value in enumerate(part.columns["sample_weight"].tolist()):
                if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                    problem = f"{shorten(str(value))} is not a number of at least 0"
                    raise DataError(f"{part.place(row)} column {name!r}: {problem}")
                found.append(value)
        return torch.tensor(found, dtype=torch.float32)

    def _split_rows(self, kept: Tensor, labels: Tensor, parts: Sequence[LabelledTexts]) -> list[Tensor]:
        """The numbers of the training, validation and test texts among those with words."""
        first, *others = parts
        seed, fraction, split = self.seed, self.val_fraction, self.hparams["split"]
        self._require_two_of_each_class(kept, labels, first)
        if split is not None:
            chosen = _said_parts(first, split)
            train, val, test = ([row for row in kept.tolist() if chosen[row] == part] for part in PARTS)
            if not train or not test:
                missing = "test" if train else "train"
                raise DataError(f"{first.about('split', split)} says {missing} in no row: there must be such texts")
            rest, held, tested = map(torch.tensor, (train, val, test))
        elif others:
            is_test = kept >= len(first.columns["target"])
            rest, held, tested = kept[~is_test], kept[:0], kept[is_test]
        else:
            test_fraction = self.hparams["test_fraction"]
            rest, tested = split_rows(kept, test_fraction, seed, labels, argument="test_fraction")
            held = kept[:0]
        if not len(held):
            rest, held = split_rows(rest, fraction, seed, labels)
        counts = torch.bincount(labels[rest], minlength=len(self._classes)).tolist()
        if 0 in counts:
            name = self._classes[counts.index(0)]
            raise DataError(f"{first.where}: class {shorten(name)!r} has no training text with a word")
        return [rest, held, tested]

    def _require_two_of_each_class(self, kept: Tensor, labels: Tensor, first: LabelledTexts) -> None:
        kept = kept[kept < len(first.columns["target"])]
        for number, count in enumerate(torch.bincount(labels[kept], minlength=len(self._classes)).tolist()):
            if count == 1:
                place = first.place(int(kept[labels[kept] == number]))
                problem = f"class {shorten(self._classes[number])!r} has this one text only; add more, or remove it"
                raise DataError(f"{place}: {problem}")

    def _make_vocabulary(self, rows: Sequence[Numbers], numbers: dict[str, int], where: str) -> Integers:
        """Chooses the words and the length of texts; returns the rank of each number of a word."""
        least = self.hparams["min_count"]
        ranks, self._words = rank_words(rows, numbers, least, self.hparams["max_words"])
        if not self._words:
            raise DataError(f"{where}: no word is {least} times in the training texts: choose a lower min_count")
        usual = math.ceil(np.percentile([len(row) + 1 for row in rows], USUAL))
        self._length = self.hparams["max_length"] or max(MIN_LENGTH, usual)
        return ranks


def _rows_with_words(rows: Sequence[Numbers], parts: Sequence[LabelledTexts]) -> Tensor:
    """The numbers of texts with words; the others are counted in a warning."""
    start = 0
    for part in parts:
        count = len(part.columns["target"])
        empty = [row for row in range(count) if not len(rows[start + row])]
        if len(empty) == count:
            raise DataError(f"{part.where}: no text has a word")
        if empty:
            rank_zero_warn(f"{part.place(empty[0])} has no word: {len(empty):,} such texts are left out", stacklevel=2)
        start += count
    return torch.tensor([number for number, row in enumerate(rows) if len(row)])


def _said_parts(part: LabelledTexts, name: str) -> list[str]:
    """What a column says of each row, in lower case."""
    said = [str(value).strip().lower() for value in part.columns["split"].tolist()]
    for row, value in enumerate(said):
        if value not in PARTS:
            raise DataError(f"{part.place(row)} column {name!r}: {shorten(value)!r} is not train, val or test")
    return said


def _warn_of_copies(rows: Sequence[Numbers], training: Tensor, test: Tensor, where: str) -> None:
    """Warns of test texts with the words of a text to train or validate on."""
    known = {hash(rows[row].tobytes()) for row in training.tolist()}
    copies = sum(hash(rows[row].tobytes()) in known for row in test.tolist())
    if copies:
        rank_zero_warn(
            f"{where}: {copies:,} of {len(test):,} test texts are training or validation texts too", stacklevel=2
        )
