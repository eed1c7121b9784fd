"""Whole processes, by the clock on the wall: start-up, and complete jobs."""

import subprocess
import tempfile
from pathlib import Path
from time import perf_counter

from benchmarks.contenders import LOOPS, OURS, TWO, job, module_of
from benchmarks.job import SCRIPTS, BenchmarkError, environment, python
from benchmarks.rounds import rotated
from benchmarks.workers import last_line

TRAIN = str(SCRIPTS / "train.py")
HELP = f"""
import os, runpy, sys
sys.argv = ["train.py", "--help"]
try:
    runpy.run_path({TRAIN!r}, run_name="__main__")
except SystemExit as end:
    os._exit(end.code or 0)
"""
RUN_DIR = "RUN_DIR"  # in a command stands for a directory that is new each time


def start_ups(task: str, data_dir: str, gpus: int, tensors: str) -> dict[str, list[str]]:
    """Commands to the first optimizer step of a task."""
    first = python("-m", "benchmarks.first_step")
    argv = job(OURS, task, data_dir, gpus, "").argv
    return {
        f"{task}: train.py to its first step": [*first, "train", *argv, "--run_dir", RUN_DIR],
        f"{task}: plain script to its first step": [
            *first,
            "benchmarks.script",
            LOOPS["floor"],
            tensors,
            "1",
        ],
    }


def imports() -> dict[str, list[str]]:
    """Commands that only import, or only help; like those to a first step, they do not tidy up."""
    modules = ("torch", "pytorch_lightning", "lightmodels")
    found = {f"import {name}": python("-c", f"import {name}, os; os._exit(0)") for name in modules}
    return found | {"train.py --help": python("-c", HELP)}


def jobs(
    contenders: list[str], task: str, data_dir: str, gpus: int, tensors: str, epochs: int
) -> dict[str, list[str]]:
    """Commands that train, and leave the weights in a file."""
    commands = {}
    for name in contenders:
        if module_of(name) == LOOPS[OURS]:
            argv = [*job(name, task, data_dir, gpus, "").argv, "--max_epochs", str(epochs)]
            commands[name] = python(TRAIN, *argv, "--run_dir", RUN_DIR)
        else:
            commands[name] = python("-m", "benchmarks.script", module_of(name), tensors, str(epochs))
    return commands


def one_or_two(task: str, data_dir: str, epochs: int) -> dict[str, list[str]]:
    """Commands that train on the CPU in one process of all threads, and in two that share them."""
    argv = ["--task", task, "--data_dir", data_dir, "--max_epochs", str(epochs), "--run_dir", RUN_DIR]
    return {
        "one process": python(TRAIN, *argv, "--gpus", "0"),
        "two processes": python(TRAIN, *argv, *TWO),
    }


def run(commands: dict[str, list[str]], count: int, warm_up: bool = True) -> dict[str, list[float]]:
    """Seconds of each command in each of ``count`` interleaved rounds.

    Raises:
        BenchmarkError: a command has failed.
    """
    names = list(commands)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warm_up, count):
        for name in rotated(names, number):
            took = timed(name, commands[name])
            if number >= 0:
                seconds[name].append(took)
    return seconds


def timed(name: str, command: list[str]) -> float:
    """Seconds from the start of a process to its end."""
    with tempfile.TemporaryDirectory() as directory:
        run_dir = str(Path(directory, "run"))
        arguments = [run_dir if argument == RUN_DIR else argument for argument in command]
        start = perf_counter()
        done = subprocess.run(arguments, env=environment(), capture_output=True, text=True)
        seconds = perf_counter() - start
    if done.returncode:
        raise BenchmarkError(f"{name}: {last_line(done.stderr)}")
    return seconds
