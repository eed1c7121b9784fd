"""BatchTrainer: training batch by batch, without a Trainer."""

import math
from contextlib import nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer

from lightmodels.metrics.epoch_means import EpochMeans, MetricState, pop_metric_state, preserved, set_metric_state
from lightmodels.metrics.stage_metrics import EpochRecord
from lightmodels.utils import lightning_internals
from lightmodels.utils.batch import run_step
from lightmodels.utils.preserve import eval_mode
from lightmodels.utils.step_errors import require_closure, require_gradient

HOOKS = (  # per-step hooks that a Trainer calls; nothing calls them here
    "on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer",
    "on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_before_backward", "backward",
    "on_after_backward", "configure_gradient_clipping", "on_before_optimizer_step", "optimizer_step",
    "optimizer_zero_grad", "lr_scheduler_step",
)  # fmt: skip


class BatchTrainer:
    """Keeps what ``train_on_batch`` needs between batches: optimizer, schedules, the epoch's sums.

    Args:
        model: a LightModel, on its device; ``configure_optimizers`` is called.

    Raises:
        ValueError: training is not one optimizer's steps on the loss of ``shared_step``.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.optimizer, self._schedules = configure_optimization(model)
        self._means = {stage: EpochMeans(model._metrics) for stage in ("train", "val")}
        self._states: dict[str, list[MetricState]] = {}  # of Metric objects, of the other stage
        self._stage = "train"
        self._record = EpochRecord()
        self._counted = False  # whether the epoch's values have those of the current batch
        self._steps = 0  # of this epoch, as Lightning counts them for schedules

    def train(self, batch: Any) -> dict[str, float]:
        """Makes one optimizer step; returns the means over the epoch's training batches so far."""
        batch = self._enter("train", batch)
        if not self._means["train"].samples:
            self._record.start_clock()
        self._record.lr = self.optimizer.param_groups[0]["lr"]
        self._counted = False
        self.optimizer.step(lambda: self._backward(batch))  # type: ignore[arg-type, return-value]
        if not self._counted:
            require_closure(self.optimizer, was_called=False)
        self._steps += 1
        self._step_schedules("step", self._steps)
        return self._means["train"].compute()

    @torch.no_grad()
    def test(self, batch: Any) -> dict[str, float]:
        """Returns the means over the batches tested in this epoch so far."""
        batch = self._enter("val", batch)
        self._record.start_validation()
        with eval_mode(self._model):
            self._add(batch)
        values = self._means["val"].compute()
        self._record.end_validation({f"val_{name}": value for name, value in values.items()})
        return values

    def end_epoch(self) -> None:
        """Resets the sums; after training, appends the history's row and steps the epoch's schedules."""
        means = self._means["train"]
        if samples := means.samples:
            self._switch("train")
            training = {f"train_{name}": value for name, value in means.compute().items()}
            row = self._record.finish(self._model.history.next_epoch, training, samples)
            self._model.history.append(row)
            self._step_schedules("epoch", len(self._model.history), row)
        for each in self._means.values():
            each.reset()
        for metric in self._model._metrics():
            metric.reset()
        self._states, self._steps = {}, 0
        self._record.start()

    def _enter(self, stage: str, batch: Any) -> Any:
        self._switch(stage)
        return move_data_to_device(batch, self._model.device)

    def _switch(self, stage: str) -> None:
        """Swaps the states of Metric objects, which may serve both stages."""
        if stage == self._stage:
            return
        metrics = self._model._metrics()
        self._states[self._stage] = [pop_metric_state(metric) for metric in metrics]
        for metric, state in zip(metrics, self._states.get(stage, ()), strict=False):
            set_metric_state(metric, state)
        self._stage = stage

    def _backward(self, batch: Any) -> Tensor:
        self.optimizer.zero_grad()
        with torch.enable_grad(), preserved(self._model._metrics()) if self._counted else nullcontext():
            loss = self._add(batch)
        self._counted = True
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def _add(self, batch: Any) -> Tensor:
        model = self._model
        values, size = run_step(model.shared_step, batch, is_first=not self._means[self._stage].samples)
        if self._stage != "train" or not self._counted:  # optimizers such as LBFGS evaluate the loss several times
            self._means[self._stage].update(values, size)  # raises for values that are not scalars
        loss: Tensor = values["loss"]
        if self._stage == "train":
            require_gradient(loss, model)
        value = float(torch.as_tensor(loss).detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"loss is {value} in epoch {model.history.next_epoch}")
        return loss

    def _step_schedules(self, interval: str, count: int, row: dict[str, float] | None = None) -> None:
        for config in self._schedules:
            if config.interval != interval or count % config.frequency:
                continue
            if not config.reduce_on_plateau:
                config.scheduler.step()  # type: ignore[call-arg]
            elif row and config.monitor in row:
                config.scheduler.step(row[config.monitor])  # type: ignore[arg-type]
            elif config.strict:
                known = ", ".join(row or {}) or "none after a step"
                raise ValueError(f"the schedule's monitor {config.monitor!r} is not among the values: {known}")


def configure_optimization(model: Any) -> tuple[Optimizer, list[LRSchedulerConfig]]:
    """The one optimizer and the schedules that ``configure_optimizers`` returns."""
    name = type(model).__name__
    own = [hook for hook in HOOKS if getattr(type(model), hook) is not getattr(pl.LightningModule, hook)]
    if own or not model._trains_by_shared_step():
        raise ValueError(f"{name} has a {(own or ['training_step'])[0]} of its own: train it with a Trainer")
    optimizers, schedules = lightning_internals.configured_optimizers(model)
    if len(optimizers) != 1:
        raise ValueError(f"{name} has {len(optimizers)} optimizers: train it with a Trainer")
    require_closure(optimizers[0])
    return optimizers[0], schedules
