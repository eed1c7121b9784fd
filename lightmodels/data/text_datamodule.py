"""TextDataModule: texts of your own with their labels, from a table, a folder or a DataFrame."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from lightmodels.data.duplicates import text_hashes, warn_of_copies
from lightmodels.data.labelled_texts import LabelledTexts, read_labelled_texts
from lightmodels.data.labels import row_weights
from lightmodels.data.row_splits import split_rows
from lightmodels.data.table_splits import said_parts
from lightmodels.data.targets import Target, find_labels
from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, Tensors
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


class TextDataModule(TensorDataModule):
    """Texts as ``(tokens, labels)``, int64 ``(N, length)`` and ``(N,)``, and ``weights``, float32 ``(N,)``, if any.

    Words are letters and digits of any language, see ``lightmodels.inputs.tokens.split_unicode``. Tokens: 0 padding, 1
    start, 2 unknown, else 3 + the word's rank by frequency in the training texts. Texts are padded and cut at the
    front. Those without a word are left out, with a warning. Labels are texts, booleans or numbers of any values, each
    a class. Several target columns of zeros and ones, or labels with a ``separator`` between them, make it multi-label,
    float32 ``(N, labels)``. The test texts are a random share of each class, and so are the validation texts of the
    others.

    Class weights, scikit-learn's, are in the training loss only, weights of texts in every loss.

    Args:
        path: CSV, TSV, JSON lines, Parquet, a folder with a folder of text files for each class, or a DataFrame.
        text: column of the texts.
        target: column of the labels, or several of zeros and ones.
        test_path: file or folder of the test texts, if ``path`` has none.
        test_fraction: share of the texts for testing.
        split: column that says train, val or test; without val, ``val_fraction`` of the training texts are.
        max_words: size of the vocabulary; rarer words are unknown.
        max_length: tokens of a text; by default 95 % of the training texts are not longer, and it is at least 55.
        min_count: words that are rarer in the training texts are unknown.
        lower: whether to convert texts to lower case.
        separator: text between the labels of a row.
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
        target: Sequence[str] | str = "label",
        test_path: str | Any | None = None,
        test_fraction: float = 0.2,
        split: str | None = None,
        max_words: int = 30_000,
        max_length: int | None = None,
        min_count: int = 1,
        lower: bool = True,
        separator: str | None = None,
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
        self._words, self._target, self._length = list[str](), Target(()), 0  # set by load

    @property
    def sizes(self) -> dict[str, int]:
        _ = self.splits
        return {"num_words": self._num_words, "num_classes": len(self._target.classes), "length": self._length}

    @property
    def info(self) -> dict[str, Any]:
        """As IMDB's, with the column of the texts, and whether they are put into lower case."""
        _ = self.splits
        return {
            "kind": "text",
            **self._target.info,
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
        hparams = self.hparams
        others = {name: hparams[name] for name in ("split", "sample_weight")}
        parts = [read_labelled_texts(source, hparams["text"], hparams["target"], others) for source in self._sources]
        first = parts[0]
        self._target = find_labels(first.columns, hparams["target"], hparams["separator"], first.where)
        labels = torch.cat([self._target.encode(part.columns, part.where) for part in parts])
        weights = self._weights(parts)
        rows, numbers = number_words(self._split_words(text) for part in parts for text in part.texts)
        kept = _rows_with_words(rows, parts)
        self._target.require_rows(labels[kept], torch.arange(len(kept)), first.where)
        train, val, test = self._split_rows(kept, labels, parts)
        self._target.require_rows(labels, train, first.where)
        self.train_rows, self.val_rows = train, val
        copied, known = (text_hashes(rows[row].tobytes() for row in part.tolist()) for part in (test, train))
        warn_of_copies(copied, known, parts[-1].where, "texts")
        ranks = self._make_vocabulary([rows[row] for row in train.tolist()], numbers, first.where)

        def tensors(chosen: Tensor, weights: Sequence[Tensor]) -> Tensors:
            table = token_table([rows[row] for row in chosen.tolist()], ranks, self._length)
            return torch.from_numpy(table), labels[chosen], *(each[chosen] for each in weights)

        training = self._target.training_weights(labels, train, weights, hparams["class_weights"])
        return Splits(tensors(train, training), tensors(val, weights), tensors(test, weights))

    def _split_words(self, text: str) -> list[str]:
        return split_unicode(text.lower() if self.hparams["lower"] else text)

    def _weights(self, parts: Sequence[LabelledTexts]) -> list[Tensor]:
        """The weight of each text, float32 ``(N,)``, if a column has them."""
        name = self.hparams["sample_weight"]
        return [] if name is None else [torch.cat([row_weights(part.columns[name], part.where) for part in parts])]

    def _split_rows(self, kept: Tensor, labels: Tensor, parts: Sequence[LabelledTexts]) -> list[Tensor]:
        """The numbers of the training, validation and test texts among those with words."""
        first, *others = parts
        classes = labels if labels.dim() == 1 else None
        rest, held, tested = kept[kept < first.rows], kept[:0], kept[kept >= first.rows]
        if (split := self.hparams["split"]) is not None:
            said = said_parts(first.columns[split], first.where)
            rest, held, tested = (part[torch.isin(part, kept)] for part in said)
        elif not others:
            rest, tested = split_rows(kept, self.hparams["test_fraction"], self.seed, classes, argument="test_fraction")
        if not len(held):
            rest, held = split_rows(rest, self.val_fraction, self.seed, classes)
        return [rest, held, tested]

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
        empty = [row for row in range(part.rows) if not len(rows[start + row])]
        if len(empty) == part.rows:
            raise DataError(f"{part.where}: no text has a word")
        if empty:
            rank_zero_warn(f"{part.place(empty[0])} has no word: {len(empty):,} such texts are left out", stacklevel=2)
        start += part.rows
    return torch.tensor([number for number, row in enumerate(rows) if len(row)])
