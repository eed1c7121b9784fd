"""Rows that are in two parts of a data set."""

from collections.abc import Sequence

import torch
from torch import Tensor

MULTIPLIER = 0x5851F42D4C957F2D  # odd, so that multiplying loses no bits of a hash
CHUNK = 2**13  # rows that fit into a processor's cache


def count_copies(rows: Sequence[Tensor], among: Sequence[Tensor]) -> int:
    """How many rows of some tensors of shape ``(N, ...)`` are also rows of others, compared bit by bit as hashes.

    Examples:
        >>> count_copies([torch.tensor([1.0, 2.0, 2.0])], [torch.tensor([2.0, 3.0])])
        2
    """
    return int(torch.isin(_hashes(rows), _hashes(among)).sum())


def _hashes(tensors: Sequence[Tensor]) -> Tensor:
    """A hash of 64 bits of each row, int64 ``(N,)``."""
    parts = zip(*(torch.split(tensor.reshape(len(tensor), -1), CHUNK) for tensor in tensors), strict=True)
    return torch.cat([_hash_part(part) for part in parts])


def _hash_part(tensors: Sequence[Tensor]) -> Tensor:
    hashes = torch.zeros(len(tensors[0]), dtype=torch.int64)
    for tensor in tensors:
        for column in tensor.contiguous().view(torch.int32).T:
            hashes = (hashes ^ column) * MULTIPLIER  # overflows on purpose
            hashes ^= hashes >> 32
    return hashes
