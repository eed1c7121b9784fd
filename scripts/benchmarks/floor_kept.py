"""The floor where glibc keeps freed buffers and does not map new ones at each step."""

import torch

from benchmarks import floor
from benchmarks.plain import Plain

REUSED = 31 << 20  # bytes, just below the 32 MiB from which on glibc always asks the system for a buffer


def train(plain: Plain, epochs: int) -> tuple[list[float], float]:
    """As ``floor.train``, after a buffer was made and freed."""
    torch.empty(REUSED, dtype=torch.uint8)
    return floor.train(plain, epochs)
