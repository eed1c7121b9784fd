"""Times lightmodels against a bare loop: python scripts/benchmark.py --rounds 5 --json figures.json"""

import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from benchmarks import contenders, report
from benchmarks.contenders import (
    BARE_IMPORT,
    CONTENDERS,
    DEFAULT,
    FLOOR,
    PREDICT,
    TRAIN_COMMAND,
    BenchmarkError,
    Results,
)
from benchmarks.lightning_loops import make_plain_task
from benchmarks.processes import PHASES, TRAIN, WORKER, interleave, measure

from lightmodels.cli.exit_codes import OutputError, Parser, UsageError, run
from lightmodels.cli.tasks import TASKS


def main(argv: Sequence[str]) -> None:
    """Prints and saves the figures of each part as soon as they are there: the next part may fail."""
    options = parse(argv)
    machine = report.describe_machine(options.gpus, options.packages)
    figures: dict[str, Any] = {"machine": machine, "rounds": options.rounds}
    print("; ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"Medians (minimum to maximum) of {options.rounds} or more interleaved rounds", flush=True)
    with tempfile.TemporaryDirectory() as options.directory:
        for part in options.parts:
            try:
                figures[part] = PARTS[part](options)
                print(f"\n{report.section(part, figures)}", flush=True)
                if options.json:
                    Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
            except BenchmarkError as error:
                raise OutputError(str(error)) from error
            except OSError as error:
                raise OutputError(f"{options.json}: cannot be written ({error.strerror})") from error


def parse(argv: Sequence[str]) -> Namespace:
    parser = Parser(prog="benchmark.py", description=__doc__)
    add = parser.add_argument
    loops = [name for name, contender in CONTENDERS.items() if not contender.requires]
    peers = [name for name in CONTENDERS if name not in loops]
    choices = {"tasks": list(contenders.EPOCHS), "contenders": loops, "peers": peers, "parts": list(PARTS)}
    for name, known in choices.items():
        default = {"peers": [], "tasks": contenders.USUAL_TASKS}.get(name, known)
        text = f"some of {','.join(known)}"
        add(f"--{name}", type=lambda names: names.split(","), default=default, help=text)
    add("--rounds", type=int, default=5, help="number of measured rounds")
    add("--epochs", type=int, help="epochs of a round and of a job, instead of the tasks' own")
    add("--gpus", type=int, choices=(0, 1), default=0, help="1 for a GPU, 0 for the CPU (default)")
    add("--data_dir", default="data", help="directory of the data files")
    add("--json", help="file for all figures")
    options = parser.parse(argv)
    for name, known in choices.items():
        if unknown := [each for each in getattr(options, name) if each not in known]:
            raise UsageError(f"--{name} must be some of {','.join(known)}, got {unknown[0] or 'nothing'}")
    for name in ("rounds", "epochs"):
        if (number := getattr(options, name)) is not None and number < 1:
            raise UsageError(f"--{name} must be at least 1, got {number}")
    options.packages = [package for peer in options.peers for package in CONTENDERS[peer].requires]
    check_available(options)
    return options


def check_available(options: Namespace) -> None:
    if missing := [package for package in options.packages if find_spec(package) is None]:
        raise UsageError(f"--peers {','.join(options.peers)}: {missing[0]} is not installed")
    if options.gpus and not torch.cuda.is_available():
        raise UsageError("--gpus 1: no GPU is available")
    if options.json and not Path(options.json).absolute().parent.is_dir():
        raise UsageError(f"--json {options.json}: no such directory")
    for task in options.tasks:
        files = getattr(TASKS[task].data_class, "files", {}).values()
        if any(file.find(options.data_dir) is None for file in files):
            raise UsageError(f"--data_dir {options.data_dir}: no files of {task}; linear, ring need none")


def measure_loops(options: Namespace) -> dict[str, Results]:
    """Seconds per epoch, loss and memory of each contender, by task."""
    results, train = {}, [*WORKER, "train", TRAIN_COMMAND]
    for task in options.tasks:
        epochs = options.epochs or contenders.EPOCHS[task]
        rounds = options.rounds * contenders.ROUNDS_FACTOR.get(task, 1)
        commands = make_commands(options, task, epochs + 1, options.contenders + options.peers, train)
        results[task] = interleave(commands, rounds, prefix=f"{task}: ")
        contenders.check_losses(task, results[task], epochs)
    return results


def measure_startup(options: Namespace) -> Results:
    """Seconds of imports, of predicting one row, and to the first optimizer step of each task."""
    imports = {
        "import torch": "import torch",
        BARE_IMPORT: BARE_IMPORT,
        "LightModel": "from lightmodels import LightModel",
    }
    commands = {name: [sys.executable, "-c", statement] for name, statement in imports.items()}
    commands |= {
        "train.py --help": [*TRAIN, "--help"],
        PREDICT: [sys.executable, "-m", "predict", *predict_flags(options)],
    }
    for task in options.tasks:
        train, script = make_commands(options, task, 1, [DEFAULT, FLOOR]).values()
        commands[f"{task}: train.py to its first step"] = [*WORKER, "first_step", *train[2:]]
        commands[f"{task}: plain script to its first step"] = [*WORKER, "first_step", *script[2:]]
    return interleave(commands, options.rounds, warm_up=1)


def measure_jobs(options: Namespace) -> dict[str, Results]:
    """Seconds of each contender's whole process, by task."""
    results = {}
    for task in options.tasks:
        epochs = options.epochs or contenders.JOB_EPOCHS[task]
        commands = make_commands(options, task, epochs, options.contenders + options.peers)
        results[task] = interleave(commands, options.rounds, warm_up=1, prefix=f"{task}: ")
    return results


def measure_phases(options: Namespace) -> Results:
    """Seconds of the phases of predicting one row, and of a training of each task."""
    commands = {"predict": [*PHASES, "predict", *predict_flags(options)]}
    for task in options.tasks:
        epochs = options.epochs or contenders.JOB_EPOCHS[task]
        commands |= {task: make_commands(options, task, epochs, [DEFAULT], [*PHASES, "train"])[DEFAULT]}
    return interleave(commands, options.rounds, warm_up=1)


def predict_flags(options: Namespace) -> list[str]:
    """Flags of ``predict.py`` for one row and a model that is trained for it."""
    run_dir, row = Path(options.directory, "run"), Path(options.directory, "row.csv")
    if not run_dir.exists():
        row.write_text("0.5,0.5\n")
        measure("ring", [*TRAIN, "--task", "ring", "--max_epochs", "1", "--gpus", "0", "--run_dir", str(run_dir)])
    return ["--ckpt", str(run_dir / "checkpoints" / "best.ckpt"), str(row)]


def make_commands(
    options: Namespace, task: str, epochs: int, names: Sequence[str], train: Sequence[str] = TRAIN
) -> dict[str, list[str]]:
    """The command of each contender, where ``train`` takes the flags of ``train.py``."""
    flags = ["--task", task, "--max_epochs", str(epochs), "--gpus", str(options.gpus)]
    flags += ["--data_dir", str(Path(options.data_dir).absolute())]
    file = f"{options.directory}/{task}-{epochs}.pt"
    torch.save(make_plain_task(flags), file)
    commands = {}
    for name in names:
        if (loop := CONTENDERS[name].loop) == TRAIN_COMMAND:
            commands[name] = [*train, *flags, *contenders.further_flags(name, task, options.gpus)]
        else:
            commands[name] = [*WORKER, "train", loop, file]
    return commands


PARTS = {"loops": measure_loops, "startup": measure_startup, "jobs": measure_jobs, "phases": measure_phases}

if __name__ == "__main__":
    run(main)
