"""Reuters newswires: 11,228 texts on 46 topics, read by Keras's convention."""

import io
import json
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules.tokens import CONVENTION, MAX_RANK, OFFSET, START, Integers, pad_front, tokenize
from lightmodels.data.remote_files import MAX_BYTES, DataError, RemoteFile, fetch, read, reason, which_hash
from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, at_least_one, train_val_split

TRAIN_FRACTION, SHUFFLE_SEED = 0.8, 113  # Keras's own
TOPICS = tuple(
    "cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade "  # noqa: SIM905
    "reserves ship cotton carcass crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin "
    "strategic-metal livestock retail ipi iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr gas "
    "silver wpi hog lead".split()
)
_RECONSTRUCT = np.empty(0).__reduce__()[0]
PICKLED = {  # all that a pickled array of lists needs
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),  # bytes, in old pickles
}


def _published(name: str, *hashes: str) -> RemoteFile:
    url = f"https://storage.googleapis.com/tensorflow/tf-keras-datasets/{name}"
    return RemoteFile(f"reuters/{name}", (url,), hashes)


class ReutersDataModule(TensorDataModule):
    """Newswires as ``(tokens, topics)``: int64 ``(N, max_length)`` and int64 ``(N,)`` in 0..45.

    Tokens: 0 padding, 1 start, 2 unknown, else 3 + the word's rank by frequency. Wires are padded
    and cut at the front. A word that neither training nor validation wires have is unknown.

    Args:
        data_dir: the files are in its folder ``reuters``, or are downloaded to it.
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the 8,982 training wires to validate on.
        max_length: tokens in a row.
        seed: seed of the validation split and of the order of the training wires.

    Raises:
        ValueError: an argument out of its range.
    """

    # Two editions, the rebuilt one and Keras's: the hashes at one position belong together.
    files: ClassVar[Mapping[str, RemoteFile]] = {
        "archive": _published(
            "reuters.npz",
            "sha256:c3e775250269e6e3ad3dcde85461bf35afa7b105bfb9e4004b4cb37e926378df",
            "sha256:d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916",
        ),
        "word_index": _published(
            "reuters_word_index.json",
            "sha256:a7ec46004fedb4264834b9171693a6efdecdc970b8d56275adc8d2ae66a1b6dd",
            "md5:4d44cc38712099c9e383dc6e5f11a921",
        ),
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
        super().__init__(batch_size=batch_size, val_fraction=val_fraction, seed=seed)
        at_least_one(max_length=max_length)
        data_dir = str(data_dir)  # hyper-parameters are plain data, also when somebody gives a Path
        self.save_hyperparameters()
        self.data_dir, self.max_length = data_dir, max_length

    @property
    def input_shape(self) -> tuple[int]:
        """The shape of a row, known before the files are."""
        return (self.max_length,)

    @property
    def sizes(self) -> dict[str, int]:
        self.setup()
        return {"num_words": self._num_words, "num_classes": len(TOPICS), "length": self.max_length}

    @property
    def info(self) -> dict[str, Any]:
        """What ``tokens`` needs to make rows of new texts: ``word_index`` is that of the known words."""
        self.setup()
        return {
            "kind": "text",
            "classes": list(TOPICS),
            "word_index": self._known_words,
            "num_words": self._num_words,
            "max_length": self.max_length,
            "tokens": dict(CONVENTION),
        }

    @property
    def word_index(self) -> dict[str, int]:
        """Word to rank by frequency; 1 is the most frequent word."""
        self.setup()
        return self._word_index

    def decode(self, tokens: Iterable[int] | Tensor) -> str:
        """The words of a row, without padding and start; ``?`` stands for an unknown word."""
        self.setup()
        return " ".join(self._words.get(int(token) - OFFSET, "?") for token in tokens if token > START)

    def prepare_data(self) -> None:
        """Downloads the files that are not there."""
        fetch(self.files.values(), self.data_dir)

    def load(self) -> Splits:
        """Reads the files; a DataError says which one is missing, damaged or of another edition."""
        wires, topics, self._word_index = self._read()
        self._words = {rank: word for word, rank in self._word_index.items()}
        order = np.arange(len(wires))
        np.random.RandomState(SHUFFLE_SEED).shuffle(order)
        cut = int(len(order) * TRAIN_FRACTION)
        tokens, lengths, self._num_words = tokenize([wires[i] for i in order], cut)
        known = set(np.flatnonzero(np.bincount(tokens)).tolist())
        self._known_words = {word: r for word, r in self._word_index.items() if r + OFFSET in known}
        x = torch.from_numpy(pad_front(tokens, lengths, self.max_length))
        y = torch.from_numpy(topics[order])
        train, val = train_val_split((x[:cut], y[:cut]), self.val_fraction, self.seed)
        return Splits(train, val, (x[cut:], y[cut:]))

    def _read(self) -> tuple[list[Integers], Integers, dict[str, int]]:
        archive, index = self.files["archive"], self.files["word_index"]
        wires, words = read(archive, self.data_dir), read(index, self.data_dir)
        if which_hash(wires, archive.hashes) != which_hash(words, index.hashes):
            raise DataError(f"{archive.name} and {index.name} are of two editions: take both from one place")
        return *_parse_archive(wires, archive.name), _parse_word_index(words, index.name)


def _parse_archive(content: bytes, name: str) -> tuple[list[Integers], Integers]:
    """The ranks of each wire's words, and the topics ``(N,)``, in the order of the file."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [io.BytesIO(archive.open(member).read(MAX_BYTES)) for member in ("x.npy", "y.npy")]
        # pickle reads twice as quickly what it can peek into
        wires = [_integers(row, 1, MAX_RANK) for row in _unpickled(io.BufferedReader(members[0]))]
        topics = _integers(np.lib.format.read_array(members[1], allow_pickle=False), 0, len(TOPICS) - 1)
        if len(wires) != len(topics):
            raise DataError(f"{len(wires)} wires, but {len(topics)} topics")
    except Exception as error:  # bytes that are not what they should be can raise anything
        raise DataError(f"{name} is not an archive of wires: {reason(error)}") from error
    return wires, topics


def _parse_word_index(content: bytes, name: str) -> dict[str, int]:
    try:
        index: dict[str, int] = json.loads(content)
        _integers(list(index.values()), 1, MAX_RANK)
    except Exception as error:
        raise DataError(f"{name} is not an index of words: {reason(error)}") from error
    return index


def _integers(row: Any, low: int, high: int) -> Integers:
    values = np.asarray(row)
    if values.ndim != 1 or values.dtype.kind not in "iu" or values.min() < low or values.max() > high:
        raise DataError(f"holds something else than rows of whole numbers in {low}..{high}")
    return values.astype(np.int64)


def _unpickled(stream: BinaryIO) -> Any:
    np.lib.format.read_magic(stream)
    shape, _, _ = np.lib.format.read_array_header_1_0(stream)
    rows = _ArrayUnpickler(stream).load()
    if rows.shape != shape or rows.ndim != 1:
        raise DataError("x.npy is not one row of wires")
    return rows


class _ArrayUnpickler(pickle.Unpickler):
    """Builds arrays of plain Python objects; a pickle that asks for anything else is refused, not run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in PICKLED:
            raise DataError(f"x.npy asks for {module}.{name}")
        return PICKLED[module, name]
