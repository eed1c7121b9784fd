"""MNIST is read exactly from the official files, and nothing else is accepted."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_files import accepted, idx, write, write_mnist

from datamodules import mnist
from datamodules.mnist import MNISTDataModule, parse_images, parse_labels
from lightmodels.utils.data_error import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
LABELS = np.array([0, 9, 5], dtype=np.uint8)
TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A directory of tiny files that the data module accepts."""
    write_mnist(tmp_path)
    monkeypatch.setattr(MNISTDataModule, "files", accepted(MNISTDataModule.files, tmp_path))
    return tmp_path


def test_idx_files_are_parsed():
    images, labels = parse_images(idx(IMAGES), "file"), parse_labels(idx(LABELS), "file")
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert np.array_equal(images.numpy(), IMAGES)
    assert labels.tolist() == [0, 9, 5]


@pytest.mark.parametrize(
    ("parse", "content", "reason"),
    [
        (parse_images, b"", "too short"),
        (parse_images, idx(IMAGES)[:15], "too short"),
        (parse_images, idx(LABELS) + bytes(8), "magic number 2049, expected 2051"),
        (parse_images, idx(IMAGES)[:-1], "2351 bytes after its header, which announces 2352"),
        (parse_images, idx(IMAGES) + b"0", "2353 bytes"),
        (parse_images, idx(IMAGES[:, :10, :10]), r"\[10, 10\] pixels, expected \[28, 28\]"),
        (parse_images, idx(IMAGES[:0]), "announces 0"),
        (parse_labels, idx(IMAGES), "magic number 2051, expected 2049"),
        (parse_labels, idx(LABELS + 1), "label 10, expected 0..9"),
    ],
)
def test_malformed_files_are_refused(parse, content, reason):
    with pytest.raises(DataError, match=f"^folder/file has.*{reason}|^folder/file is {reason}"):
        parse(content, "folder/file")


def test_shapes_types_and_ranges_of_the_splits(tiny):
    data = MNISTDataModule(str(tiny), val_fraction=0.25)
    data.prepare_data()
    assert [len(x) for x, _ in data.splits] == [150, 50, 50]
    for x, y in data.splits:
        assert (x.dtype, x.shape[1:]) == (torch.float32, (1, 28, 28))
        assert (y.dtype, y.shape) == (torch.int64, x.shape[:1])
        assert x.min() >= 0
        assert 200 / 255 < x.max() <= 1
    assert (data.sizes, data.input_shape) == ({"num_classes": 10}, (1, 28, 28))


def test_images_keep_their_labels_and_no_row_is_lost(tiny):
    (x, y), (val_x, val_y), (_, test_y) = MNISTDataModule(str(tiny)).splits
    raw = parse_images(gzip.decompress((tiny / "MNIST/raw/train-images-idx3-ubyte.gz").read_bytes()), "raw")
    rows = {(image / 255).numpy().tobytes(): number % 10 for number, image in enumerate(raw)}
    split = zip(torch.cat([x, val_x]), torch.cat([y, val_y]), strict=True)
    assert {image.numpy().tobytes(): int(label) for image, label in split} == rows
    assert test_y.tolist() == [number % 10 for number in range(50)]
    assert len(val_x) == round(200 / 12)


def test_the_split_follows_the_seed(tiny):
    first, again, other = (MNISTDataModule(str(tiny), seed=seed).splits for seed in (1, 1, 2))
    assert torch.equal(first.val[0], again.val[0])
    assert not torch.equal(first.val[0], other.val[0])
    assert torch.equal(first.test[0], other.test[0])


def test_as_many_labels_as_images_are_required(tiny, monkeypatch):
    write(tiny, "MNIST/raw/t10k-labels-idx1-ubyte.gz", gzip.compress(idx(LABELS)))
    monkeypatch.setattr(MNISTDataModule, "files", accepted(MNISTDataModule.files, tiny))
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz has 50 images, but 3 labels"):
        MNISTDataModule(str(tiny)).setup()


def test_prepare_data_downloads_missing_files(tiny, monkeypatch):
    missing = tiny / "MNIST/raw/train-labels-idx1-ubyte.gz"
    missing.unlink()
    served = []
    monkeypatch.setattr(mnist, "download_missing", lambda files, data_dir: served.append((list(files), data_dir)))
    data = MNISTDataModule(str(tiny))
    data.prepare_data()
    assert all(url.startswith("https://") for file in data.files.values() for url in file.urls)
    assert served == [(list(MNISTDataModule.files.values()), str(tiny))]
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte.gz is missing"):
        data.setup()


def test_hyper_parameters_are_plain(tmp_path):
    hparams = MNISTDataModule(tmp_path).hparams
    others = {"batch_size": 128, "val_fraction": 1 / 12, "seed": 0, "augment": False, "classes": None}
    assert dict(hparams) == {"data_dir": str(tmp_path), **others}


@pytest.fixture(scope="module")
def real(data_dir):
    return MNISTDataModule(data_dir)


@pytest.mark.real_data
def test_real_sizes_and_label_counts(real):
    real.prepare_data()
    train, val, test = real.splits
    assert [len(x) for x, _ in real.splits] == [55_000, 5_000, 10_000]
    assert torch.bincount(torch.cat([train[1], val[1]])).tolist() == TRAIN_COUNTS
    assert torch.bincount(test[1]).tolist() == TEST_COUNTS
    mean = (train[0].double().sum() + val[0].double().sum()) / (60_000 * 784)
    assert float(mean) == pytest.approx(0.1307, abs=5e-5)  # the well-known mean


@pytest.mark.real_data
def test_torchvision_reads_the_same(real, data_dir, tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    for path in (Path(data_dir) / "MNIST" / "raw").glob("*.gz"):
        write(tmp_path, f"MNIST/raw/{path.stem}", gzip.decompress(path.read_bytes()))
    for part, train in (("train", True), ("t10k", False)):
        theirs = datasets.MNIST(tmp_path, train=train)
        images, labels = real._read(part)
        assert torch.equal(images, theirs.data)
        assert torch.equal(labels, theirs.targets)
    assert torch.equal(real.splits.test[0].squeeze(1), theirs.data / 255)


def test_some_classes_are_kept_and_renumbered(tiny):
    every, some = MNISTDataModule(str(tiny)), MNISTDataModule(str(tiny), classes="7,0,2")
    assert some.sizes == {"num_classes": 3}
    assert some.info["classes"] == ["7", "0", "2"]
    (x, y), (kept, labels) = every.splits.test, some.splits.test
    is_kept = (y == 7) | (y == 0) | (y == 2)
    assert torch.equal(kept, x[is_kept])
    assert torch.tensor([7, 0, 2])[labels].tolist() == y[is_kept].tolist()
    assert MNISTDataModule(str(tiny), classes=[7, 0, 2]).hparams == some.hparams


@pytest.mark.parametrize("classes", ["0", "0,0", "1,10", "a,b", [-1, 2]])
def test_classes_that_are_not_there_are_refused(classes):
    with pytest.raises(ValueError, match=r"^classes must be"):
        MNISTDataModule(classes=classes)
