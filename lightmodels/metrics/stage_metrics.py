"""Stages: the exact values of training, validation and test epochs, over all loaders and processes."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import Metric

from lightmodels.metrics.epoch_means import (
    EpochMeans,
    MetricState,
    MetricValue,
    pop_metric_state,
    set_metric_state,
)
from lightmodels.metrics.history import Row
from lightmodels.utils import distributed


class StageMetrics:
    """Gathers what steps return and gives the epoch's values under their names, ``val_loss`` and so on.

    Several loaders of one evaluation get values of their own, with Lightning's suffix
    ``/dataloader_idx_0``. Metric objects may serve several stages: validation inside a training
    epoch sets aside what training has gathered in them, and puts it back.

    Args:
        metrics: gives all Metric objects of the model, always in the same order.
    """

    def __init__(self, metrics: Callable[[], Sequence[Metric]]) -> None:
        self._metrics = metrics
        self._means = {stage: EpochMeans(metrics) for stage in ("train", "val", "test")}
        self._values: Row = {}  # of the loaders of an evaluation that are through
        self._loader_index = 0
        self._set_aside: list[MetricState] = []
        self._running_loss: float | None = None
        self._loss_requested = False

    def start(self, stage: str) -> None:
        """Begins an epoch of a stage, whatever an earlier one that failed has left."""
        if stage != "train":
            self._set_aside = [pop_metric_state(metric) for metric in self._metrics()]
        else:
            for metric in self._metrics():
                metric.reset()
            self._running_loss, self._loss_requested = None, False
        self._means[stage].reset()
        self._values, self._loader_index = {}, 0

    def add(self, stage: str, values: Mapping[str, MetricValue], size: int) -> None:
        """Adds a batch."""
        self._means[stage].update(values, size)
        if self._loss_requested and stage == "train":
            self._running_loss, self._loss_requested = self._means["train"].mean("loss"), False

    def samples(self, stage: str) -> int:
        """Samples that this process has added, of the current loader."""
        return self._means[stage].samples

    def running_loss(self) -> float | None:
        """This process's mean training loss as of a recent batch, and a request to compute it anew.

        Any thread may call it: the next ``add``, in the training thread, is what waits for the device.
        """
        self._loss_requested = True
        return self._running_loss

    def change_loader(self, stage: str, index: int, trainer: pl.Trainer) -> None:
        """Closes the values of a loader when the next one begins."""
        if index != self._loader_index:
            self._values |= self._close(stage, f"/dataloader_idx_{self._loader_index}", trainer)
            self._loader_index = index

    def finish(self, stage: str, trainer: pl.Trainer) -> Row:
        """Ends an epoch of a stage: its values over all samples of all processes, as plain numbers."""
        suffix = f"/dataloader_idx_{self._loader_index}" if self._loader_index else ""
        values = self._values | self._close(stage, suffix, trainer)
        self._values, self._loader_index = {}, 0
        if stage != "train":
            for metric, state in zip(self._metrics(), self._set_aside, strict=True):
                set_metric_state(metric, state)
        return values

    def _close(self, stage: str, suffix: str, trainer: pl.Trainer) -> Row:
        means = self._means[stage]
        if trainer.world_size > 1:  # a process without rows knows no names
            means.learn_names(distributed.all_gather_objects(means.names(), trainer.world_size))
        values = means.compute(lambda sums: distributed.sum_over_ranks(sums, trainer))
        means.reset()
        return {f"{stage}_{name}{suffix}": value for name, value in values.items()}

    def state_dict(self) -> dict[str, Any]:
        """What training has gathered in the epoch under way."""
        return self._means["train"].state_dict()

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Goes on from what ``state_dict`` gave."""
        self._means["train"].load_state_dict(state, device)


class EpochRecord:
    """Collects validation values, the learning rate and the time of an epoch until its row is complete.

    Attributes:
        lr: the learning rate of the last step.
    """

    def __init__(self) -> None:
        self.lr: float | Tensor = math.nan
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
        measured = {"lr": float(self.lr), "seconds": seconds, "samples_per_second": speed}
        return {"epoch": epoch, **training, **self._values, **measured}

    def state_dict(self) -> dict[str, Any]:
        """What is known of the epoch so far; a clock is not."""
        return {"values": self._values, "rate": float(self.lr)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what ``state_dict`` gave."""
        self._values, self.lr = state["values"], state["rate"]
