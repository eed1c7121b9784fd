"""Tiny files in the real formats, and the hashes to make the data modules accept them."""

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from lightmodels.data.remote_files import RemoteFile

WORDS = 200  # of the tiny Reuters


def accepted(files: Mapping[str, RemoteFile], data_dir: str | Path) -> dict[str, RemoteFile]:
    """The same files with the hashes of their content in ``data_dir``, where they all are."""

    def hash_of(file: RemoteFile) -> str:
        path = file.require(str(data_dir))
        content = path.read_bytes()
        if path.suffix == ".tgz":
            with tarfile.open(path) as archive:
                return sha256(archive.extractfile(file.member).read())
        return sha256(gzip.decompress(content) if path.suffix == ".gz" and not file.is_archive else content)

    return {key: replace(file, hashes=(hash_of(file),)) for key, file in files.items()}


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def write_mnist(data_dir: str | Path, train: int = 200, test: int = 50) -> None:
    """MNIST's four files: each digit is a bright stripe of its own on noise, so it can be learned."""
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = random.integers(0, 100, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 4 : 2 * label + 6] += 150
        write(data_dir, f"MNIST/raw/{part}-images-idx3-ubyte.gz", gzip.compress(idx(images)))
        write(data_dir, f"MNIST/raw/{part}-labels-idx1-ubyte.gz", gzip.compress(idx(labels)))


def write_reuters(data_dir: str | Path, items: int = 300) -> None:
    """Reuters' two files: each topic has words of its own among common ones, so it can be learned."""
    random = np.random.default_rng(0)
    topics = random.integers(0, 46, items)
    common = range(93, WORDS + 1)
    lists = (random.choice([topic + 1, topic + 47, *common], random.integers(3, 40)) for topic in topics)
    rows = [words.tolist() for words in lists]
    write(data_dir, "reuters/reuters.npz", npz(objects(rows), topics))
    index = {f"word{rank}": rank for rank in range(1, WORDS + 1)}
    write(data_dir, "reuters/reuters_word_index.json", json.dumps(index).encode())


def write_housing(data_dir: str | Path, rows: int = 200, seed: int = 0) -> bytes:
    """The table as in the archive, whose content it returns; the value is linear in the income."""
    random = np.random.default_rng(seed)
    columns = random.uniform((-124, 32, 1, 500, 100, 300, 50, 1), (-114, 42, 52, 5000, 1000, 3000, 900, 9), (rows, 8))
    values = 40_000 * columns[:, -1:] + random.normal(0, 5_000, (rows, 1))
    content = "".join(",".join(f"{value:.4f}" for value in row) + "\n" for row in np.hstack([columns, values])).encode()
    write(data_dir, "cal_housing/cal_housing.tgz", tar_gz({"CaliforniaHousing/cal_housing.data": content}))
    return content


def write_imdb(data_dir: str | Path, count: int = 50, seed: int = 0) -> Path:
    """IMDB's archive with ``count`` reviews of each kind: each has words of its own, so it can be learned."""
    random = np.random.default_rng(seed)
    common = np.array([f"word{rank}" for rank in range(1, 100)])
    members: dict[str, bytes | None] = {"aclImdb/": None, "aclImdb/README": b"Large Movie Review Dataset v1.0"}
    for part in ("train", "test"):
        members[f"aclImdb/{part}/labeledBow.feat"] = b"9 0:9 1:1"
        for kind, stars in (("pos", 9), ("neg", 2)):
            for number in range(count):
                words = random.choice([*common, *[f"{kind}'{i}" for i in range(10)]], random.integers(5, 80))
                text = "<br /><br />".join([" ".join(words).capitalize(), f"It's all {kind}, {random.choice(common)}!"])
                members[f"aclImdb/{part}/{kind}/{number}_{stars}.txt"] = text.encode()
    members["aclImdb/train/unsup/0_0.txt"] = b"Not labelled, word1."
    write(data_dir, "imdb/aclImdb_v1.tar.gz", tar_gz(members))
    return Path(data_dir) / "imdb/aclImdb_v1.tar.gz"


def tar_gz(members: Mapping[str, bytes | tarfile.TarInfo | None]) -> bytes:
    """A packed archive of files by their path, of directories (None) and of members with other headers."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        for path, content in members.items():
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(path)
            if content is None:
                member.type = tarfile.DIRTYPE
            body = content if isinstance(content, bytes) else b""
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    return stream.getvalue()


def write(data_dir: str | Path, name: str, content: bytes) -> Path:
    path = Path(data_dir) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file of unsigned bytes: magic number, shape, values."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def objects(rows: list) -> np.ndarray:
    """A one-dimensional array of Python objects."""
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def npz(x: np.ndarray, y: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, x=x, y=y)
    return stream.getvalue()
