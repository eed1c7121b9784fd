"""What TensorBoard's pages say of a run: its card, and which values share a chart."""

import hashlib
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor


def layout(names: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """Custom scalars: training and validation of each metric in one chart.

    Args:
        names: values of an epoch, such as ``train_loss``, ``val_loss``.
    """
    metrics = dict.fromkeys(
        name.partition("_")[2] for name in sorted(names) if name.startswith(("train_", "val_"))
    )
    charts = {
        metric: ["Multiline", [name for name in (f"train_{metric}", f"val_{metric}") if name in names]]
        for metric in metrics
    }
    return {"training and validation": charts, "pace": {"learning rate": ["Multiline", ["lr"]]}}


def card(trainer: pl.Trainer, model: pl.LightningModule) -> str:
    """The command, versions, devices, model and data of a run, as a Markdown table."""
    data = getattr(trainer, "datamodule", None)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    version = metadata.version("pytorch-lightning")
    rows = {
        "command": f"`{shlex.join(sys.argv)}`",
        "model": f"{type(model).__name__}, {parameters:,} parameters",
        "data": "loaders" if data is None else describe(data),
        "devices": f"{trainer.world_size} x {model.device.type}, {trainer.precision}",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, Lightning {version}",
    }
    lines = [f"| {name} | {value.replace('|', '/')} |" for name, value in rows.items()]
    return "\n".join(["| run | |", "|---|---|", *lines])


def describe(data: Any) -> str:
    """A data module's name, its rows and a fingerprint of them."""
    splits: Any = getattr(data, "splits", None)
    if not hasattr(splits, "_asdict"):  # a data module of another kind
        return type(data).__name__
    rows = ", ".join(f"{len(part[0]):,} {name}" for name, part in splits._asdict().items() if part)
    return f"{type(data).__name__}, rows: {rows}; fingerprint {fingerprint(splits)}"


def fingerprint(splits: Sequence[Sequence[Tensor]]) -> str:
    """16 hexadecimal digits (BLAKE2b) of all tensors; other data have another fingerprint."""
    digest = hashlib.blake2b(digest_size=8)
    for part in splits:
        for tensor in part:
            digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().cpu().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
