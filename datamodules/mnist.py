"""MNIST: 60,000 training and 10,000 test images of handwritten digits, read from the official files."""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lightmodels.data.augmentation import random_affine
from lightmodels.data.remote_files import RemoteFile, download_missing
from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, Tensors, train_val_split
from lightmodels.utils.argument_checks import whole_numbers
from lightmodels.utils.data_error import DataError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801  # unsigned bytes, in three dimensions and in one
SIDE, NUM_CLASSES, SCALE = 28, 10, 255
HASHES = {  # of the unpacked files
    "train-images-idx3-ubyte.gz": "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class MNISTDataModule(TensorDataModule):
    """Digits as ``(images, labels)``: float32 ``(N, 1, 28, 28)`` in 0..1 and int64 ``(N,)`` in 0..9.

    The official test set is the test set; the validation set is split off the training set. The
    files are in ``<data_dir>/MNIST/raw``, where torchvision stores them too.

    Args:
        data_dir: where the files are, or are downloaded to.
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the 60,000 training images for validation; 1/12 are 5,000.
        seed: seed of the split and of the order of the training images.
        augment: whether to rotate, shift and scale training images at random, see ``random_affine``.
        classes: the digits to keep, ``[0, 1, 2]`` or ``"0,1,2"``, in the order of their labels 0, 1, …; all by default.
    """

    input_shape: ClassVar[tuple[int, int, int]] = (1, SIDE, SIDE)
    files: ClassVar[Mapping[str, RemoteFile]] = {
        name: RemoteFile(f"MNIST/raw/{name}", tuple(url + name for url in MIRRORS), (sha256,))
        for name, sha256 in HASHES.items()
    }

    def __init__(
        self,
        data_dir: str = "data",
        batch_size: int = 128,
        val_fraction: float = 1 / 12,
        seed: int = 0,
        augment: bool = False,
        classes: Sequence[int] | str | None = None,
    ) -> None:
        super().__init__(batch_size, val_fraction, seed)
        self.augment = augment
        if classes is not None:
            classes = whole_numbers(0, classes=classes)
        self.classes = list(range(NUM_CLASSES) if classes is None else classes)
        if len(set(self.classes)) < max(2, len(self.classes)) or max(self.classes) >= NUM_CLASSES:
            raise ValueError(f"classes must be at least two different digits, such as 0,1,2, got {classes}")
        self.data_dir = data_dir = str(data_dir)  # hyper-parameters are plain data, not a Path
        self.save_hyperparameters()

    @property
    def sizes(self) -> dict[str, int]:
        return {"num_classes": len(self.classes)}

    @property
    def info(self) -> dict[str, Any]:
        """Pixels are 0..``scale`` in files, with light ink on a dark ground; the model gets 0..1."""
        classes = [str(digit) for digit in self.classes]
        return {"kind": "image", "classes": classes, "input_shape": list(self.input_shape), "scale": SCALE}

    def prepare_data(self) -> None:
        """Downloads missing files."""
        download_missing(self.files.values(), self.data_dir)

    def augment_batch(self, inputs: Tensor) -> Tensor:
        return random_affine(inputs)

    def load(self) -> Splits:
        """Reads the files; raises DataError if one is missing or damaged."""
        train, val = train_val_split(self._read("train"), self.val_fraction, self.seed)
        return Splits(_scaled(train), _scaled(val), _scaled(self._read("t10k")))

    def _read(self, part: str) -> Tensors:
        images_file, labels_file = (self.files[f"{part}-{kind}-ubyte.gz"] for kind in ("images-idx3", "labels-idx1"))
        images = parse_images(images_file.read(self.data_dir), images_file.name)
        labels = parse_labels(labels_file.read(self.data_dir), labels_file.name)
        if len(images) != len(labels):
            raise DataError(f"{images_file.name} has {len(images)} images, but {len(labels)} labels")
        if len(self.classes) == NUM_CLASSES and self.classes == sorted(self.classes):
            return images, labels
        label_of = torch.full((NUM_CLASSES,), -1)
        label_of[self.classes] = torch.arange(len(self.classes))
        kept = label_of[labels] >= 0
        return images[kept], label_of[labels[kept]]


def parse_images(content: bytes, name: str) -> Tensor:
    """The images of an IDX file, uint8 ``(N, 28, 28)``; ``name`` is for error messages."""
    images = _parse_idx(content, IMAGES_MAGIC, name)
    if images.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{name} has images of {list(images.shape[1:])} pixels, expected {[SIDE, SIDE]}")
    return images


def parse_labels(content: bytes, name: str) -> Tensor:
    """The labels of an IDX file, int64 ``(N,)`` in 0..9; ``name`` is for error messages."""
    labels = _parse_idx(content, LABELS_MAGIC, name)
    if labels.max() >= NUM_CLASSES:
        raise DataError(f"{name} has a label {labels.max()}, expected 0..{NUM_CLASSES - 1}")
    return labels.long()


def _parse_idx(content: bytes, magic: int, name: str) -> Tensor:
    """The uint8 array of an IDX file, checked against its header: magic number and shape, big-endian."""
    numbers = 1 + magic % 256  # the last byte of the magic number is the number of dimensions
    if len(content) < 4 * numbers:
        raise DataError(f"{name} is too short for an IDX header: {len(content)} bytes")
    found, *shape = struct.unpack_from(f">{numbers}I", content)
    if found != magic:
        raise DataError(f"{name} has the magic number {found}, expected {magic}")
    size, expected = len(content) - 4 * numbers, math.prod(shape)
    if size != expected or not size:
        raise DataError(f"{name} has {size} bytes after its header, which announces {expected}")
    pixels = np.frombuffer(content, np.uint8, offset=4 * numbers).reshape(shape)
    return torch.from_numpy(pixels.copy())  # torch warns of read-only memory


def _scaled(rows: Tensors) -> Tensors:
    images, labels = rows
    # By numpy, in one pass and into large pages of memory: takes half as long as torch's two passes.
    return torch.from_numpy(np.divide(images.unsqueeze(1).numpy(), SCALE, dtype=np.float32)), labels
