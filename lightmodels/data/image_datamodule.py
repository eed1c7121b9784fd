"""ImageFolderDataModule: pictures of your own, from a folder per class or from a table."""

import os
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from lightmodels.data.augmentation import random_affine, random_flip
from lightmodels.data.duplicates import row_hashes, warn_of_copies
from lightmodels.data.labels import row_weights
from lightmodels.data.picture_files import Listing, PictureFiles, list_folder, list_table, read_headers
from lightmodels.data.picture_loader import PictureLoader
from lightmodels.data.row_splits import split_rows
from lightmodels.data.targets import Target, find_labels
from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, Tensors
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.inputs.pictures import MAX_SIDE
from lightmodels.utils.argument_checks import at_least, positive
from lightmodels.utils.data_error import DataError

AUGMENTATIONS = ("none", "flip", "shift", "both")
MAX_BAD_SHARE = 0.1  # of the pictures that may be unreadable
MAX_DEFAULT_SIDE, STEP = 128, 8  # pixels: a default side is a multiple of the step, so that it can be halved thrice
PARTS = ("train", "val", "test")


class ImageFolderDataModule(TensorDataModule):
    """Pictures of any sizes as ``(images, classes)``: uint8 ``(N, channels, side, side)`` and int64 ``(N,)``.

    ``path`` is a folder with a folder of pictures for each class, as for torchvision's ``ImageFolder``: class names are
    sorted, pictures may be in folders within, and have a usual suffix. If there are folders ``train``, and perhaps
    ``val`` and ``test``, in it, each of these has the folders of the classes. Or ``path`` is a table (CSV, TSV, Parquet
    or JSON lines) with a column of paths, relative to the table's folder, and a column of classes. Several columns of
    zeros and ones, or labels with a ``separator`` between them, make it multi-label, float32 ``(N, labels)``.
    Validation and test rows that are not given are split off at random, of each class as large a share.

    A picture's shorter side is scaled to ``size`` pixels, and the middle of the longer one is kept. The default size is
    the shorter side of the pictures, if all have the same, up to 128; or else its median, rounded down to a multiple of
    8 and at most 128. Pictures are decoded once, into memory; if they do not fit into ``max_memory_gb``, they are
    checked, and then decoded by worker processes batch by batch. Pictures that cannot be read are left out, with a
    warning that names the first.

    Training images can be changed at random: ``flip`` mirrors half of them; ``shift`` rotates, shifts and scales each a
    little; ``both`` does both. In Python, ``augment`` can also be a function of an image, uint8 ``(channels, side,
    side)``, such as a pipeline of torchvision's transforms v2, which is called for one image after the other.

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
        seed: seed of the splits, of random changes and of the order of the training rows.

    Raises:
        ValueError: a number out of range, or an unknown name.
    """

    def __init__(  # noqa: PLR0913 (each is a flag of train.py)
        self,
        path: str,
        *,
        size: int | None = None,
        color: Literal["auto", "grey", "color"] = "auto",
        test_path: str | None = None,
        test_fraction: float = 0.2,
        image: str = "path",
        target: Sequence[str] | str = "label",
        separator: str | None = None,
        class_weights: Literal["none", "balanced"] = "none",
        sample_weight: str | None = None,
        augment: Any = "none",
        max_memory_gb: float = 4.0,
        num_workers: int | None = None,
        batch_size: int = 64,
        val_fraction: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_fraction, seed)
        positive(max_memory_gb=max_memory_gb)
        at_least(0, num_workers=num_workers or 0)
        if size is not None and not 0 < size <= MAX_SIDE:
            raise ValueError(f"size must be 1..{MAX_SIDE}, got {size}")
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction must be between 0 and 1, got {test_fraction}")
        if not callable(augment) and augment not in AUGMENTATIONS:
            raise ValueError(f"augment must be {', '.join(AUGMENTATIONS)}, or a function of an image, got {augment!r}")
        path, test_path = str(path), None if test_path is None else str(test_path)  # hyper-parameters are plain data
        self.save_hyperparameters(ignore=["augment"] if callable(augment) else None)
        self.path, self.test_path, self.test_fraction = path, test_path, test_fraction
        self.image, self.target, self.separator, self.sample_weight = image, target, separator, sample_weight
        self.size, self.color, self.class_weights = size, color, class_weights
        self.augment, self._change = augment != "none", augment
        self.max_bytes = max_memory_gb * 2**30
        self.num_workers = min(8, os.cpu_count() or 1) if num_workers is None else num_workers
        self.threads = max(1, self.num_workers)
        self._target = Target(())  # set by load
        self._channels = self._side = 0

    @property
    def sizes(self) -> dict[str, int]:
        _ = self.splits
        return {"num_classes": len(self._target.classes), "channels": self._channels}

    @property
    def info(self) -> dict[str, Any]:
        _ = self.splits
        return {"kind": "picture", **self._target.info, "input_shape": [self._channels, self._side, self._side]}

    def augment_batch(self, inputs: Tensor) -> Tensor:
        """Changes the images of a training batch at random; ``shift`` gives floats in 0..1."""
        if callable(self._change):
            return torch.stack([self._change(image) for image in inputs])
        images = random_flip(inputs) if self._change in ("flip", "both") else inputs
        return images if self._change == "flip" else random_affine(images / 255, outside="border")

    def load(self) -> Splits:
        """Lists, checks and decodes the pictures; DataError names what cannot be used."""
        listings, bad = self._listings(), dict[str, DataError]()
        headers = []
        for listing in listings.values():
            found = read_headers(listing.paths, self.threads)
            bad |= _errors(listing.paths, found)
            headers += [header for header in found if not isinstance(header, DataError)]
        count = sum(len(listing.paths) for listing in listings.values())
        _require_few(bad, count)
        self._side, self._channels = self._shape(headers)
        in_memory = count * self._channels * self._side**2 <= self.max_bytes
        parts = {name: self._decode(*part, in_memory, bad) for name, part in self._split(listings, bad).items()}
        _require_few(bad, count)
        if bad:
            rank_zero_warn(f"{len(bad):,} of {count:,} pictures are left out, the first: {_first(bad)}")
        if in_memory:
            warn_of_copies(row_hashes(parts["test"][:1]), row_hashes(parts["train"][:1]), self.path, "images")
        images, y, *weights = parts["train"]
        training = self._target.training_weights(y, torch.arange(len(y)), weights, self.class_weights)
        return Splits((images, y, *training), parts["val"], parts["test"])

    def _listings(self) -> dict[str, Listing]:
        """The pictures of the parts that are given, those of training first."""
        path, folders = Path(self.path), {}
        if _has_folders(path / "train"):
            folders = {name: path / name for name in PARTS if (path / name).is_dir()}
        folders = {"train": path} | folders | ({} if self.test_path is None else {"test": Path(self.test_path)})
        others = {"sample_weight": self.sample_weight}
        return {
            name: list_table(each, self.image, self.target, others)
            if each.is_file()
            else list_folder(each, self.target, others)
            for name, each in folders.items()
        }

    def _shape(self, headers: Sequence[tuple[int, bool]]) -> tuple[int, int]:
        """Side and channels of the images."""
        sides, grey = [side for side, _ in headers], all(grey for _, grey in headers)
        side = self.size or sorted(sides)[len(sides) // 2]
        if self.size is None and (side > MAX_DEFAULT_SIDE or len(set(sides)) > 1):
            side = max(STEP, min(side, MAX_DEFAULT_SIDE) // STEP * STEP)
        return side, 1 if self.color == "grey" or (self.color == "auto" and grey) else 3

    def _split(self, listings: dict[str, Listing], bad: Container[str]) -> dict[str, tuple[list[str], Tensors]]:
        """Paths, and targets and weights, of each part without bad pictures; one not given is split off training."""
        train = listings["train"]
        self._target = find_labels(train.columns, self.target, self.separator, train.where)
        found = {name: self._targets(listing) for name, listing in listings.items()}
        rows = {name: _good(listing.paths, bad) for name, listing in listings.items()}
        y = found["train"][0]
        self._target.require_rows(y[rows["train"]], torch.arange(len(rows["train"])), train.where)
        classes = y if y.dim() == 1 else None
        for name, fraction in (("test", self.test_fraction), ("val", self.val_fraction)):
            if name not in listings:
                listings, found = listings | {name: train}, found | {name: found["train"]}
                rows["train"], rows[name] = split_rows(
                    rows["train"], fraction, self.seed, classes, argument=f"{name}_fraction"
                )
        return {
            name: (
                [listings[name].paths[row] for row in rows[name].tolist()],
                tuple(each[rows[name]] for each in found[name]),
            )
            for name in PARTS
        }

    def _targets(self, listing: Listing) -> Tensors:
        """The target, and the weight if any, of each picture."""
        y, weight = self._target.encode(listing.columns, listing.where), self.sample_weight
        return (y,) if weight is None else (y, row_weights(listing.columns[weight], listing.where))

    def _decode(
        self, paths: list[str], targets: Tensors, in_memory: bool, bad: dict[str, DataError]
    ) -> tuple[Any, ...]:
        """Images, or their files, and targets of a part, without pictures that turn out to be bad."""
        files = PictureFiles(paths, self._channels, self._side)
        images, found = files.decode(self.threads) if in_memory else (files, files.check(self.threads))
        if errors := _errors(paths, found):
            bad.update(errors)
            good = _good(paths, errors)
            images, targets = images[good] if in_memory else files.take(good), tuple(each[good] for each in targets)
        return images, *targets

    def _make_loader(self, tensors: Tensors, shuffle: bool) -> TensorLoader:
        images, *others = tensors
        if isinstance(images, Tensor):
            return super()._make_loader(tensors, shuffle)
        options = {"batch_size": self.batch_size, "shuffle": shuffle, "seed": self.seed}
        return PictureLoader(images, *others, num_workers=self.num_workers, **options)


def _has_folders(path: Path) -> bool:
    return path.is_dir() and any(each.is_dir() for each in path.iterdir())


def _good(paths: Sequence[str], bad: Container[str]) -> Tensor:
    """The numbers of the paths that are not bad."""
    return torch.tensor([row for row, path in enumerate(paths) if path not in bad], dtype=torch.long)


def _errors(paths: Sequence[str], found: Sequence[Any]) -> dict[str, DataError]:
    """The errors among what was found for each path."""
    return {path: each for path, each in zip(paths, found, strict=True) if isinstance(each, DataError)}


def _require_few(bad: dict[str, DataError], count: int) -> None:
    """Raises DataError if too many pictures cannot be read."""
    if len(bad) > MAX_BAD_SHARE * count:
        raise DataError(f"{len(bad):,} of {count:,} pictures cannot be read, the first: {_first(bad)}")


def _first(bad: dict[str, DataError]) -> str:
    path, error = next(iter(bad.items()))
    return f"{path} {error}"
