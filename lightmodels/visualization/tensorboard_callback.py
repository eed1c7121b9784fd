"""TensorBoardCallback: what loggers get of a run besides the values of its epochs and its figures."""

import platform
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from lightmodels.core.summary import count_parameters
from lightmodels.metrics.history import History, Row, best_epoch
from lightmodels.optim import lr_schedules
from lightmodels.visualization.git_state import GitState
from lightmodels.visualization.loggers import find_logger, find_writer, summarized

LONG_EPOCH = 100  # steps, from which on the loss is also shown within epochs
STEP_INTERVAL = 50  # steps between these losses, each of which waits for the device


class TensorBoardCallback(pl.Callback):
    """Logs the values of long epochs' steps, and the best and final values of the run, with the Trainer's loggers.

    A TensorBoard logger also gets a chart layout, hyper-parameters and a description of the run. Values of epochs are
    plotted over epochs, tags ``step/…`` over optimizer steps. Our Trainer adds this callback unless its callbacks
    include one.
    """

    runs_every_step = False  # with several steps per execution, it writes at the end of one

    def __init__(self) -> None:
        self._has_layout = False
        self._batches_seen = 0
        self._git: GitState | None = None  # until the description of the run is written

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and find_logger(trainer):
            self._git = GitState()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._has_layout = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches_seen = 0
        self._add_layout(trainer, pl_module)
        if self._git and self._git.is_known:
            self._add_description(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._batches_seen = self._batches_seen, batch_idx + 1
        if trainer.num_training_batches < LONG_EPOCH or before // STEP_INTERVAL == self._batches_seen // STEP_INTERVAL:
            return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if trainer.loggers and trainer.is_global_zero and isinstance(loss, Tensor):
            values = {"step/loss": loss.item(), "step/lr": float(lr_schedules.current_lr(trainer))}
            for logger in summarized(trainer):
                logger.log_metrics(values, trainer.global_step)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._add_layout(trainer, pl_module)
        self._add_description(trainer, pl_module)
        history = getattr(pl_module, "history", None)
        if not history:
            return
        values = summary_values(history, best_epoch(trainer, history))
        for logger in summarized(trainer):
            if isinstance(logger, TensorBoardLogger):
                data_hparams = getattr(trainer.datamodule, "hparams", {})  # type: ignore[attr-defined]
                logger.log_hyperparams(dict(pl_module.hparams) | dict(data_hparams), values, len(history))
            else:
                logger.log_metrics(values, len(history))

    def on_exception(self, *_: Any) -> None:
        if self._git:
            self._git.describe()  # waits for git, and closes its pipe
        self._git = None

    def _add_description(self, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        writer, git = find_writer(trainer), self._git
        self._git = None
        if writer and git:
            writer.add_text("run", describe_run(trainer, model, git.describe()), 0)

    def _add_layout(self, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        history, writer = getattr(model, "history", None), find_writer(trainer)
        if writer and history and not self._has_layout:  # the first epoch's row has the names
            self._has_layout = True
            writer.add_custom_scalars(chart_layout(history.columns))


def chart_layout(names: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """Custom scalars: one chart for ``train_loss`` and ``val_loss``, and so on for all names."""
    metrics = sorted({name.partition("_")[2] for name in names if name.startswith(("train_", "val_"))})
    tags = {metric: [f"{stage}_{metric}" for stage in ("train", "val")] for metric in metrics}
    charts = {metric: ["Multiline", [tag for tag in tags[metric] if tag in names]] for metric in metrics}
    return {"training and validation": charts, "optimizer": {"learning rate": ["Multiline", ["lr"]]}}


def summary_values(history: History, best_epoch: int) -> dict[str, float]:
    """The best and the last epoch's values, named ``summary/best_val_loss``, ``summary/final_val_loss``, …"""
    best: Row = next((row for row in history if row["epoch"] == best_epoch), {})
    return {
        f"summary/{kind}_{name}": value
        for kind, row in (("best", best), ("final", history[-1]))
        for name, value in row.items()
        if name.startswith(("train_", "val_"))
    }


def describe_run(trainer: pl.Trainer, model: pl.LightningModule, commit: str | None) -> str:
    """The command, git commit, model, data, devices and versions of a run, as a Markdown table."""
    data = getattr(trainer, "datamodule", None)
    parameters = count_parameters(model)
    lightning = metadata.version("pytorch-lightning")
    rows = {
        "command": f"`{shlex.join(sys.argv)}`",
        **({"git commit": commit} if commit else {}),
        "model": f"{type(model).__name__}, {parameters:,} parameters",
        "data": "loaders" if data is None else describe_data(data),
        "devices": f"{trainer.world_size} x {model.device.type}, {trainer.precision}",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, Lightning {lightning}",
    }
    lines = [f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items()]
    return "\n".join(["| run | |", "|---|---|", *lines])


def describe_data(data: Any) -> str:
    """The name of a data module, and its numbers of rows if it has tensors."""
    splits: Any = getattr(data, "splits", None)
    if not hasattr(splits, "_asdict"):  # not a TensorDataModule
        return type(data).__name__
    rows = ", ".join(f"{len(part[0]):,} {name}" for name, part in splits._asdict().items() if part)
    return f"{type(data).__name__}, rows: {rows}"
