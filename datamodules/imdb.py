"""IMDB: 50,000 film reviews, negative or positive, read by Keras's convention."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules.reviews import (
    TokenizedReviews,
    content_hash,
    read_cache,
    read_reviews,
    stream_hash,
    tokenize_reviews,
    write_cache,
)
from lightmodels.data.remote_files import RemoteFile, download_missing
from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, train_val_split
from lightmodels.inputs.tokens import CONVENTION, OFFSET, START, UNKNOWN, pad_front
from lightmodels.utils import distributed
from lightmodels.utils.argument_checks import at_least
from lightmodels.utils.console import current_verbosity
from lightmodels.utils.data_error import DataError, one_line

if TYPE_CHECKING:
    from rich.progress import Progress

ARCHIVE = RemoteFile(
    "imdb/aclImdb_v1.tar.gz",
    ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
    ("sha256:c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",),
    max_bytes=128 * 2**20,  # it has 84,125,825
    is_archive=True,
)
CACHE = "aclImdb_v1.tokens.npz"  # beside the archive


class IMDBDataModule(TensorDataModule):
    """Reviews as ``(tokens, labels)``: int64 ``(N, max_length)`` and float32 ``(N, 1)``, 1.0 for positive ones.

    Tokens: 0 padding, 1 start, 2 unknown, else 3 + the word's rank by frequency in the training reviews. Reviews
    are padded and cut at the front. The official 25,000 test reviews are the test set.

    The archive is the official one, or any other with the same labelled reviews. It is read once: its tokens are
    kept in a cache file beside it, if the directory can be written to.

    Args:
        data_dir: the archive is in its folder ``imdb``, or is downloaded to it (84 MB).
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the 25,000 training reviews for validation.
        num_words: number of tokens; words with higher ones are unknown.
        max_length: tokens in a row.
        seed: seed of the validation split and of the order of the training reviews.
    """

    files: ClassVar[Mapping[str, RemoteFile]] = {"archive": ARCHIVE}
    content_hash: ClassVar[str] = "5810c293d6af883eeefeb135e02142582ea52cbd9403a70a9563793e52456b91"  # of the reviews
    num_reviews: ClassVar[int] = 50_000
    input_dtype: ClassVar[torch.dtype] = torch.long

    def __init__(
        self,
        data_dir: str = "data",
        batch_size: int = 32,
        val_fraction: float = 0.2,
        num_words: int = 10_000,
        max_length: int = 200,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_fraction, seed)
        at_least(OFFSET + 2, num_words=num_words)  # with room for one word, of rank 1
        at_least(1, max_length=max_length)
        self.data_dir = data_dir = str(data_dir)  # hyper-parameters are plain data, not a Path
        self.num_words, self.max_length = num_words, max_length
        self.save_hyperparameters()

    @property
    def input_shape(self) -> tuple[int]:
        """The shape of a row, known before the archive is read."""
        return (self.max_length,)

    @property
    def sizes(self) -> dict[str, int]:
        return {"num_words": self.num_words, "length": self.max_length}

    @property
    def info(self) -> dict[str, Any]:
        """``word_index`` has the known words only, and ``splitter`` names how texts are split into words."""
        self.setup()
        return {
            "kind": "text",
            "classes": ["negative", "positive"],
            "word_index": {word: token - OFFSET for token, word in self._words.items()},
            "num_words": self.num_words,
            "max_length": self.max_length,
            "tokens": dict(CONVENTION),
            "splitter": "review",
        }

    def decode(self, tokens: Iterable[int] | Tensor) -> str:
        """The words of a row, without padding and start; unknown words are ``?``."""
        self.setup()
        return " ".join(self._words.get(int(token), "?") for token in tokens if token > START)

    def prepare_data(self) -> None:
        """Downloads the archive if it is missing, and loads it: one process writes the cache that others read."""
        download_missing(self.files.values(), self.data_dir)
        self.setup()

    def load(self) -> Splits:
        """Reads the archive or its cache; raises DataError if it is missing, damaged or has other reviews."""
        reviews = self._read()
        words = reviews.words[: self.num_words - OFFSET - 1]
        self._words = dict(enumerate(words, start=OFFSET + 1))  # by token
        tokens = np.where(reviews.tokens < self.num_words, reviews.tokens, UNKNOWN).astype(np.int64)
        x = torch.from_numpy(pad_front(tokens, reviews.lengths, self.max_length))
        y = torch.from_numpy(reviews.labels[:, None].astype(np.float32))
        cut = reviews.train_rows
        train, val = train_val_split((x[:cut], y[:cut]), self.val_fraction, self.seed)
        return Splits(train, val, (x[cut:], y[cut:]))

    def _read(self) -> TokenizedReviews:
        (archive,) = self.files.values()
        with archive.open(self.data_dir) as stream:
            path, archive_hash = Path(stream.name), stream_hash(stream)
            cache = path.with_name(CACHE)
            if (cached := read_cache(cache, archive_hash)) is not None:
                return cached
            _print(f"{path}: splitting reviews into words, for the cache {CACHE}")
            is_official = f"sha256:{archive_hash}" in archive.hashes
            reviews = self._tokenize(stream, path.stat().st_size, is_official)
        try:
            write_cache(cache, archive_hash, reviews)
        except OSError as error:
            _print(f"{cache} cannot be written ({one_line(error)}): the next start splits the reviews again")
        return reviews

    def _tokenize(self, stream: BinaryIO, size: int, is_official: bool) -> TokenizedReviews:
        with _progress() as progress:
            with progress.wrap_file(stream, size, description="reading reviews") as packed:
                reviews = read_reviews(packed)
            if not is_official and (found := content_hash(reviews)) != self.content_hash:
                wrong = f"holds other reviews than IMDB's, sha256:{found} instead of {self.content_hash}"
                if len(reviews) != self.num_reviews:
                    wrong = f"holds {len(reviews):,} reviews instead of {self.num_reviews:,}"
                raise DataError(wrong)
            return tokenize_reviews(reviews, partial(progress.track, description="splitting into words"))


def _is_silent() -> bool:
    return distributed.rank() > 0 or current_verbosity() == "quiet"


def _print(line: str) -> None:
    if not _is_silent():
        print(line, file=sys.stderr, flush=True)


@contextmanager
def _progress() -> Iterator["Progress"]:
    """A progress bar on standard error if that is a terminal, removed at the end."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=_is_silent() or not console.is_terminal) as progress:
        yield progress
