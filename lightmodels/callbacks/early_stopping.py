"""Patience: early stopping on the value that decides which checkpoint is best."""

import pytorch_lightning as pl

from lightmodels.callbacks.best_and_last import Mode, resolve_monitor


class EarlyStopping(pl.callbacks.EarlyStopping):
    """Stops when the monitored value has had no new best for some epochs.

    Args:
        monitor: the value; by default the one that decides which checkpoint is best.
        patience: validations, or epochs, to wait for a new best.
        mode: whether the least or the greatest value is best.

    Raises:
        ValueError: a negative ``patience``.
    """

    def __init__(self, monitor: str | None, patience: int, mode: Mode) -> None:
        if patience < 0:
            raise ValueError(f"patience must not be negative, got {patience}")
        super().__init__(monitor or "", patience=patience, mode=mode)
        self._chosen = monitor

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.monitor = resolve_monitor(self._chosen, trainer)
        self.wait_count = 0  # of an earlier fit
