"""The reviews are read by Keras's convention, once, and then from a verified cache."""

import os
import re
import shutil
import stat
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.tiny_files import accepted, tar_gz, write, write_imdb

from datamodules import imdb, reviews
from datamodules.imdb import CACHE, IMDBDataModule
from lightmodels import TextResNet, TextSeparableCNN, Trainer
from lightmodels.data.tensor_datamodule import train_val_split
from lightmodels.inputs.tokens import join_words, pad_front, word_ranks
from lightmodels.utils import distributed
from lightmodels.utils.console import verbosity
from lightmodels.utils.data_error import DataError


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The directory of a tiny archive."""
    write_imdb(tmp_path)
    monkeypatch.setattr(IMDBDataModule, "files", accepted(IMDBDataModule.files, tmp_path))
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """One entry for each time that an archive is read."""
    seen = []

    def watched(packed):
        seen.append(packed)
        return reviews.read_reviews(packed)

    monkeypatch.setattr(imdb, "read_reviews", watched)
    return seen


def keras(path, num_words, max_length):
    """Keras's convention, written out slowly: training reviews, test reviews, the words by rank."""
    with tarfile.open(path) as archive:
        names = sorted(name for name in archive.getnames() if re.search(r"/(pos|neg)/.", name))
        texts = {name: archive.extractfile(name).read().decode() for name in names}
    split = {
        name: re.sub("[^a-z0-9']", " ", text.lower().replace("<br />", " ")).split() for name, text in texts.items()
    }
    counts = Counter(word for name in names if "/train/" in name for word in split[name])
    words = sorted(counts, key=lambda word: (-counts[word], word))
    index = {word: rank for rank, word in enumerate(words, start=1)}
    parts = []
    for part in ("train", "test"):
        rows, labels = [], []
        for name in names:
            if f"/{part}/" in name:
                row = [1] + [index[word] + 3 if word in index else 2 for word in split[name]]
                row = [token if token < num_words else 2 for token in row][-max_length:]
                rows.append([0] * (max_length - len(row)) + row)
                labels.append([float("/pos/" in name)])
        parts.append((torch.tensor(rows), torch.tensor(labels)))
    return *parts, words


def assert_like_keras(data, path):
    train, test, words = keras(path, data.num_words, data.max_length)
    expected = (*train_val_split(train, data.val_fraction, data.seed), test)
    for ours, theirs in zip(data.splits, expected, strict=True):
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(ours, theirs, strict=True))
    known = words[: data.num_words - 4]
    assert data.info["word_index"] == {word: rank for rank, word in enumerate(known, start=1)}
    assert all(x.max() < data.num_words for x, _ in data.splits)


@pytest.mark.parametrize(("num_words", "max_length"), [(10_000, 200), (50, 20), (5, 1)])
def test_a_tiny_archive_is_read_like_keras(tiny, num_words, max_length):
    data = IMDBDataModule(str(tiny), num_words=num_words, max_length=max_length)
    assert_like_keras(data, tiny / "imdb/aclImdb_v1.tar.gz")
    assert [len(x) for x, _ in data.splits] == [80, 20, 100]
    assert data.sizes == {"num_words": num_words, "length": max_length}
    assert (data.splits.train[0].dtype, data.splits.train[1].dtype) == (torch.int64, torch.float32)


def test_new_texts_are_encoded_as_the_reviews(tiny):
    data = IMDBDataModule(str(tiny), num_words=60)
    with tarfile.open(tiny / "imdb/aclImdb_v1.tar.gz") as archive:
        text = archive.extractfile("aclImdb/test/neg/0_2.txt").read().decode()
    ranks = word_ranks(text, data.info["word_index"], data.info["splitter"])
    assert pad_front(*join_words([ranks]), 200)[0].tolist() == data.splits.test[0][0].tolist()


def test_info_and_decode(tiny):
    data = IMDBDataModule(str(tiny))
    info = data.info
    described = {name: info[name] for name in ("kind", "classes", "num_words", "max_length", "tokens")}
    assert described == {
        "kind": "text",
        "classes": ["negative", "positive"],
        "num_words": 10_000,
        "max_length": 200,
        "tokens": {"padding": 0, "start": 1, "unknown": 2, "offset": 3},
    }
    words = list(info["word_index"])
    assert data.decode([0, 1, 4, 2, 5]) == f"{words[0]} ? {words[1]}"
    assert data.decode(torch.tensor([9_999, 1])) == "?"


def test_the_archive_is_read_once_for_all_sizes(tiny, reads, capfd):
    IMDBDataModule(str(tiny)).prepare_data()
    assert len(reads) == 1
    assert sorted(path.name for path in (tiny / "imdb").iterdir()) == ["aclImdb_v1.tar.gz", CACHE]
    for sizes in ({}, {"num_words": 30}, {"max_length": 7}, {"val_fraction": 0.5, "seed": 1}):
        assert_like_keras(IMDBDataModule(str(tiny), **sizes), tiny / "imdb/aclImdb_v1.tar.gz")
    assert len(reads) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == f"{tiny}/imdb/aclImdb_v1.tar.gz: splitting reviews into words, for the cache {CACHE}\n"


def test_a_stale_cache_is_rebuilt(tiny, reads, monkeypatch):
    IMDBDataModule(str(tiny)).setup()
    date = (tiny / "imdb/aclImdb_v1.tar.gz").stat()
    archive = write_imdb(tiny, seed=1)
    os.utime(archive, ns=(date.st_atime_ns, date.st_mtime_ns))  # the content counts, not the date
    monkeypatch.setattr(IMDBDataModule, "files", accepted(IMDBDataModule.files, tiny))
    for _ in range(2):
        assert_like_keras(IMDBDataModule(str(tiny)), archive)
    assert len(reads) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage", "empty"])
def test_a_damaged_cache_is_rebuilt(tiny, reads, damage):
    IMDBDataModule(str(tiny)).setup()
    cache = tiny / "imdb" / CACHE
    whole = cache.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    cache.write_bytes({"cut": whole[:-50], "flipped": flipped, "garbage": b"<html>", "empty": b""}[damage])
    for _ in range(2):
        assert_like_keras(IMDBDataModule(str(tiny)), tiny / "imdb/aclImdb_v1.tar.gz")
    assert len(reads) == 2
    assert cache.read_bytes() == whole


def test_without_a_writable_directory_there_is_no_cache_but_a_line(tiny, reads, monkeypatch, capfd):
    def read_only(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(imdb, "write_cache", read_only)
    for _ in range(2):
        assert_like_keras(IMDBDataModule(str(tiny)), tiny / "imdb/aclImdb_v1.tar.gz")
    assert len(reads) == 2
    line = f"{tiny}/imdb/{CACHE} cannot be written (Read-only file system): the next start splits the reviews again"
    assert capfd.readouterr().err.splitlines()[1::2] == [line, line]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory_is_left_alone(tiny):
    (tiny / "imdb").chmod(stat.S_IRUSR | stat.S_IXUSR)
    IMDBDataModule(str(tiny)).setup()
    assert [path.name for path in (tiny / "imdb").iterdir()] == ["aclImdb_v1.tar.gz"]


def test_a_cache_whose_place_is_taken_does_no_harm(tiny, capfd):
    (tiny / "imdb" / CACHE).mkdir()
    IMDBDataModule(str(tiny)).setup()
    assert "cannot be written (Is a directory)" in capfd.readouterr().err
    assert list((tiny / "imdb" / CACHE).iterdir()) == []


def test_other_processes_and_quiet_runs_print_nothing(tiny, monkeypatch, capfd):
    with verbosity("quiet"):
        IMDBDataModule(str(tiny)).setup()
    (tiny / "imdb" / CACHE).unlink()
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    IMDBDataModule(str(tiny)).setup()
    assert capfd.readouterr() == ("", "")


def test_another_packing_is_accepted_by_its_content(tiny, monkeypatch):
    with tarfile.open(tiny / "imdb/aclImdb_v1.tar.gz") as archive:
        members = {each.name: archive.extractfile(each).read() for each in archive if each.isfile()}
    texts = {name: text.decode() for name, text in members.items() if re.search(r"/(pos|neg)/", name)}
    write(tiny, "imdb/aclImdb_v1.tar.gz", tar_gz(dict(reversed(members.items()))))
    message = rf"^{tiny}/imdb/aclImdb_v1.tar.gz holds 200 reviews instead of 50,000: delete it to download it again"
    with pytest.raises(DataError, match=message):
        IMDBDataModule(str(tiny)).setup()
    monkeypatch.setattr(IMDBDataModule, "num_reviews", 200)
    with pytest.raises(DataError, match=r"holds other reviews than IMDB's, sha256:[0-9a-f]{64} instead of 5810c2"):
        IMDBDataModule(str(tiny)).setup()
    monkeypatch.setattr(IMDBDataModule, "content_hash", reviews.content_hash(texts))
    assert_like_keras(IMDBDataModule(str(tiny)), tiny / "imdb/aclImdb_v1.tar.gz")


def test_a_bad_archive_is_named_with_what_to_do(tiny):
    path = tiny / "imdb/aclImdb_v1.tar.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        DataError, match=rf"^{path} is a damaged archive \(.*: delete it to download it again"
    ) as caught:
        IMDBDataModule(str(tiny)).setup()
    assert "\n" not in str(caught.value)
    assert not (tiny / "imdb" / CACHE).exists()


def test_a_missing_archive_is_downloaded(tiny, monkeypatch):
    calls, path = [], tiny / "imdb/aclImdb_v1.tar.gz"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(DataError, match=r"^imdb/aclImdb_v1.tar.gz is missing: call prepare_data"):
        IMDBDataModule(str(tiny)).setup()

    def download(files, data_dir):
        calls.append((*files, data_dir))
        path.write_bytes(content)

    monkeypatch.setattr(imdb, "download_missing", download)
    IMDBDataModule(str(tiny)).prepare_data()
    assert calls == [(*IMDBDataModule.files.values(), str(tiny))]
    assert all(url.startswith("https://") for url in imdb.ARCHIVE.urls)
    assert imdb.ARCHIVE.limit > 84_125_825


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_words": 4}, "^num_words must be at least 5, got 4"),
        ({"max_length": 0}, "^max_length must be at least 1, got 0"),
        ({"val_fraction": 1.0}, "^val_fraction must be between"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        IMDBDataModule(**arguments)


def test_hyper_parameters_are_plain(tmp_path):
    expected = {"batch_size": 32, "val_fraction": 0.2, "num_words": 10_000, "max_length": 200, "seed": 0}
    assert dict(IMDBDataModule(tmp_path).hparams) == expected | {"data_dir": str(tmp_path)}


@pytest.mark.parametrize("model_class", [TextResNet, TextSeparableCNN])
def test_a_net_learns_a_tiny_archive(tiny, model_class):
    pl.seed_everything(0, verbose=False)
    data = IMDBDataModule(str(tiny), num_words=150, max_length=60)
    model, trainer = model_class(**data.sizes, lr=0.01), Trainer(max_epochs=15, gpus=0)
    trainer.fit(model, data)
    (tested,) = trainer.test(model, data, verbose=False)
    assert tested["test_acc"] > 0.9
    assert tested["test_auroc"] > 0.95


@pytest.fixture(scope="module")
def real(data_dir, tmp_path_factory):
    """The real reviews in a directory that can be written to."""
    directory = tmp_path_factory.mktemp("real")
    (directory / "imdb").mkdir()
    shutil.copy(Path(data_dir) / "imdb/aclImdb_v1.tar.gz", directory / "imdb")
    data = IMDBDataModule(str(directory))
    data.prepare_data()
    return data


@pytest.mark.real_data
def test_the_real_reviews(real):  # whose content hash was verified, as the archive is not the official one
    (train_x, train_y), (val_x, val_y), (test_x, test_y) = real.splits
    assert [len(x) for x in (train_x, val_x, test_x)] == [20_000, 5_000, 25_000]
    assert [int(torch.cat([train_y, val_y]).sum()), int(test_y.sum())] == [12_500, 12_500]
    assert test_y.flatten().tolist() == [0.0] * 12_500 + [1.0] * 12_500
    words = real.info["word_index"]
    assert list(words)[:12] == ["the", "and", "a", "of", "to", "is", "in", "it", "i", "this", "that", "was"]
    assert len(words) == 9_996
    text = "once again mr ? has dragged out a movie for far longer than necessary"
    assert real.decode(test_x[0]).startswith(text)


@pytest.mark.real_data
def test_the_real_cache_is_used_for_other_sizes(real, monkeypatch):
    monkeypatch.setattr(imdb, "read_reviews", lambda _: pytest.fail("reads the archive again"))
    monkeypatch.setattr(imdb, "train_val_split", lambda tensors, *_: (tensors, tensors))  # in the order of the paths
    data = IMDBDataModule(real.data_dir, max_length=150, num_words=100_000)  # the first has 113 tokens
    x, y = data.splits.train
    text = "story of a man who has unnatural feelings for a pig starts out with a opening scene that is a terrific"
    assert data.decode(x[0]).startswith(text)
    assert (y[0].item(), y[-1].item()) == (0.0, 1.0)
    assert len(data.info["word_index"]) == 87_171  # all words of the training reviews


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("model_class", "accuracy", "auroc"), [(TextResNet, 0.78, 0.9), (TextSeparableCNN, 0.75, 0.85)]
)
def test_a_few_hundred_steps_on_the_real_reviews(real, model_class, accuracy, auroc):
    pl.seed_everything(0, verbose=False)
    model = model_class(**real.sizes)
    trainer = Trainer(max_epochs=1, gpus=0, limit_train_batches=300, limit_val_batches=60)
    trainer.fit(model, real)
    assert model.history[-1]["val_acc"] > accuracy
    assert model.history[-1]["val_auroc"] > auroc
