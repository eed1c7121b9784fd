"""Runs of commands, in this process or in others, and what they leave."""

import csv
import importlib
import inspect
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from datamodules.housing import HousingDataModule
from datamodules.imdb import IMDBDataModule
from datamodules.mnist import MNISTDataModule
from datamodules.reuters import ReutersDataModule
from helpers.tiny_files import accepted, write_housing, write_imdb, write_mnist, write_reuters
from lightmodels.cli import exit_codes, main
from lightmodels.cli.tasks import TASKS

# Tasks whose data can be downloaded or made; the others need a path.
BUILT_IN = [name for name, task in TASKS.items() if "path" not in inspect.signature(task.data_class).parameters]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def command(capfd, name: str, *argv: object) -> Ended:
    """Runs ``python scripts/<name>.py``, or the console command ``lightmodels``, in this process."""
    capfd.readouterr()
    saved, handler = sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = ["bin/lightmodels" if name == "lightmodels" else f"scripts/{name}.py", *map(str, argv)]
    code = 0
    try:
        if name == "benchmark":
            exit_codes.run(importlib.import_module(name).main)
        elif name == "lightmodels":
            main.main()
        else:
            main.run_command(name)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.argv = saved
        signal.signal(signal.SIGTERM, handler)
    return Ended(code, *capfd.readouterr())


def error_line(ended: Ended, code: int = 2, silent: bool = True) -> str:
    """The one line of error of a command that failed with this code; if ``silent``, it printed nothing else."""
    assert ended.code == code, ended
    assert not (silent and ended.out), ended
    (line,) = ended.err.splitlines()
    return line


def read_json(path: str | Path) -> dict:
    return json.loads(Path(path).read_text())


def read_metrics(run_dir: str | Path) -> dict[str, float]:
    """What metrics.json has, except the seconds, which differ between equal runs."""
    return {name: value for name, value in read_json(Path(run_dir, "metrics.json")).items() if name != "seconds"}


def read_history(run_dir: str | Path) -> list[dict[str, float]]:
    rows = csv.DictReader(Path(run_dir, "history.csv").read_text().splitlines())
    return [{name: float(value) for name, value in row.items()} for row in rows]


def use_tiny_files(patch: pytest.MonkeyPatch, data_dir: str | Path) -> None:
    """Writes tiny files in the true formats of all data sets, which the data modules then accept."""
    write_mnist(data_dir)
    write_reuters(data_dir)
    write_housing(data_dir)
    write_imdb(data_dir)
    for module in (MNISTDataModule, ReutersDataModule, HousingDataModule, IMDBDataModule):
        patch.setattr(module, "files", accepted(module.files, data_dir))


def wait_until(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
