"""EarlyStopping on the metric that decides which checkpoint is best."""

import math

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn

from lightmodels.callbacks.best_and_last import resolve_monitor
from lightmodels.metrics.direction import Mode, require_mode


class EarlyStopping(pl.callbacks.EarlyStopping):
    """Stops training after ``patience`` validations (epochs, for a training metric) without improvement.

    ``monitor`` and ``mode`` are by default those that decide which checkpoint is best. Raises ValueError if
    ``patience`` < 0.
    """

    def __init__(self, monitor: str | None, patience: int, mode: Mode | None = None) -> None:
        if patience < 0:
            raise ValueError(f"patience must not be negative, got {patience}")
        super().__init__(monitor or "", patience=patience)
        self._given_monitor, self._given_mode = monitor, mode

    @property
    def state_key(self) -> str:
        return f"EarlyStopping of {self._given_monitor or 'the best checkpoint'}"  # does not change with the monitor

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.ckpt_path is None:
            self.wait_count = 0  # may be left over from an earlier fit

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._resolve(trainer, pl_module)
        super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._resolve(trainer, pl_module)
        super().on_train_epoch_end(trainer, pl_module)

    def _resolve(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Settles what is monitored, now that the metrics are known."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self.monitor = resolve_monitor(self._given_monitor, trainer)
        self.mode = require_mode(self.monitor, self._given_mode, pl_module)
        if not self.best_score.isfinite():
            self.best_score = torch.tensor(math.inf if self.mode == "min" else -math.inf)
