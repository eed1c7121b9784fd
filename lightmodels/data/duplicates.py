"""Rows that are in two parts of a data set."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

Hashes = np.ndarray[Any, np.dtype[np.int64]]
CHUNK = 2**19  # bytes that fit into a processor's cache
MIX = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)  # SplitMix64's
WORD = 8  # bytes that are hashed together


def warn_of_copies(test: Hashes, training: Hashes, where: str, noun: str) -> None:
    """Warns of test rows that are training rows too, by the hashes of both; ``noun`` says what rows are, in plural."""
    found, known = np.sort(test), np.sort(training)
    nearest = known[np.searchsorted(known, found).clip(max=len(known) - 1)]
    if copies := int((nearest == found).sum()):
        rank_zero_warn(f"{where}: {copies:,} of {len(found):,} test {noun} are training {noun} too", stacklevel=2)


def row_hashes(tensors: Sequence[Tensor]) -> Hashes:
    """A hash of each row of tensors ``(N, ...)`` side by side, bit by bit, int64 ``(N,)``."""
    arrays = [tensor.unsqueeze(-1).flatten(1).contiguous().numpy().view(np.uint8) for tensor in tensors]
    rows, width = len(arrays[0]), sum(array.shape[1] for array in arrays)
    arrays.append(np.broadcast_to(np.uint8(0), (rows, -width % WORD)))
    offsets = np.random.default_rng(0).integers(2**63, size=-(-width // WORD), dtype=np.uint64)  # of each column
    hashes, step = np.empty(rows, dtype=np.int64), max(1, CHUNK // width)
    for start in range(0, rows, step):
        words = np.concatenate([array[start : start + step] for array in arrays], axis=1).view(np.uint64) + offsets
        words = (words ^ (words >> 30)) * MIX[0]
        words = (words ^ (words >> 27)) * MIX[1]
        hashes[start : start + step] = np.einsum("ij->i", words ^ (words >> 31)).view(np.int64)
    return hashes


def text_hashes(texts: Iterable[bytes]) -> Hashes:
    """A hash of each text, int64 ``(N,)``, which differs from process to process."""
    return np.fromiter(map(hash, texts), dtype=np.int64)
