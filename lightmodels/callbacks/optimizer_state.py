"""Callbacks that keep or override the state of optimizers between fits."""

from typing import Any

import pytorch_lightning as pl


class KeepOptimizerState(pl.Callback):
    """Passes the state of optimizers and schedulers from one ``fit`` of a model to the next."""

    def __init__(self) -> None:
        self._model: pl.LightningModule | None = None
        self._states: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if pl_module is self._model:
            for part, state in zip(_optimizers_and_schedulers(trainer), self._states, strict=True):
                part.load_state_dict(state)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._model = pl_module
        self._states = [part.state_dict() for part in _optimizers_and_schedulers(trainer)]


class OverrideOptimizerOptions(pl.Callback):
    """Resumes with the options of ``configure_optimizers``, such as learning rate and weight decay.

    Without this callback, the checkpoint's options are used. Schedules continue, scaled to the new rate.
    """

    def __init__(self) -> None:
        self._configured: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._configured = [{**group, "params": None} for group in _param_groups(trainer)]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for group, configured in zip(_param_groups(trainer), self._configured, strict=True):
            scale = group["lr"] / group["initial_lr"] if group.get("initial_lr") else 1.0
            lr = configured.get("initial_lr", configured["lr"]) * scale
            group.update(configured | {"params": group["params"], "lr": lr})
        for config in trainer.lr_scheduler_configs:
            scheduler = config.scheduler
            if hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]


def _param_groups(trainer: pl.Trainer) -> list[dict[str, Any]]:
    return [group for optimizer in trainer.optimizers for group in optimizer.param_groups]


def _optimizers_and_schedulers(trainer: pl.Trainer) -> list[Any]:
    return [*trainer.optimizers, *(config.scheduler for config in trainer.lr_scheduler_configs)]
