"""Reuters: 11,228 news items on 46 topics, read by Keras's convention."""

import io
import json
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from lightmodels.data.remote_files import MAX_BYTES, RemoteFile, download_missing
from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, train_val_split
from lightmodels.inputs.tokens import CONVENTION, MAX_RANK, OFFSET, START, Integers, pad_front, tokenize
from lightmodels.utils.argument_checks import at_least
from lightmodels.utils.data_error import DataError, one_line

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
HASHES = {  # of two editions, a rebuilt one and Keras's
    "reuters.npz": (
        "sha256:c3e775250269e6e3ad3dcde85461bf35afa7b105bfb9e4004b4cb37e926378df",
        "sha256:d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916",
    ),
    "reuters_word_index.json": (
        "sha256:a7ec46004fedb4264834b9171693a6efdecdc970b8d56275adc8d2ae66a1b6dd",
        "md5:4d44cc38712099c9e383dc6e5f11a921",
    ),
}
TRAIN_FRACTION, SHUFFLE_SEED = 0.8, 113  # as in Keras
TOPICS = tuple(
    "cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade "  # noqa: SIM905
    "reserves ship cotton carcass crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin "
    "strategic-metal livestock retail ipi iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr gas "
    "silver wpi hog lead".split()
)
_RECONSTRUCT = np.empty(0).__reduce__()[0]
PICKLED = {  # everything that a pickled array of lists needs
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),  # bytes, in old pickles
}


class ReutersDataModule(TensorDataModule):
    """News items as ``(tokens, topics)``: int64 ``(N, max_length)`` and int64 ``(N,)`` in 0..45.

    Tokens: 0 padding, 1 start, 2 unknown, else 3 + the word's rank by frequency. Items are padded and cut at
    the front. Words that occur in neither training nor validation items are unknown.

    Args:
        data_dir: the files are in its folder ``reuters``, or are downloaded to it.
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the 8,982 training items for validation.
        max_length: tokens in a row.
        seed: seed of the validation split and of the order of the training items.
    """

    files: ClassVar[Mapping[str, RemoteFile]] = {
        name: RemoteFile(f"reuters/{name}", (URL + name,), hashes) for name, hashes in HASHES.items()
    }
    input_dtype: ClassVar[torch.dtype] = torch.long
    topics: ClassVar[tuple[str, ...]] = TOPICS

    def __init__(
        self,
        data_dir: str = "data",
        batch_size: int = 32,
        val_fraction: float = 0.1,
        max_length: int = 300,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_fraction, seed)
        at_least(1, max_length=max_length)
        self.data_dir = data_dir = str(data_dir)  # hyper-parameters are plain data, not a Path
        self.max_length = max_length
        self.save_hyperparameters()

    @property
    def input_shape(self) -> tuple[int]:
        """The shape of a row, known before the files are read."""
        return (self.max_length,)

    @property
    def sizes(self) -> dict[str, int]:
        self.setup()
        return {"num_words": self._num_words, "num_classes": len(TOPICS), "length": self.max_length}

    @property
    def info(self) -> dict[str, Any]:
        """``word_index`` has the known words only: new texts are encoded as the data set is."""
        self.setup()
        return {
            "kind": "text",
            "classes": list(TOPICS),
            "word_index": self._known_words,
            "num_words": self._num_words,
            "max_length": self.max_length,
            "tokens": dict(CONVENTION),
        }

    def decode(self, tokens: Iterable[int] | Tensor) -> str:
        """The words of a row, without padding and start; unknown words are ``?``."""
        self.setup()
        return " ".join(self._words.get(int(token) - OFFSET, "?") for token in tokens if token > START)

    def prepare_data(self) -> None:
        """Downloads missing files."""
        download_missing(self.files.values(), self.data_dir)

    def load(self) -> Splits:
        """Reads the files; raises DataError if one is missing, damaged or of another edition."""
        items, topics, word_index = self._read()
        self._words = {rank: word for word, rank in word_index.items()}
        order = np.arange(len(items))
        np.random.RandomState(SHUFFLE_SEED).shuffle(order)
        cut = int(len(order) * TRAIN_FRACTION)
        tokens, lengths, self._num_words = tokenize([items[i] for i in order], cut)
        known = set(np.unique(tokens).tolist())
        self._known_words = {word: rank for word, rank in word_index.items() if rank + OFFSET in known}
        x, y = torch.from_numpy(pad_front(tokens, lengths, self.max_length)), torch.from_numpy(topics[order])
        train, val = train_val_split((x[:cut], y[:cut]), self.val_fraction, self.seed)
        return Splits(train, val, (x[cut:], y[cut:]))

    def _read(self) -> tuple[list[Integers], Integers, dict[str, int]]:
        archive, index = self.files.values()
        items, words = archive.read(self.data_dir), index.read(self.data_dir)
        if archive.hash_index(items) != index.hash_index(words):
            raise DataError(f"{archive.name} and {index.name} are of different editions: take both from one")
        return *_parse_archive(items, archive.name), _parse_word_index(words, index.name)


def _parse_archive(content: bytes, name: str) -> tuple[list[Integers], Integers]:
    """The word ranks of each item, and the topics ``(N,)``, in the order of the file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            x, y = (io.BytesIO(archive.open(member).read(MAX_BYTES)) for member in ("x.npy", "y.npy"))
        items = [_integers(row, 1, MAX_RANK) for row in _unpickle(io.BufferedReader(x))]  # buffered: 2x as fast
        topics = _integers(np.lib.format.read_array(y, allow_pickle=False), 0, len(TOPICS) - 1)
        if len(items) != len(topics):
            raise DataError(f"{len(items)} news items, but {len(topics)} topics")
    except Exception as error:  # damaged bytes can raise anything
        raise DataError(f"{name} is not an archive of news items: {one_line(error)}") from error
    return items, topics


def _parse_word_index(content: bytes, name: str) -> dict[str, int]:
    try:
        index: dict[str, int] = json.loads(content)
        _integers(list(index.values()), 1, MAX_RANK)
    except Exception as error:
        raise DataError(f"{name} is not a word index: {one_line(error)}") from error
    return index


def _integers(row: Any, low: int, high: int) -> Integers:
    values = np.asarray(row)
    if values.ndim != 1 or values.dtype.kind not in "iu" or values.min() < low or values.max() > high:
        raise DataError(f"holds something other than rows of integers in {low}..{high}")
    return values.astype(np.int64)


def _unpickle(stream: BinaryIO) -> Any:
    np.lib.format.read_magic(stream)
    shape, _, _ = np.lib.format.read_array_header_1_0(stream)
    rows = _ArrayUnpickler(stream).load()
    if rows.shape != shape or rows.ndim != 1:
        raise DataError("x.npy is not one row of news items")
    return rows


class _ArrayUnpickler(pickle.Unpickler):
    """Loads arrays of plain Python objects, and refuses, without running it, a pickle with anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PICKLED:
            raise DataError(f"x.npy refers to {module}.{name}")
        return PICKLED[module, name]
