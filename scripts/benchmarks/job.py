"""Job: what a worker process is told to train. Imports nothing but the standard library."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parents[1]


class BenchmarkError(Exception):
    """A process that failed, or loops that do not reach the same loss; one line that says which."""


@dataclass
class Job:
    """One contender on one task.

    Attributes:
        task: name of the task.
        module: the module whose ``train`` is the contender's loop.
        data_dir: where the data files are.
        gpus: 1 for a GPU, 0 for the CPU.
        flags: further flags of train.py, if that is the loop.
        tensors: file of the task's ``Plain``, if the loop is one that takes it.
        repeat: how often the training rows are there, one after the other.
    """

    task: str
    module: str
    data_dir: str
    gpus: int = 0
    flags: tuple[str, ...] = ()
    tensors: str = ""
    repeat: int = 1

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def argv(self) -> list[str]:
        """The flags of train.py."""
        where = ["--data_dir", self.data_dir, "--gpus", str(self.gpus)]
        return ["--task", self.task, *where, *self.flags]


def python(*arguments: str) -> list[str]:
    """The command of a Python process that finds the modules of ``scripts``, given ``environment()``."""
    return [sys.executable, *arguments]


def environment() -> dict[str, str]:
    path = [str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "TERM": os.environ.get("TERM", "xterm")}
