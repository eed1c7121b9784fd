"""torchkeras as its docs write it: ``KerasModel.fit`` over DataLoaders, with torchmetrics.

Its own step clips gradients to a norm of 1, and its loss of an epoch is the mean of the batches.
"""

import tempfile
from pathlib import Path
from time import perf_counter

import torch
from torch.optim.lr_scheduler import LambdaLR
from torchkeras import KerasModel

from benchmarks import hand_loop
from benchmarks.metrics import metrics
from benchmarks.modules import Criterion, Module
from benchmarks.plain import Plain


class Marks:
    """Notes when the training begins and when each epoch is validated; the save after that is of the next."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_fit_start(self, model: KerasModel) -> None:
        self.marks.append(perf_counter())

    def on_validation_epoch_end(self, model: KerasModel) -> None:
        self.marks.append(perf_counter())


def train(plain: Plain, epochs: int) -> tuple[list[float], float]:
    """Trains for so many epochs, with the best weights in a directory that is gone afterwards.

    Returns:
        When each epoch began and the last one ended, and the last validation loss.
    """
    torch.manual_seed(plain.seed)
    (train_rows, val_rows), marks = hand_loop.loaders(plain), Marks()
    with tempfile.TemporaryDirectory() as directory:
        history = made(plain).fit(
            train_rows,
            val_rows,
            epochs=epochs,
            patience=epochs,
            ckpt_path=str(Path(directory, "checkpoint")),
            callbacks=[marks],
            plot=False,
            cpu=plain.device.type == "cpu",
        )
    return marks.marks, float(history["val_loss"].iloc[-1])


def made(plain: Plain) -> KerasModel:
    """The net with its loss, metrics, optimizer and rates."""
    optimizer = plain.optimizer(plain.net.parameters(), **plain.options)
    rates = LambdaLR(optimizer, plain.rate_factor)
    return KerasModel(Module(plain), Criterion(plain), metrics(plain.task), optimizer, rates)
