"""TensorBoardCallback: what TensorBoard shows of a run besides the values of its epochs and its figures."""

import platform
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightmodels.metrics.history import History, Row, best_epoch
from lightmodels.optim import lr_schedules
from lightmodels.visualization.tensorboard_logger import find_logger, find_writer

LONG_EPOCH = 100  # steps, from which on the loss is also shown within epochs
STEP_INTERVAL = 50  # steps between these losses, each of which waits for the device


class TensorBoardCallback(pl.Callback):
    """Writes chart layout, hyper-parameters and a description of the run to the TensorBoard logger.

    Values of epochs are plotted over epochs, tags ``step/…`` over optimizer steps. Our Trainer adds this
    callback unless its callbacks include one. Without a TensorBoard logger it does nothing.
    """

    runs_every_step = False  # with several steps per execution, it writes at the end of one

    def __init__(self) -> None:
        self._has_layout = False
        self._batches_seen = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._has_layout = False
        if writer := find_writer(trainer):
            writer.add_text("run", describe_run(trainer, pl_module), 0)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches_seen = 0
        self._add_layout(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._batches_seen = self._batches_seen, batch_idx + 1
        if trainer.num_training_batches < LONG_EPOCH or before // STEP_INTERVAL == self._batches_seen // STEP_INTERVAL:
            return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        writer = find_writer(trainer)
        if writer and isinstance(loss, Tensor):
            writer.add_scalar("step/loss", loss.item(), trainer.global_step)
            writer.add_scalar("step/lr", float(lr_schedules.current_lr(trainer)), trainer.global_step)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._add_layout(trainer, pl_module)
        history, logger = getattr(pl_module, "history", None), find_logger(trainer)
        if logger and history:
            data_hparams = getattr(trainer.datamodule, "hparams", {})  # type: ignore[attr-defined]
            values = summary_values(history, best_epoch(trainer, history))
            logger.log_hyperparams(dict(pl_module.hparams) | dict(data_hparams), values, len(history))

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


def describe_run(trainer: pl.Trainer, model: pl.LightningModule) -> str:
    """The command, model, data, devices and versions of a run, as a Markdown table."""
    data = getattr(trainer, "datamodule", None)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    lightning = metadata.version("pytorch-lightning")
    rows = {
        "command": f"`{shlex.join(sys.argv)}`",
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
