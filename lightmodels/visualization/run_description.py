"""A run in one table: command, model, data, devices and versions."""

import platform
import shlex
import sys
from importlib import metadata
from typing import Any

import pytorch_lightning as pl
import torch


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
