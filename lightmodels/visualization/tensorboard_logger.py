"""EpochLogger: a TensorBoard logger whose x-axis is epochs."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger


class EpochLogger(TensorBoardLogger):
    """Logs test and validation values at the number of epochs trained; Lightning logs them at the step."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = dict(metrics)
        if "epoch" in values and all(name.startswith(("test_", "val_", "epoch")) for name in values):
            step = int(values.pop("epoch"))
        super().log_metrics(values, step)


def find_logger(trainer: pl.Trainer) -> TensorBoardLogger | None:
    """The trainer's first TensorBoard logger; None without one, and on all processes but the first."""
    found = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return found[0] if found and trainer.is_global_zero else None


def find_writer(trainer: pl.Trainer) -> Any:
    """The ``SummaryWriter`` of ``find_logger``; None without a logger."""
    logger = find_logger(trainer)
    return logger and logger.experiment
