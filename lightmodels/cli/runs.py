"""Lists the runs in a directory: lightmodels runs; PyTorch is not imported."""

import csv
import json
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lightmodels.cli import config_files
from lightmodels.cli.exit_codes import UsageError
from lightmodels.trainer.run_directory import RunDirectoryError, RunLock
from lightmodels.utils.console import printable

TIME = "%Y-%m-%d %H:%M"


class Run(NamedTuple):
    """What the files of a run directory say."""

    path: Path
    config: dict[str, Any]  # config.yaml
    metrics: dict[str, Any]  # metrics.json; empty unless the run has ended
    rows: list[dict[str, str]]  # history.csv

    @property
    def state(self) -> str:
        """``finished``, ``running``, ``resumable`` or ``failed``."""
        if self.metrics:
            return "finished"
        try:
            RunLock(self.path).release()
        except RunDirectoryError:
            return "running"
        return "resumable" if (self.path / "checkpoints" / "last.ckpt").is_file() else "failed"

    @property
    def best(self) -> str:
        """The monitored metric at the best epoch, and the test metrics."""
        monitor = (self.config.get("trainer") or {}).get("monitor") or "val_loss"
        epoch = self.metrics.get("best_epoch")
        row: Mapping[str, Any] = next((row for row in self.rows if row.get("epoch") == str(epoch)), {})
        values = {name: float(row[name]) for name in [monitor] if row.get(name)}
        values |= {name: value for name, value in self.metrics.items() if name.startswith("test_")}
        return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


def main(options: Namespace) -> None:
    """Prints a table of the runs, the newest last."""
    root = Path(options.directory)
    if not root.is_dir():
        raise UsageError(f"{root}: no such directory")
    if not (runs := sorted(find_runs(root), key=lambda run: (run.path / "config.yaml").stat().st_mtime)):
        raise UsageError(f"{root}: holds no runs (directories with a config.yaml)")
    lines = [["run", "task", "epochs", "started", "state", "metrics"]]
    for run in runs:
        started = datetime.fromtimestamp((run.path / "config.yaml").stat().st_mtime).strftime(TIME)
        epochs = str(run.metrics.get("epochs", len(run.rows) or ""))
        lines.append([str(run.path), str(run.config.get("task", "")), epochs, started, run.state, run.best])
    print_table(lines)


def find_runs(root: Path) -> Iterator[Run]:
    """The runs in a directory, at any depth; those within a run's directory are not looked for."""
    for path in [root] if (root / "config.yaml").is_file() else sorted(root.iterdir()):
        if (path / "trials").is_dir():  # a study of tune, whose configuration is that of its best trial
            continue
        if (path / "config.yaml").is_file():
            yield read_run(path)
        elif path.is_dir() and not path.is_symlink():
            yield from find_runs(path)


def read_run(path: Path) -> Run:
    """The files of a run; UsageError names one that is missing or damaged."""
    if not (path / "config.yaml").is_file():
        raise UsageError(f"{path}: not a run directory (no config.yaml)")
    try:
        config = config_files.load((path / "config.yaml").read_text(encoding="utf-8"))
        metrics = path / "metrics.json"
        values = json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {}
        history = path / "history.csv"
        text = history.read_text(encoding="utf-8") if history.is_file() else ""
        rows = list(csv.DictReader(text.splitlines()))
    except (OSError, ValueError, yaml.YAMLError, csv.Error) as error:
        raise UsageError(f"{path}: a damaged run ({type(error).__name__}: {' '.join(str(error).split())})") from error
    if not isinstance(config, dict) or not isinstance(values, dict):
        raise UsageError(f"{path}: a damaged run (config.yaml or metrics.json holds no names)")
    return Run(path, config, values, rows)


def print_table(lines: Sequence[Sequence[str]]) -> None:
    """Prints rows of cells in aligned columns."""
    cells = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(map(str.ljust, line, widths)).rstrip())
