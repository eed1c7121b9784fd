"""Flags of train from the constructors of the data, without PyTorch; written by make flags."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(kw_only=True)
class LinearDataModuleFlags:
    """
    Args:
        num_rows: rows for training and validation.
        test_rows: additional rows for the test set.
        val_fraction: share of ``num_rows`` for validation.
        batch_size: rows in a global batch.
    """

    num_rows: int = 400
    test_rows: int = 10000
    val_fraction: float = 0.3
    batch_size: int = 10


@dataclass(kw_only=True)
class RingDataModuleFlags:
    """
    Args:
        num_rows: rows for training and validation.
        test_rows: additional rows for the test set.
        val_fraction: share of ``num_rows`` for validation.
        batch_size: rows in a global batch.
    """

    num_rows: int = 4000
    test_rows: int = 20000
    val_fraction: float = 0.3
    batch_size: int = 100


@dataclass(kw_only=True)
class MNISTDataModuleFlags:
    """
    Args:
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the 60,000 training images for validation; 1/12 are 5,000.
        augment: whether to rotate, shift and scale training images at random, see ``random_affine``.
        classes: the digits to keep, ``[0, 1, 2]`` or ``"0,1,2"``, in the order of their labels 0, 1, …; all by default.
    """

    batch_size: int = 128
    val_fraction: float = 0.08333333333333333
    augment: bool = False
    classes: Sequence[int] | str | None = None


@dataclass(kw_only=True)
class ReutersDataModuleFlags:
    """
    Args:
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the 8,982 training items for validation.
        max_length: tokens in a row.
    """

    batch_size: int = 32
    val_fraction: float = 0.1
    max_length: int = 300


@dataclass(kw_only=True)
class IMDBDataModuleFlags:
    """
    Args:
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the 25,000 training reviews for validation.
        num_words: number of tokens; words with higher ones are unknown.
        max_length: tokens in a row.
    """

    batch_size: int = 32
    val_fraction: float = 0.2
    num_words: int = 10000
    max_length: int = 200


@dataclass(kw_only=True)
class HousingDataModuleFlags:
    """
    Args:
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the other rows for validation.
    """

    batch_size: int = 32
    val_fraction: float = 0.2


@dataclass(kw_only=True)
class TableDataModuleFlags:
    """
    Args:
        path: CSV, TSV, Parquet, JSON lines, or a DataFrame.
        target: column to predict, or several.
        kind: ``classes`` or ``number``.
        test_path: file of the test rows, if ``path`` has none.
        test_fraction: share of the rows for testing.
        split: column that says train, val or test.
        group: column of groups, each of which stays in one split.
        time: column whose latest rows are the test rows.
        ignore: columns to leave out.
        categories: columns of numbers that are categories.
        separator: text between the labels of a row.
        class_weights: ``balanced`` for equal classes.
        sample_weight: column of the rows' weights in the loss.
        batch_size: rows in a global batch.
        val_fraction: share of the rows for validation.
    """

    path: str | Any
    target: Sequence[str] | str
    kind: Literal["auto", "classes", "number"] = "auto"
    test_path: str | Any | None = None
    test_fraction: float = 0.2
    split: str | None = None
    group: str | None = None
    time: str | None = None
    ignore: Sequence[str] | str | None = None
    categories: Sequence[str] | str | None = None
    separator: str | None = None
    class_weights: Literal["none", "balanced"] = "none"
    sample_weight: str | None = None
    batch_size: int = 32
    val_fraction: float = 0.2


@dataclass(kw_only=True)
class TextDataModuleFlags:
    """
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
    """

    path: str | Any
    text: str = "text"
    target: Sequence[str] | str = "label"
    test_path: str | Any | None = None
    test_fraction: float = 0.2
    split: str | None = None
    max_words: int = 30000
    max_length: int | None = None
    min_count: int = 1
    lower: bool = True
    separator: str | None = None
    class_weights: Literal["none", "balanced"] = "none"
    sample_weight: str | None = None
    batch_size: int = 32
    val_fraction: float = 0.1


@dataclass(kw_only=True)
class ImageFolderDataModuleFlags:
    """
    Args:
        path: folder with a folder per class, or a table.
        size: side of the images in pixels (default: from the data).
        color: ``grey``, ``color``, or ``auto``: grey if all pictures are.
        test_path: folder or table of the test rows.
        test_fraction: share of the rows for testing, if none are given.
        image: the table's column of paths.
        target: the table's column of classes, or several of zeros and ones.
        separator: text between the labels of a picture.
        class_weights: ``balanced``: all classes count the same in training.
        sample_weight: the table's column of the pictures' weights in the loss.
        augment: ``none``, ``flip``, ``shift`` or ``both``, in training.
        max_memory_gb: most memory for decoded images, in GiB.
        num_workers: threads or processes that decode, by default one a core.
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the rows for validation, if none are given.
    """

    path: str
    size: int | None = None
    color: Literal["auto", "grey", "color"] = "auto"
    test_path: str | None = None
    test_fraction: float = 0.2
    image: str = "path"
    target: Sequence[str] | str = "label"
    separator: str | None = None
    class_weights: Literal["none", "balanced"] = "none"
    sample_weight: str | None = None
    augment: Any = "none"
    max_memory_gb: float = 4.0
    num_workers: int | None = None
    batch_size: int = 64
    val_fraction: float = 0.1
