"""The loggers that a Trainer creates: Lightning's, with epochs as steps."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities import rank_zero_only

from lightmodels.utils import distributed
from lightmodels.visualization import LOGGERS

PROJECT = "lightmodels"  # of Weights & Biases, and the experiment of MLflow
TRACKING_URI = os.environ.get("MLFLOW_TRACKING_URI")  # read once, as MLflow itself sets it to that of each logger


class EpochSteps:
    """Logs test and validation values at the number of epochs trained; Lightning logs them at the optimizer step."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        values = dict(metrics)
        if "epoch" in values and all(name.startswith(("test_", "val_", "epoch")) for name in values):
            step = int(values.pop("epoch"))
        super().log_metrics(values, step)  # type: ignore[misc]


class OneEventLogger(TensorBoardLogger):
    """Writes all numbers of a step as one event; Lightning's writes one for each."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        writer = self.experiment.file_writer
        if writer is None or not all(isinstance(value, (int, float)) for value in metrics.values()):
            super().log_metrics(metrics, step)
            return
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]

        writer.add_summary(
            Summary(value=[{"tag": name, "simple_value": value} for name, value in metrics.items()]), step
        )


class EpochTensorBoardLogger(EpochSteps, OneEventLogger):
    pass


class EpochCSVLogger(EpochSteps, CSVLogger):
    pass


class EpochWandbLogger(EpochSteps, WandbLogger):
    pass


class EpochMLFlowLogger(EpochSteps, MLFlowLogger):
    pass


def logger_name(options: Mapping[str, Any]) -> str | None:
    """The name of the logger that a Trainer with these options creates; None if it creates none.

    Raises:
        ValueError: an unknown name, or one whose package is not installed.
    """
    logger = options.get("logger")
    name = "tensorboard" if logger in (None, True) else logger
    if not isinstance(name, str):
        return None
    if name not in LOGGERS:
        raise ValueError(f"logger must be one of {', '.join(LOGGERS)}, got {name!r}")
    if name in ("wandb", "mlflow") and find_spec(name) is None:
        raise ValueError(f"logger {name} needs a package that is not installed: pip install {name}")
    return None if options.get("fast_dev_run") else name


def make_logger(name: str, run_dir: Path) -> Logger | None:
    """A logger that writes to the run directory; None, and a message, without tensorboard.

    Weights & Biases and MLflow heed their environment variables, such as ``WANDB_MODE`` and ``MLFLOW_TRACKING_URI``.
    """
    if name == "csv":
        return EpochCSVLogger(run_dir, name="csv", flush_logs_every_n_steps=1)
    if name == "wandb":
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        return EpochWandbLogger(name=str(run_dir), save_dir=run_dir, project=project)
    if name == "mlflow":
        if distributed.rank() > 0:  # it would create a database
            return DummyLogger()
        return EpochMLFlowLogger(PROJECT, str(run_dir), TRACKING_URI or f"sqlite:///{run_dir.absolute()}/mlflow.db")
    if find_spec("tensorboard") is None:
        if distributed.rank() == 0:
            print("no event files: tensorboard is not installed", flush=True)
        return None
    return EpochTensorBoardLogger(run_dir, name="", version="", default_hp_metric=False)


def end_run(trainer: pl.Trainer) -> None:
    """Ends the run of Weights & Biases, which otherwise the next trainer of this process continues."""
    for logger in trainer.loggers:
        if isinstance(logger, EpochWandbLogger) and trainer.is_global_zero:
            logger.experiment.finish()


def summarized(trainer: pl.Trainer) -> list[Logger]:
    """The loggers that get more than Lightning logs: TensorBoard's, and those that a Trainer has created."""
    return [logger for logger in trainer.loggers if isinstance(logger, (TensorBoardLogger, EpochSteps))]


def find_logger(trainer: pl.Trainer) -> TensorBoardLogger | None:
    """The trainer's first TensorBoard logger; None without one, and on all processes but the first."""
    found = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return found[0] if found and trainer.is_global_zero else None


def find_writer(trainer: pl.Trainer) -> Any:
    """The ``SummaryWriter`` of ``find_logger``; None without a logger."""
    logger = find_logger(trainer)
    return logger and logger.experiment
