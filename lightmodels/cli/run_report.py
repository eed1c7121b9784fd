"""What a training run prints, and the files besides its checkpoints that it leaves."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from lightmodels import LightModel, Trainer
from lightmodels.cli.exit_codes import OutputError
from lightmodels.data.tensor_datamodule import TensorDataModule


def headline(task: str, model: LightModel, data: TensorDataModule, trainer: Trainer) -> str:
    rows = {name: len(tensors[0]) for name, tensors in data.splits._asdict().items()}
    counts = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    device = f"{trainer.world_size} x {trainer.strategy.root_device.type}"
    return (
        f"{task}: {type(model).__name__}, {count_parameters(model):,} parameters; rows: {counts}; on {device}"
    )


def count_parameters(model: LightModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def metrics(trainer: Trainer, model: LightModel, seed: int, tested: dict[str, float]) -> dict[str, Any]:
    """What metrics.json holds."""
    last = model.history[-1]
    values = {name: last[name] for name in last if name.startswith(("train_", "val_"))}
    return {
        "epochs": len(model.history),
        "seconds": sum(model.history["seconds"]),
        **values,
        **tested,
        "best_epoch": trainer.best_epoch,
        "parameters": count_parameters(model),
        "seed": seed,
        "devices": trainer.world_size,
        "torch": torch.__version__,
        "lightning": pl.__version__,
    }


def write_metrics(run_dir: Path, values: dict[str, Any]) -> None:
    """Writes metrics.json; a result that is not finite is no result."""
    odd = [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
    if odd:
        raise FloatingPointError(f"{', '.join(odd)} not finite after training")
    with writing(run_dir):
        (run_dir / "metrics.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def write_history(run_dir: Path, model: LightModel) -> None:
    """Writes history.csv."""
    with writing(run_dir):
        model.history.to_csv(run_dir / "history.csv")


@contextmanager
def writing(run_dir: Path) -> Iterator[None]:
    """Makes an error of the disk an OutputError, which names the run directory."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{run_dir}: cannot be written to ({error.strerror})") from error


def ending(trainer: Trainer, tested: dict[str, float], epochs: int) -> str:
    values = "  ".join(f"{name} {value:.4f}" for name, value in tested.items())
    tested_epoch = f"best epoch {trainer.best_epoch}" if trainer.best_epoch else f"last epoch {epochs}"
    return "\n".join(
        [
            f"{tested_epoch} of {epochs}: {values}",
            f"{trainer.run_dir}: metrics.json, history.csv, config.yaml, checkpoints, figures",
            f"tensorboard --logdir {trainer.run_dir}",
        ]
    )
