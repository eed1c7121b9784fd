"""skorch as its docs write it: ``NeuralNet`` with a ``predefined_split`` and callbacks."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochScoring, LRScheduler
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.modules import Criterion, Module
from benchmarks.plain import Plain

NAMES = {"linear": ("mae", "mape"), "ring": ("acc",), "mnist": ("acc",), "reuters": ("acc", "top5_acc")}


class Marks(Callback):
    """Notes when each epoch begins and the last one ends."""

    def __init__(self, marks: list[float]) -> None:
        self.marks = marks

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        self.marks.append(perf_counter())

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        self.marks.append(perf_counter())


def train(plain: Plain, epochs: int) -> tuple[list[float], float]:
    """Trains for so many epochs.

    Returns:
        When each epoch began and the last one ended, and the last validation loss.
    """
    torch.manual_seed(plain.seed)
    marks: list[float] = []
    net = NeuralNet(
        Module(plain),
        criterion=Criterion(plain),
        optimizer=plain.optimizer,
        max_epochs=epochs,
        batch_size=plain.batch_size,
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset(*plain.val)),
        callbacks=[*scorings(plain), rates(plain), Marks(marks)],
        device=str(plain.device),
        **{f"optimizer__{name}": value for name, value in plain.options.items()},
    )
    net.fit(*plain.train)
    return marks, net.history[-1, "valid_loss"]


def rates(plain: Plain) -> LRScheduler:
    return LRScheduler(policy=LambdaLR, step_every="batch", lr_lambda=plain.rate_factor)


def scorings(plain: Plain) -> list[EpochScoring]:
    """One for each score, in training and in validation."""
    return [
        EpochScoring(score(plain, position), name=f"{stage}_{name}", on_train=stage == "train")
        for stage in ("train", "valid")
        for position, name in enumerate(NAMES[plain.task])
    ]


def score(plain: Plain, position: int) -> Callable[[NeuralNet, Dataset, np.ndarray], float]:
    """A score's mean over the rows of an epoch, of outputs that skorch has kept."""

    def mean(net: NeuralNet, x: Dataset, y: np.ndarray) -> float:
        outputs = net.forward(x).detach()
        return plain.scores(outputs, torch.from_numpy(y))[position].item() / len(y)

    return mean
