"""Budget: what pictures cost the training, and whether it can afford one more."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

GUESS = 0.3  # seconds that the first picture is thought to cost
BESIDE = 1.0  # of a copy's seconds, what the training beside it loses, if it uses all cores


class Budget:
    """Counts, from when it is made, all that training loses to pictures.

    Attributes:
        waited: seconds that training stood still for them.
        beside: seconds of processor time that copies of the process have been at work beside it.
        drawn: how many pictures that was for.
    """

    def __init__(self) -> None:
        self._began = perf_counter()
        self.waited = self.beside = 0.0
        self.drawn = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the time of the body."""
        start = perf_counter()
        try:
            yield
        finally:
            self.waited += perf_counter() - start

    def affords(self, share: float) -> bool:
        """Whether, with one more picture, all together stay below this share of the time trained so far."""
        spent = self.waited + BESIDE * self.beside
        trained = perf_counter() - self._began - self.waited
        return spent + (spent / self.drawn if self.drawn else GUESS) <= share * trained
