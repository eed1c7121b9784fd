"""A loop for ``benchmark.py`` that reports too high a loss, and one that fails."""

import os

from benchmarks.plain import Marks, PlainTask, train_floor


def train(task: PlainTask) -> tuple[Marks, float]:
    if "LOOP_FAILS" in os.environ:
        raise RuntimeError("out of luck")
    marks, loss = train_floor(task)
    return marks, loss * 1.3
