"""The news items are read as Keras reads them, and no archive can run code."""

import io
import json
import os
import pickle
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_files import WORDS, accepted, npz, objects, write_reuters

from datamodules import reuters
from datamodules.reuters import TOPICS, ReutersDataModule, tokenize
from lightmodels.data.tensor_datamodule import train_val_split
from lightmodels.utils.data_error import DataError

NPZ, JSON = "reuters/reuters.npz", "reuters/reuters_word_index.json"
PAIR = np.array([0, 45])


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data module on tiny files."""
    write_reuters(tmp_path)
    monkeypatch.setattr(ReutersDataModule, "files", accepted(ReutersDataModule.files, tmp_path))
    return ReutersDataModule(str(tmp_path))


def keras(content, max_length=300):
    """Keras's convention, written out slowly: training items, test items, size of the vocabulary."""
    with np.load(io.BytesIO(content), allow_pickle=True) as archive:
        xs, ys = archive["x"], archive["y"]
    order = np.arange(len(xs))
    np.random.RandomState(113).shuffle(order)
    items = [[1] + [word + 3 for word in xs[i]] for i in order]
    cut = int(len(xs) * 0.8)
    known = {token for item in items[:cut] for token in item}
    table = []
    for item in items:
        last = [token if token in known else 2 for token in item][-max_length:]
        table.append([0] * (max_length - len(last)) + last)
    x, y = torch.tensor(table), torch.tensor([int(ys[i]) for i in order])
    return (x[:cut], y[:cut]), (x[cut:], y[cut:]), max(known) + 1


def assert_like_keras(data, content):
    train, test, num_words = keras(content, data.max_length)
    expected = (*train_val_split(train, data.val_fraction, data.seed), test)
    for ours, theirs in zip(data.splits, expected, strict=True):
        assert all(torch.equal(a, b) and a.dtype == torch.int64 for a, b in zip(ours, theirs, strict=True))
    assert data.sizes == {"num_words": num_words, "num_classes": 46, "length": data.max_length}
    assert all(x.max() < num_words for x, _ in data.splits)


@pytest.mark.parametrize("max_length", [1, 7, 300])
def test_tiny_files_are_read_like_keras(tiny, max_length):
    data = ReutersDataModule(tiny.data_dir, max_length=max_length)
    data.prepare_data()
    assert_like_keras(data, (Path(tiny.data_dir) / NPZ).read_bytes())
    assert [len(x) for x, _ in data.splits] == [216, 24, 60]


def test_words_without_training_item_are_unknown():
    items = [np.array(item) for item in ([1, 5], [2, 5], [1, 3, 9, 5])]
    tokens, lengths, num_words = tokenize(items, 2)
    assert num_words == 9  # 5 + 3 is the largest index in training
    assert tokens.tolist() == [1, 4, 8, 1, 5, 8, 1, 4, 2, 2, 8]  # neither 3 nor 9 is in a training item
    assert lengths.tolist() == [3, 3, 5]


def test_decode(tiny):
    assert tiny.decode([0, 0, 1, 4, 2, 6]) == "word1 ? word3"
    assert tiny.decode(torch.tensor([5, 9999])) == "word2 ?"
    assert tiny.decode([0, 1]) == ""
    words = {f"word{rank}": rank for rank in range(1, WORDS + 1)}
    assert words.items() >= tiny.info["word_index"].items()


def test_files_with_another_hash_are_refused(tmp_path):
    write_reuters(tmp_path)
    with pytest.raises(DataError, match=r"reuters.npz has the wrong content"):
        ReutersDataModule(str(tmp_path)).setup()


def test_editions_must_not_be_mixed(tiny, monkeypatch):
    archive, index = tiny.files.values()
    index = replace(index, hashes=("sha256:0", *index.hashes))
    monkeypatch.setattr(ReutersDataModule, "files", {"archive": archive, "index": index})
    with pytest.raises(DataError, match=r"reuters.npz and .*index.json are of different editions: take both"):
        tiny.setup()


def test_prepare_data_downloads_missing_files(tiny, monkeypatch):
    calls = []
    monkeypatch.setattr(reuters, "download_missing", lambda files, data_dir: calls.append((*files, data_dir)))
    tiny.prepare_data()
    assert all(url.startswith("https://") for file in tiny.files.values() for url in file.urls)
    assert calls == [(*tiny.files.values(), tiny.data_dir)]
    for name in (JSON, NPZ):
        (Path(tiny.data_dir) / name).unlink()
        with pytest.raises(DataError, match=f"^{name} is missing"):
            _ = tiny.sizes


def member(array=None, pickled=b"", shape=(2,), descr="|O"):
    """The bytes of a .npy file: of an array, or of a header and any pickle."""
    stream = io.BytesIO()
    if array is not None:
        np.lib.format.write_array(stream, array, version=(1, 0))
    else:
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(pickled)
    return stream.getvalue()


def archive(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return stream.getvalue()


def with_x(x):
    return archive(x=x, y=member(PAIR))


GOOD = npz(objects([[1], [2]]), PAIR)
BAD_ARCHIVES = {
    "garbage": (b"<html>", "not a zip file"),
    "empty": (archive(), "no item named 'x.npy'"),
    "no labels": (archive(x=member(objects([[1], [2]]))), "no item named 'y.npy'"),
    "flipped": (GOOD.replace(b"x.npy", b"z.npy", 1), "header .* differ"),
    "no npy": (with_x(b"abc"), "x.npy|magic"),
    "no pickle": (with_x(member(np.array([1, 2]))), ""),
    "cut pickle": (with_x(member(objects([[1], [2]]))[:-40]), ""),
    "two-dimensional": (with_x(member(np.array([[[1], [2]], [[3], [4]]], dtype=object))), "one row"),
    "another shape": (with_x(member(pickled=pickle.dumps(objects([[1]])))), "one row"),
    "no array": (with_x(member(pickled=pickle.dumps([[1], [2]]))), "shape"),
    "words": (npz(objects([["a"], [1]]), PAIR), "integers"),
    "fractions": (npz(objects([[1.5], [1]]), PAIR), "integers"),
    "booleans": (npz(objects([[True], [1]]), PAIR), "integers"),
    "numbers for rows": (npz(objects([1, 2]), PAIR), "integers"),
    "nested": (npz(objects([[[1]], [1]]), PAIR), "integers"),
    "ragged": (npz(objects([[[1], 2], [1]]), PAIR), ""),
    "empty item": (npz(objects([[], [1]]), PAIR), "integers"),
    "rank 0": (npz(objects([[1], [0]]), PAIR), "integers"),
    "huge rank": (npz(objects([[1], [10**12]]), PAIR), "integers"),
    "beyond 64 bits": (npz(objects([[1], [2**70]]), PAIR), "integers"),
    "other counts": (npz(objects([[1], [2], [3]]), PAIR), "3 news items, but 2 topics"),
    "label 46": (npz(objects([[1], [2]]), np.array([0, 46])), "0..45"),
    "label -1": (npz(objects([[1], [2]]), np.array([0, -1])), "0..45"),
    "pickled labels": (npz(objects([[1], [2]]), objects([0, 1])), "allow_pickle=False"),
}


@pytest.mark.parametrize(("content", "reason"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_bad_archives_are_named(content, reason):
    message = rf"^reuters/reuters.npz is not an archive of news items: .*({reason})"
    with pytest.raises(DataError, match=message) as caught:
        reuters._parse_archive(content, NPZ)
    assert "\n" not in str(caught.value)


def test_a_zip_bomb_does_not_exhaust_the_memory(monkeypatch):
    monkeypatch.setattr(reuters, "MAX_BYTES", 2**20)
    bomb = with_x(member(pickled=bytes(2**25)))
    tracemalloc.start()
    with pytest.raises(DataError, match="not an archive of news items"):
        reuters._parse_archive(bomb, NPZ)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


class _Hostile:
    """Unpickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("where", ["instead", "inside"])
def test_a_hostile_pickle_is_not_run(tmp_path, where, protocol):
    trace = tmp_path / "trace"
    hostile = _Hostile(os.system, f"touch {trace}")
    x = hostile if where == "instead" else objects([[hostile], [1]])
    with pytest.raises(DataError, match=r"reuters.npz .* x.npy refers to (posix|nt).system"):
        reuters._parse_archive(with_x(member(pickled=pickle.dumps(x, protocol))), NPZ)
    assert not trace.exists()


@pytest.mark.parametrize("function", [eval, getattr, np.load, np.frombuffer, bytes, pickle.loads])
def test_only_arrays_are_unpickled(function):
    pickled = pickle.dumps(objects([[_Hostile(function, "1")], [1]]))
    with pytest.raises(DataError, match=f"refers to .*{function.__name__}"):
        reuters._parse_archive(with_x(member(pickled=pickled)), NPZ)


# [[1], [2, 3]] as written by Python 2 and an old numpy: ("O8", 0, 1), and byte strings in ASCII
OLD = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
    b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]"
    b"(]K\x01a](K\x02K\x03eetb."
)
DIALECTS = {
    "python 2": OLD,
    "protocol 2": pickle.dumps(objects([[1], [2, 3]]), 2),
    "protocol 5": pickle.dumps(objects([[1], [2, 3]]), 5),
    "array rows": pickle.dumps(objects([np.array([1], np.int32), np.array([2, 3])]), 2),
    "numpy 1": pickle.dumps(objects([[1], [2, 3]]), 2).replace(b"numpy._core", b"numpy.core"),
}


@pytest.mark.parametrize("pickled", DIALECTS.values(), ids=DIALECTS)
def test_arrays_of_all_pickle_protocols_are_read(pickled):
    items, topics = reuters._parse_archive(with_x(member(pickled=pickled)), NPZ)
    assert [item.tolist() for item in items] == [[1], [2, 3]]
    assert topics.tolist() == [0, 45]


@pytest.mark.parametrize("content", [b"<html>", b"[]", b"{}", b'{"a": 0}', b'{"a": "1"}', b'{"a": 1.5}', b"\xff", b"1"])
def test_bad_word_indices_are_named(content):
    with pytest.raises(DataError, match=r"^reuters/reuters_word_index.json is not a word index: ") as caught:
        reuters._parse_word_index(content, JSON)
    assert "\n" not in str(caught.value)


def test_hyper_parameters_are_plain_and_checked(tmp_path):
    with pytest.raises(ValueError, match=r"^max_length must be at least 1, got 0"):
        ReutersDataModule(max_length=0)
    expected = {"batch_size": 32, "val_fraction": 0.1, "max_length": 300, "seed": 0}
    assert dict(ReutersDataModule(tmp_path).hparams) == expected | {"data_dir": str(tmp_path)}


@pytest.fixture(scope="module")
def real(data_dir):
    return ReutersDataModule(data_dir)


@pytest.mark.real_data
def test_the_real_files_are_read_like_keras(real, data_dir):
    real.prepare_data()
    assert_like_keras(real, (Path(data_dir) / NPZ).read_bytes())
    assert [len(x) for x, _ in real.splits] == [8_084, 898, 2_246]
    assert real.sizes["num_words"] == 30_982


@pytest.mark.real_data
def test_the_first_real_items(data_dir, monkeypatch):
    monkeypatch.setattr(reuters, "train_val_split", lambda tensors, *_: (tensors, tensors))  # in Keras's order
    data = ReutersDataModule(data_dir, max_length=2400)  # the longest item has 2,376 tokens
    x, y = data.splits.train
    assert y[:10].tolist() == [3, 4, 3, 4, 4, 4, 4, 3, 3, 16]
    text = "mcgrath rentcorp said as a result of its december acquisition of space co"
    assert data.decode(x[0]).startswith(text)
    assert TOPICS[y[0]] == "earn"


@pytest.mark.real_data
def test_the_real_topics(data_dir):
    assert list(TOPICS) == json.loads((Path(data_dir) / "reuters/reuters_topics.json").read_text())
