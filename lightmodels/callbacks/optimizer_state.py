"""CarryOn lets a second fit train on; ConfiguredOptimizer changes a resumed one."""

from typing import Any

import pytorch_lightning as pl


class CarryOn(pl.Callback):
    """Hands optimizers and schedulers from one ``fit`` of a model to the next, so that it trains on."""

    def __init__(self) -> None:
        self._model: pl.LightningModule | None = None
        self._states: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if pl_module is self._model:
            for part, state in zip(_optimization(trainer), self._states, strict=True):
                part.load_state_dict(state)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._model = pl_module
        self._states = [part.state_dict() for part in _optimization(trainer)]


class ConfiguredOptimizer(pl.Callback):
    """Keeps the options that ``configure_optimizers`` gave, where a resumed checkpoint has others.

    A schedule goes on where it was, with its rates in proportion to the new one. Add it to the
    callbacks to resume with another rate, weight decay and so on: without it the checkpoint's win.
    """

    def __init__(self) -> None:
        self._configured: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._configured = [
            {name: value for name, value in group.items() if name != "params"} for group in _groups(trainer)
        ]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for group, configured in zip(_groups(trainer), self._configured, strict=True):
            new = configured.get("initial_lr", configured["lr"])
            scheduled = group["lr"] / group["initial_lr"] if group.get("initial_lr") else 1.0
            group.update(configured | {"lr": new * scheduled})
        for config in trainer.lr_scheduler_configs:
            scheduler = config.scheduler
            if hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]


def _groups(trainer: pl.Trainer) -> list[dict[str, Any]]:
    return [group for optimizer in trainer.optimizers for group in optimizer.param_groups]


def _optimization(trainer: pl.Trainer) -> list[Any]:
    return [*trainer.optimizers, *(config.scheduler for config in trainer.lr_scheduler_configs)]
