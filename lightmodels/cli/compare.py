"""Compares runs: lightmodels compare runs/ring/1 runs/ring/2; PyTorch is not imported."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from lightmodels.cli.exit_codes import UsageError
from lightmodels.cli.runs import Run, print_table, read_run

FIGURES = ("epochs", "best_epoch", "seconds", "parameters")


def main(options: Namespace) -> None:
    """Prints a table of the settings that differ, and of the metrics, a column for each run."""
    if len(options.runs) < 2:
        raise UsageError("at least two run directories are needed")
    runs = [read_run(Path(path)) for path in options.runs]
    settings = [flatten(run.config) for run in runs]
    names = sorted({name for each in settings for name in each})
    lines = [["", *(str(run.path) for run in runs)]]
    for name in names:
        values = [shown(each.get(name)) for each in settings]
        if len(set(values)) > 1:
            lines.append([f"--{name}", *values])
    lines += [[name, *(shown(run.metrics.get(name)) for run in runs)] for name in metric_names(runs)]
    print_table(lines)


def metric_names(runs: list[Run]) -> list[str]:
    """The figures of finished runs, each once, in the order of ``metrics.json``."""
    names = dict.fromkeys(name for run in runs for name in run.metrics)
    return [name for name in names if name in FIGURES or name.startswith(("train_", "val_", "test_"))]


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options by the names of their flags.

    Examples:
        >>> flatten({"seed": 1, "model": {"lr": 0.1}})
        {'seed': 1, 'model.lr': 0.1}
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def shown(value: Any) -> str:
    """A cell of the table; empty without a value."""
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
