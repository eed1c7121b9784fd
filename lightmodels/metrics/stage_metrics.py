"""StageMetrics: exact values of training, validation and test epochs, over all loaders and processes."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import Metric

from lightmodels.metrics.epoch_means import EpochMeans, MetricValue, pop_metric_state, set_metric_state
from lightmodels.metrics.history import Row
from lightmodels.utils import distributed


class StageMetrics:
    """Collects what steps return, and computes the values of an epoch under their names, ``val_loss`` etc.

    With several loaders, each has values of its own, with Lightning's suffix ``/dataloader_idx_0``. Metric
    objects may serve several stages: validation inside a training epoch saves and restores their states.

    Args:
        metrics: returns all Metric objects of the model, always in the same order.
    """

    def __init__(self, metrics: Callable[[], Sequence[Metric]]) -> None:
        self._metrics = metrics
        self.higher_is_better: dict[str, bool | None] = {}  # of the Metric objects that steps have returned
        self._means = {stage: EpochMeans(metrics) for stage in ("train", "val", "test")}
        self._values: Row = {}  # of the loaders that are finished
        self._loader_index = 0
        self._train_states: list[dict[str, Any]] = []  # of the Metric objects, during an evaluation
        self._running_loss: float | None = None
        self._loss_requested = False

    def start(self, stage: str) -> None:
        """Starts an epoch of a stage; discards what an earlier one that failed has left."""
        if stage != "train":
            self._train_states = [pop_metric_state(metric) for metric in self._metrics()]
        else:
            for metric in self._metrics():
                metric.reset()
            self._running_loss, self._loss_requested = None, False
        self._means[stage].reset()
        self._values, self._loader_index = {}, 0

    def add(self, stage: str, values: Mapping[str, MetricValue], size: float) -> None:
        """Adds a batch."""
        self._means[stage].update(values, size)
        if torch.compiler.is_compiling():
            return  # a flag that another thread may set at any moment cannot be compiled in
        if self._loss_requested and stage == "train":
            self._running_loss, self._loss_requested = self._means["train"].mean("loss"), False

    def samples(self, stage: str) -> float:
        """The samples of the current loader that this process has added."""
        return self._means[stage].samples

    def running_loss(self) -> float | None:
        """The mean training loss of this process as of a recent batch; requests that it is computed again.

        Any thread may call it: the next ``add``, in the training thread, synchronizes with the device.
        """
        self._loss_requested = True
        return self._running_loss

    def change_loader(self, stage: str, index: int, trainer: pl.Trainer) -> None:
        """Computes the values of the previous loader when the next one starts."""
        if index != self._loader_index:
            self._values |= self._compute(stage, f"/dataloader_idx_{self._loader_index}", trainer)
            self._loader_index = index

    def finish(self, stage: str, trainer: pl.Trainer) -> Row:
        """Ends an epoch of a stage: its values over all samples of all processes, as plain numbers."""
        suffix = f"/dataloader_idx_{self._loader_index}" if self._loader_index else ""
        values = self._values | self._compute(stage, suffix, trainer)
        self._values, self._loader_index = {}, 0
        if stage != "train":
            for metric, state in zip(self._metrics(), self._train_states, strict=True):
                set_metric_state(metric, state)
        return values

    def _compute(self, stage: str, suffix: str, trainer: pl.Trainer) -> Row:
        means = self._means[stage]
        values = means.compute(lambda own: distributed.all_gather_objects(own, trainer.world_size))
        metrics = means.metrics()
        self.higher_is_better |= {f"{stage}_{name}{suffix}": metrics[name].higher_is_better for name in metrics}
        means.reset()
        return {f"{stage}_{name}{suffix}": value for name, value in values.items()}

    def state_dict(self) -> dict[str, Any]:
        """The values of the current training epoch so far."""
        return self._means["train"].state_dict()

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continues from a ``state_dict``."""
        self._means["train"].load_state_dict(state, device)


class EpochRecord:
    """Collects the validation values, the learning rate and the time of an epoch for its history row."""

    def __init__(self) -> None:
        self.lr: float | Tensor = math.nan  # of the last step
        self._validation_started = 0.0
        self.start()

    def start(self) -> None:
        """Starts an epoch."""
        self._values: Row = {}
        self._validation_seconds = 0.0
        self.start_clock()

    def start_clock(self) -> None:
        """Starts to measure the seconds, also in the middle of a resumed epoch."""
        self._started = time.perf_counter()

    def start_validation(self) -> None:
        """Starts to measure the seconds of validation."""
        self._validation_started = time.perf_counter()

    def end_validation(self, values: Row) -> None:
        """Adds the values and the seconds of a validation."""
        self._values |= values
        self._validation_seconds += time.perf_counter() - self._validation_started

    def finish(self, epoch: int, training: Row, samples: float) -> Row:
        """The row of an epoch (counted from 1), with its training values and samples over all processes."""
        seconds = time.perf_counter() - self._started
        speed = samples / (seconds - self._validation_seconds)
        measured = {"lr": float(self.lr), "seconds": seconds, "samples_per_second": speed}
        return {"epoch": epoch, **training, **self._values, **measured}

    def state_dict(self) -> dict[str, Any]:
        """The values of the epoch so far, without its time."""
        return {"values": self._values, "rate": float(self.lr)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a ``state_dict``."""
        self._values, self.lr = state["values"], state["rate"]
