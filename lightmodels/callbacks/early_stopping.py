"""EarlyStopping on the metric that decides which checkpoint is best."""

import pytorch_lightning as pl

from lightmodels.callbacks.best_and_last import Mode, resolve_monitor


class EarlyStopping(pl.callbacks.EarlyStopping):
    """Stops training after ``patience`` validations (epochs, for a training metric) without improvement.

    ``monitor`` is by default the metric that decides which checkpoint is best. Raises ValueError if ``patience`` < 0.
    """

    def __init__(self, monitor: str | None, patience: int, mode: Mode) -> None:
        if patience < 0:
            raise ValueError(f"patience must not be negative, got {patience}")
        super().__init__(monitor or "", patience=patience, mode=mode)
        self._given_monitor = monitor

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.monitor = resolve_monitor(self._given_monitor, trainer)
        self.wait_count = 0  # may be left over from an earlier fit
