"""The labelled reviews of ``aclImdb_v1.tar.gz``: read in one pass, as rows of tokens, and kept in a cache."""

import gzip
import hashlib
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from lightmodels.inputs.tokens import Integers, join_words, number_words, rank_words, split_review
from lightmodels.utils.atomic_file import replace_file
from lightmodels.utils.data_error import DataError, one_line

ROOT, TRAIN = "aclImdb/", "aclImdb/train/"
FOLDERS = tuple(f"{ROOT}{part}/{kind}/" for part in ("train", "test") for kind in ("neg", "pos"))
REVIEW = re.compile(rf"({'|'.join(FOLDERS)})[0-9]+_[0-9]+\.txt")  # <number>_<stars>.txt
MAX_REVIEW = 100_000  # bytes; the longest of IMDB's has 13,704
MAX_UNPACKED = 2**30  # bytes; the labelled reviews have 65 MB, and the official archive as many unlabelled ones
BLOCK = 2**20  # bytes read at a time
CACHE_FORMAT = 1  # change it with how reviews become tokens, or how these are stored


class TokenizedReviews(NamedTuple):
    """All reviews, the training reviews first.

    Tokens are those of ``datamodules.tokens``, for all words of the training reviews; others are unknown.
    """

    tokens: np.ndarray[Any, np.dtype[np.int32]]  # of all reviews, joined, each with a start token before it
    lengths: Integers  # tokens of each review, (N,)
    labels: np.ndarray[Any, np.dtype[np.uint8]]  # 1 for positive reviews, else 0, (N,)
    train_rows: int
    words: list[str]  # by rank, the most frequent in the training reviews first, of equal ones by the alphabet


def read_reviews(packed: BinaryIO) -> dict[str, str]:
    """The labelled reviews of a ``.tar.gz`` by their paths; other files below ``aclImdb/`` are skipped.

    Nothing is written to disk. Raises DataError for a damaged archive, a link, a path outside ``aclImdb/``, another
    file among the reviews, a review that is huge, empty, twice there or not in UTF-8, and a folder without reviews.
    """
    reviews: dict[str, str] = {}
    try:
        with gzip.GzipFile(fileobj=packed) as unpacked:
            limited = _Limited(unpacked)
            with tarfile.open(fileobj=limited, mode="r|") as archive:  # type: ignore[call-overload]
                for member in archive:
                    path = _safe_path(member)
                    if REVIEW.fullmatch(path):
                        if path in reviews:
                            raise DataError(f"holds {path} twice")
                        reviews[path] = _read_review(archive, member, path)
                    elif path.startswith(FOLDERS) and not member.isdir():
                        raise DataError(f"holds {path[:100]!a}, which is not named as a review")
            while limited.read(BLOCK):  # up to the checksum
                pass
    except DataError:
        raise
    except Exception as error:  # damaged bytes can raise anything
        raise DataError(f"is a damaged archive ({one_line(error)})") from error
    if missing := set(FOLDERS) - {path[: path.rindex("/") + 1] for path in reviews}:
        raise DataError(f"holds too few reviews ({len(reviews):,}): none in {min(missing)}")
    return reviews


class _Limited:
    """Reads a stream up to ``MAX_UNPACKED``, to protect against decompression bombs."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self._stream, self._left = stream, MAX_UNPACKED

    def read(self, size: int) -> bytes:
        content = self._stream.read(min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise DataError(f"unpacks to more than {MAX_UNPACKED:,} bytes")
        return content


def _safe_path(member: tarfile.TarInfo) -> str:
    """The path of a file or directory below ``aclImdb/``; raises DataError for all others, and for links."""
    path = member.name.removeprefix("./")
    if not f"{path}/".startswith(ROOT) or ".." in path.split("/"):
        raise DataError(f"holds the unexpected path {member.name[:100]!a}")
    if not (member.isfile() or member.isdir()):
        raise DataError(f"holds {path[:100]!a}, which is not a plain file")
    return path


def _read_review(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> str:
    if member.size > MAX_REVIEW:
        raise DataError(f"holds {path} of {member.size:,} bytes, more than {MAX_REVIEW:,}")
    stream = archive.extractfile(member)
    assert stream is not None  # as it is a file
    try:
        text = stream.read().decode()
    except UnicodeDecodeError as error:
        raise DataError(f"holds {path}, which is not UTF-8 text") from error
    if not split_review(text):
        raise DataError(f"holds {path}, which is empty or has no word")
    return text


def content_hash(reviews: Mapping[str, str]) -> str:
    """The SHA-256 over path, line feed, text, line feed of all reviews, in the order of their paths."""
    digest = hashlib.sha256()
    for path in sorted(reviews):
        digest.update(f"{path}\n{reviews[path]}\n".encode())
    return digest.hexdigest()


def stream_hash(stream: BinaryIO) -> str:
    """The SHA-256 of a file from its start, where it is left."""
    digest = hashlib.sha256()
    stream.seek(0)
    while block := stream.read(BLOCK):
        digest.update(block)
    stream.seek(0)
    return digest.hexdigest()


def tokenize_reviews(
    reviews: Mapping[str, str], track: Callable[[list[str]], Iterable[str]] = iter
) -> TokenizedReviews:
    """The reviews as tokens, in the order of their paths; ``track`` passes the paths on, and may show progress."""
    paths = sorted(reviews, key=lambda path: (not path.startswith(TRAIN), path))
    rows, numbers = number_words(split_review(reviews[path]) for path in track(paths))
    train_rows = Counter(path.startswith(TRAIN) for path in paths)[True]
    ranks, known = rank_words(rows[:train_rows], numbers)
    tokens, lengths = join_words([ranks[row] for row in rows])
    labels = np.array(["/pos/" in path for path in paths], dtype=np.uint8)
    return TokenizedReviews(tokens.astype(np.int32), lengths, labels, train_rows, known)


def write_cache(path: Path, archive_hash: str, reviews: TokenizedReviews) -> None:
    """Writes a cache file; raises OSError if that is not possible."""
    arrays = reviews._asdict() | {"words": np.frombuffer("\n".join(reviews.words).encode(), dtype=np.uint8)}
    with replace_file(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, key=np.array(_cache_key(archive_hash)), **arrays)


def read_cache(path: Path, archive_hash: str) -> TokenizedReviews | None:
    """The reviews in a cache file; None if there is none, or it is damaged or was made from another archive."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as cache:
            if cache["key"].item() != _cache_key(archive_hash):
                return None
            arrays = {name: cache[name] for name in TokenizedReviews._fields}  # verifies the CRC-32 of each
    except Exception:  # damaged bytes can raise anything
        return None
    words = arrays.pop("words").tobytes().decode().split("\n")
    return TokenizedReviews(**arrays | {"words": words, "train_rows": int(arrays["train_rows"])})


def _cache_key(archive_hash: str) -> str:
    return f"format {CACHE_FORMAT} of archive sha256:{archive_hash}"
