"""A loop for ``benchmark.py`` that claims too high a loss, and one that fails."""

import os

from benchmarks import floor
from benchmarks.plain import Plain


def train(plain: Plain, epochs: int) -> tuple[list[float], float]:
    if "LOOP_FAILS" in os.environ:
        raise RuntimeError("out of luck")
    marks, loss = floor.train(plain, epochs)
    return marks, loss * 1.3
