"""EpochRow: the history's row of the epoch under way."""

import math
import time
from typing import Any

from torch import Tensor

from lightmodels.history import Row


class EpochRow:
    """Collects validation values, the learning rate and the time of an epoch until its row is complete.

    Attributes:
        rate: the learning rate of the last step.
    """

    def __init__(self) -> None:
        self.rate: float | Tensor = math.nan
        self._values: Row = {}
        self._started = self._validation_started = time.perf_counter()
        self._validation_seconds = 0.0

    def start(self) -> None:
        """Begins an epoch."""
        self._values, self._validation_seconds = {}, 0.0
        self.start_clock()

    def start_clock(self) -> None:
        """Begins to count the seconds, also in the middle of a resumed epoch."""
        self._started = time.perf_counter()

    def start_validation(self) -> None:
        """What follows is validation, not training."""
        self._validation_started = time.perf_counter()

    def end_validation(self, values: Row) -> None:
        """Adds the values of a validation that is over."""
        self._values |= values
        self._validation_seconds += time.perf_counter() - self._validation_started

    def finish(self, epoch: int, training: Row, samples: float) -> Row:
        """The complete row.

        Args:
            epoch: number of the epoch, counted from 1.
            training: the values of training.
            samples: rows that were trained on, over all processes.
        """
        seconds = time.perf_counter() - self._started
        speed = samples / (seconds - self._validation_seconds)
        measured = {"lr": float(self.rate), "seconds": seconds, "samples_per_second": speed}
        return {"epoch": epoch, **training, **self._values, **measured}

    def state_dict(self) -> dict[str, Any]:
        """What is known of the epoch so far; a clock is not."""
        return {"values": self._values, "rate": float(self.rate)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what ``state_dict`` gave."""
        self._values, self.rate = state["values"], state["rate"]
