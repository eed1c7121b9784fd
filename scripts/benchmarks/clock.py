"""The time at which the epochs of a Trainer begin."""

from collections.abc import Callable
from time import perf_counter

import pytorch_lightning as pl


class Starts(pl.Callback):
    """Notes when an epoch begins: the last of all callbacks, so that what they do before it is behind."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.marks.append(perf_counter())


class End(pl.Callback):
    """Notes when the last epoch is over, with its checkpoints: the first callback to hear of the end.

    What others do after that, such as drawing the best weights once, is no part of an epoch.
    """

    def __init__(self, marks: list[float]) -> None:
        self.marks = marks

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.marks.append(perf_counter())


def timed(trainer: pl.Trainer, fit: Callable[[], object]) -> list[float]:
    """Runs a ``fit``; when each epoch began and the last one ended."""
    starts = Starts()
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks.append(starts)
    callbacks.insert(0, End(starts.marks))
    fit()
    return starts.marks
