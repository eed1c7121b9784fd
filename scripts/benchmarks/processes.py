"""The measured processes: what starts them and, as ``python -m benchmarks.processes``, what they run."""

import importlib
import json
import os
import pty
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import perf_counter

from benchmarks.contenders import TRAIN_COMMAND, BenchmarkError, Results

TRAIN = [sys.executable, "-m", "train"]
WORKER = [sys.executable, "-m", "benchmarks.processes"]
PHASES = [sys.executable, "-m", "benchmarks.phases"]


def interleave(commands: dict[str, list[str]], rounds: int, warm_up: int = 0, prefix: str = "") -> Results:
    """Measures named commands in turn, beginning with another one in each round, after ``warm_up`` rounds."""
    names = list(commands)
    results: Results = {name: {} for name in names}
    try:
        for number in range(-warm_up, rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                show_progress(f"{prefix}{name}, round {number + 1} of {rounds}" if number >= 0 else f"{prefix}warm-up")
                for key, value in measure(f"{prefix}{name}", commands[name]).items():
                    if number >= 0:
                        results[name].setdefault(key, []).append(value)
    finally:
        show_progress("")
    return results


def show_progress(text: str) -> None:
    """Replaces the last line of a terminal, as a part can take half an hour."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def measure(name: str, command: Sequence[str]) -> dict[str, float]:
    """The ``seconds`` of a process from its start to its end, and what ``train`` measured in it.

    It has an empty directory, and a terminal, so that progress bars are drawn as for a user. Raises a
    BenchmarkError if it fails.
    """
    reader, terminal = pty.openpty()
    Thread(target=discard_output, args=(reader,), daemon=True).start()
    paths = [str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    python_path = os.pathsep.join(str(Path(path).absolute()) for path in paths if path)
    environment = {"TERM": "xterm", **os.environ, "PYTHONPATH": python_path}
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile("w+") as errors:
        streams = {"stdin": subprocess.DEVNULL, "stdout": terminal, "stderr": errors}
        start = perf_counter()
        done = subprocess.run(command, cwd=directory, env=environment, **streams)
        seconds = perf_counter() - start
        os.close(terminal)
        if done.returncode:
            errors.seek(0)
            lines = [f"exit code {done.returncode}", *errors.read().strip().splitlines()]
            raise BenchmarkError(f"{name}: {lines[-1]}")
        result = Path(directory, "result.json")
        return {"seconds": seconds} | (json.loads(result.read_text()) if result.exists() else {})


def discard_output(terminal: int) -> None:
    with suppress(OSError), open(terminal, "rb", buffering=0) as output:  # until its writers have ended
        while output.read(65_536):
            pass


def train(loop: str, *source: str) -> None:
    """Trains with a loop; writes ``result.json`` and, unless it is ``train.py``, the weights.

    The loop, ``module:function``, takes the flags of ``train.py`` if it is ``TRAIN_COMMAND``, else the
    ``PlainTask`` in a file. It returns ``Marks`` and the last validation loss. Its first epoch warms up.
    """
    import torch

    module, _, function = loop.partition(":")
    run = getattr(importlib.import_module(module), function)
    if loop == TRAIN_COMMAND:
        marks, loss = run(source)
    else:
        task = torch.load(source[0], weights_only=False)  # which benchmark.py has just written
        marks, loss = run(task)
        torch.save(task.net.state_dict(), "weights.pt")
    result = {"epoch_seconds": (marks[-1] - marks[1]) / max(1, len(marks) - 2), "val_loss": loss}
    status = Path("/proc/self/status")  # of Linux, where ``ru_maxrss`` is at least that of the parent process
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            result["peak_mib"] = int(line.split()[1]) / 1024
    Path("result.json").write_text(json.dumps(result))


def first_step(module: str, *argv: str) -> None:
    """Runs a program up to its first optimizer step."""
    sys.argv = [module, *argv]
    importlib.import_module(module)  # imports PyTorch in its own way
    del sys.modules[module]
    from torch.optim.optimizer import register_optimizer_step_post_hook

    register_optimizer_step_post_hook(lambda *_: os._exit(0))
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit("no optimizer step was made")


if __name__ == "__main__":
    {"train": train, "first_step": first_step}[sys.argv[1]](*sys.argv[2:])
