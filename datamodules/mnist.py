"""MNIST: 60,000 training and 10,000 test images of hand-written digits, read from the official files."""

import struct
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lightmodels.data.remote_files import DataError, RemoteFile, fetch, read
from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, Tensors, train_val_split

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049
SIDE, NUM_CLASSES, SCALE = 28, 10, 255


def _published(name: str, sha256: str) -> RemoteFile:
    urls = tuple(mirror + name for mirror in MIRRORS)
    return RemoteFile(f"MNIST/raw/{name}", urls, (f"sha256:{sha256}",))


class MNISTDataModule(TensorDataModule):
    """Digits as ``(images, labels)``: float32 ``(N, 1, 28, 28)`` in 0..1 and int64 ``(N,)`` in 0..9.

    The official test set stays the test set; the validation set is carved from the training set.
    The files lie in ``<data_dir>/MNIST/raw``, where torchvision puts them too.

    Args:
        data_dir: where the files are, or are downloaded to.
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the 60,000 training images to validate on; 1/12 are 5,000.
        seed: seed of the split and of the order of the training images.

    Raises:
        ValueError: an argument out of its range.
    """

    input_shape: ClassVar[tuple[int, int, int]] = (1, SIDE, SIDE)
    files: ClassVar[Mapping[str, RemoteFile]] = {
        "train_images": _published(
            "train-images-idx3-ubyte.gz", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "train_labels": _published(
            "train-labels-idx1-ubyte.gz", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "test_images": _published(
            "t10k-images-idx3-ubyte.gz", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "test_labels": _published(
            "t10k-labels-idx1-ubyte.gz", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    }

    def __init__(
        self, data_dir: str = "data", batch_size: int = 128, val_fraction: float = 1 / 12, seed: int = 0
    ) -> None:
        super().__init__(batch_size=batch_size, val_fraction=val_fraction, seed=seed)
        data_dir = str(data_dir)  # hyper-parameters are plain data, also when somebody gives a Path
        self.save_hyperparameters()
        self.data_dir = data_dir

    @property
    def sizes(self) -> dict[str, int]:
        return {"num_classes": NUM_CLASSES}

    @property
    def info(self) -> dict[str, Any]:
        """Pixels are 0..``scale`` in files, with light ink on dark paper, and divided by it for the model."""
        classes = [str(digit) for digit in range(NUM_CLASSES)]
        return {"kind": "image", "classes": classes, "input_shape": list(self.input_shape), "scale": SCALE}

    def prepare_data(self) -> None:
        """Downloads the files that are not there."""
        fetch(self.files.values(), self.data_dir)

    def load(self) -> Splits:
        """Reads the files.

        Raises:
            DataError: a file is missing or damaged.
        """
        train, val = train_val_split(self._read("train"), self.val_fraction, self.seed)
        return Splits(_scaled(train), _scaled(val), _scaled(self._read("test")))

    def _read(self, part: str) -> Tensors:
        images_file, labels_file = self.files[f"{part}_images"], self.files[f"{part}_labels"]
        images = parse_images(read(images_file, self.data_dir), images_file.name)
        labels = parse_labels(read(labels_file, self.data_dir), labels_file.name)
        if len(images) != len(labels):
            raise DataError(
                f"{images_file.name} has {len(images)} images, but {labels_file.name} {len(labels)} labels"
            )
        return images, labels


def parse_images(content: bytes, name: str) -> Tensor:
    """The images of an IDX file, uint8 ``(N, 28, 28)``; ``name`` is the file's, for messages.

    Raises:
        DataError: not an IDX file of 28 x 28 images, or not as long as its header says.
    """
    _, *shape = _header(content, 4, IMAGES_MAGIC, name)
    if shape[1:] != [SIDE, SIDE]:
        raise DataError(f"{name} has images of {shape[1]} x {shape[2]}, expected {SIDE} x {SIDE}")
    return _payload(content, shape, name)


def parse_labels(content: bytes, name: str) -> Tensor:
    """The labels of an IDX file, int64 ``(N,)`` in 0..9; ``name`` is the file's, for messages.

    Raises:
        DataError: not an IDX file of labels, not as long as its header says, or a label above 9.
    """
    _, *shape = _header(content, 2, LABELS_MAGIC, name)
    labels = _payload(content, shape, name)
    if labels.max() >= NUM_CLASSES:
        raise DataError(f"{name} has a label {labels.max()}, expected 0..{NUM_CLASSES - 1}")
    return labels.long()


def _header(content: bytes, numbers: int, magic: int, name: str) -> tuple[int, ...]:
    """The big-endian 32-bit numbers that an IDX file begins with: magic number, then the shape."""
    if len(content) < 4 * numbers:
        raise DataError(f"{name} is too short for an IDX header: {len(content)} bytes")
    header: tuple[int, ...] = struct.unpack_from(f">{numbers}I", content)
    if header[0] != magic:
        raise DataError(f"{name} has the magic number {header[0]}, expected {magic}")
    return header


def _payload(content: bytes, shape: list[int], name: str) -> Tensor:
    """The bytes behind the header as a uint8 tensor of the given shape."""
    offset, promised = 4 + 4 * len(shape), torch.Size(shape).numel()
    found = len(content) - offset
    if promised == 0 or found != promised:
        raise DataError(f"{name} has {found} bytes behind its header, which promises {promised}")
    pixels = np.frombuffer(content, np.uint8, offset=offset).reshape(shape)
    return torch.from_numpy(pixels.copy())  # torch warns of memory that can't be written to


def _scaled(rows: Tensors) -> Tensors:
    images, labels = rows
    # by numpy, in one pass and into large pages of memory: measured, half of the seconds of torch's two
    return torch.from_numpy(np.divide(images.unsqueeze(1).numpy(), SCALE, dtype=np.float32)), labels
