"""What a training run prints, and the files that it writes besides its checkpoints."""

import json
import math
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from pytorch_lightning.__version__ import version as lightning_version

from lightmodels import LightModel, Trainer
from lightmodels.cli.exit_codes import OutputError, command_name
from lightmodels.core.summary import count_parameters
from lightmodels.data.tensor_datamodule import TensorDataModule
from lightmodels.metrics.report import Report, evaluation_report
from lightmodels.trainer.run_directory import next_directory
from lightmodels.utils import console
from lightmodels.utils.atomic_file import replace_file, write_file
from lightmodels.visualization.loggers import TRACKING_URI, find_writer

FILES = ("metrics.json", "history.csv", "config.yaml", "checkpoints", "figures")  # of a run


def headline(task: str, model: LightModel, trainer: Trainer, data: TensorDataModule | None) -> str:
    """The first line of a run; without the numbers of rows if ``data`` is None."""
    splits = {} if data is None else data.splits._asdict()
    rows = ", ".join(f"{len(tensors[0]):,} {split}" for split, tensors in splits.items()) or "not known yet"
    device = f"{trainer.world_size} x {trainer.strategy.root_device.type}"
    return f"{task}: {type(model).__name__}, {count_parameters(model):,} parameters; rows: {rows}; on {device}"


def plan(
    trainer: Trainer, model: LightModel, data: TensorDataModule, options: Namespace, missing: Sequence[str]
) -> str:
    """What ``--dry_run`` shows: the headline, files to download, batches per epoch, and where the run would go."""
    lines = [headline(options.task, model, trainer, None if missing else data)]
    if missing:
        lines.append(f"{options.max_epochs} epochs; to download: {', '.join(missing)}")
    else:
        batches, limit = len(data.train_dataloader()), trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        lines.append(f"{options.max_epochs} epochs of {batches:,} batches of up to {data.batch_size:,} rows")
    more = f", for {options.seeds} seeds" if options.seeds else f", resumes {options.resume}" if options.resume else ""
    run_dir = options.run_dir or str(next_directory(Path("runs", options.task)))
    return "\n".join([*lines, console.printable(f"run directory: {run_dir}{more}")])


def report_on_test(trainer: Trainer, model: LightModel, data: TensorDataModule, ckpt_path: str | None) -> Report | None:
    """The report on the predictions for the test set, written to TensorBoard too; None if there is none for such data.

    Every process must call it.
    """
    outputs = trainer.predict(model, datamodule=data, ckpt_path=ckpt_path)
    if not isinstance(outputs, torch.Tensor):
        return None
    info = model.data_info
    is_regression = bool(info) and "classes" not in info
    report = evaluation_report(data.splits.test[1], outputs, info.get("classes", ()), is_regression)
    if report and (writer := find_writer(trainer)):
        writer.add_text("texts/test_report", report.markdown(), 0)
        writer.close()  # which ends its thread
    return report


def collect_metrics(
    trainer: Trainer, model: LightModel, seed: int, tested: dict[str, float], report: Report | None
) -> dict[str, Any]:
    """The content of metrics.json."""
    last = model.history[-1]
    values = {name: last[name] for name in last if name.startswith(("train_", "val_"))}
    return {
        "epochs": len(model.history),
        "seconds": sum(model.history["seconds"]),
        **values,
        **tested,
        **({} if report is None else {"report": report.values}),
        "best_epoch": trainer.best_epoch,
        "parameters": count_parameters(model),
        "seed": seed,
        "devices": trainer.world_size,
        "torch": torch.__version__,
        "lightning": lightning_version,
    }


def write_metrics(run_dir: Path, values: dict[str, Any]) -> None:
    """Writes metrics.json; raises FloatingPointError if a value is not finite."""
    bad = [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
    if bad:
        raise FloatingPointError(f"{', '.join(bad)} not finite after training")
    with write_errors(run_dir):
        write_file(run_dir / "metrics.json", json.dumps(values, indent=2) + "\n")


def write_history(run_dir: Path, model: LightModel) -> None:
    """Writes history.csv."""
    with write_errors(run_dir), replace_file(run_dir / "history.csv") as temporary:
        model.history.to_csv(temporary)


@contextmanager
def write_errors(run_dir: Path) -> Iterator[None]:
    """Turns an OSError into an OutputError that names the run directory."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{run_dir}: cannot be written to ({error.strerror})") from error


def next_commands(run_dir: str, train: str, logger: str) -> list[str]:
    """Commands to copy, called as ``train`` was; those of checkpoints only if the run has them."""
    checkpoint = f"{run_dir}/checkpoints/best.ckpt"
    commands = view_commands(run_dir, logger)
    if not Path(checkpoint).is_file():
        return commands
    evaluate, predict = (
        f"lightmodels {name}" if train.startswith("lightmodels") else f"python scripts/{name}.py"
        for name in ("evaluate", "predict")
    )
    ckpt = f"--ckpt {shlex.quote(checkpoint)}"
    return [f"{evaluate} {ckpt}", f"{predict} {ckpt} INPUT", *commands]


def view_commands(run_dir: str, logger: str) -> list[str]:
    """The command that shows what a logger has written to a directory, if there is one."""
    if logger == "tensorboard":
        return [f"tensorboard --logdir {shlex.quote(run_dir)}"]
    if logger == "mlflow" and not TRACKING_URI:
        return [f"mlflow ui --backend-store-uri {shlex.quote(f'sqlite:///{run_dir}/mlflow.db')}"]
    return []  # Weights & Biases prints its own


def format_results(trainer: Trainer, tested: dict[str, float], epochs: int, report: Report | None, logger: str) -> str:
    """The last lines of a run: test results and the report on them, run directory, what to do with it."""
    best, run_dir = trainer.best_epoch, console.printable(str(trainer.run_dir))
    files = [name for name in FILES if Path(str(trainer.run_dir), name).exists()]
    values = "  ".join(f"{name} {value:.4f}" for name, value in tested.items())
    lines = [
        f"{f'best epoch {best}' if best else f'last epoch {epochs}'} of {epochs}: {values}",
        *([] if report is None else report.lines()),
        f"{run_dir}: {', '.join(files)}",
        *next_commands(run_dir, command_name(), logger),
    ]
    return "\n".join(lines)
