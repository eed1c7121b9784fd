"""Callbacks that keep or override the state of optimizers between fits."""

from itertools import zip_longest
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer


class KeepOptimizerState(pl.Callback):
    """Passes the state of optimizers and schedules from one ``fit`` of a model to the next.

    If the model has other ones by then, the state of each parameter that is still trained is kept, and a warning says
    what starts anew.
    """

    def __init__(self) -> None:
        self._model: pl.LightningModule | None = None
        self._optimizers: list[Optimizer] = []
        self._schedulers: list[Any] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if pl_module is not self._model:
            return
        old, new = [*self._optimizers, *self._schedulers], [*trainer.optimizers, *_schedulers(trainer)]
        if list(map(_structure, old)) == list(map(_structure, new)):
            for before, part in zip(old, new, strict=True):
                part.load_state_dict(before.state_dict())
            return
        kept = count = 0
        for before, optimizer in zip_longest(self._optimizers, trainer.optimizers):
            for parameter in _parameters(optimizer) if optimizer else ():
                count += 1
                if type(before) is type(optimizer) and parameter in before.state:
                    optimizer.state[parameter] = before.state[parameter]
                    kept += 1
        changed = "optimizers or schedules have changed since the last fit"
        rank_zero_warn(f"{changed}: kept the state of {kept} of {count} parameters, all else starts anew", stacklevel=2)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._model = pl_module
        self._optimizers, self._schedulers = list(trainer.optimizers), _schedulers(trainer)


def _structure(part: Any) -> Any:
    """What must be equal for the state of one optimizer or schedule to be that of another."""
    groups = [list(map(id, group["params"])) for group in part.param_groups] if isinstance(part, Optimizer) else []
    return type(part), groups


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


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _schedulers(trainer: pl.Trainer) -> list[Any]:
    return [config.scheduler for config in trainer.lr_scheduler_configs]
