"""Measures our loops beside a bare one: python scripts/benchmark.py --rounds 5 --json figures.json"""

import json
import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from benchmarks import agreement, contenders, machine, prepare, processes, rounds, tables
from benchmarks.job import BenchmarkError, Job

from lightmodels.cli.exit_codes import OutputError, Parser, UsageError, run
from lightmodels.cli.tasks import TASKS

PARTS = ("loops", "startup", "jobs", "features", "scale")


def main(argv: Sequence[str]) -> None:
    """Each part's tables are printed, and its rounds written, once it is done: the next one may fail."""
    options = parse(argv)
    report = started(options)
    print(tables.head(report), flush=True)
    with tempfile.TemporaryDirectory() as directory:
        for part in options.parts:
            try:
                report[part] = measured(part, options, directory)
            except BenchmarkError as error:
                raise OutputError(str(error)) from error
            print(f"\n{tables.section(part, report)}", flush=True)
            write(report, options.json)


def write(report: dict[str, Any], file: str | None) -> None:
    """All rounds so far as JSON, if a file is asked for."""
    if file is None:
        return
    try:
        Path(file).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{file}: cannot be written ({error.strerror})") from error


def parse(argv: Sequence[str]) -> Namespace:
    """The options, checked before anything is measured."""
    parser = Parser(prog="benchmark.py", description=__doc__)
    add = parser.add_argument
    add("--tasks", type=names_of("--tasks", list(TASKS)), default=list(TASKS), help="some of the tasks: a,b")
    loops = list(contenders.LOOPS)
    add("--contenders", type=names_of("--contenders", loops), default=loops, help="some of them: a,b")
    peers = list(contenders.PEERS)
    add("--peers", type=names_of("--peers", peers), default=[], help=f"other libraries: {','.join(peers)}")
    add("--parts", type=names_of("--parts", PARTS), default=list(PARTS), help=f"some of {','.join(PARTS)}")
    add("--rounds", type=int, default=5, help="measured rounds")
    add("--epochs", type=int, help="epochs of a round and of a job, in place of the tasks' own")
    add("--gpus", type=int, choices=(0, 1), default=0, help="1 for a GPU; 0, the default, is the CPU")
    add("--data_dir", default="data", help="where the data files are")
    add("--json", help="file to write all figures to")
    options = parser.parse(argv)
    check(options)
    options.compared = [*options.contenders, *options.peers]
    return options


def names_of(flag: str, known: Sequence[str]) -> Callable[[str], list[str]]:
    """Reads names that commas part."""

    def read(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        if unknown := [name for name in names if name not in known]:
            raise UsageError(f"{flag} must be of {', '.join(known)}, got {unknown[0] or 'nothing'}")
        return list(dict.fromkeys(names))

    return read


def check(options: Namespace) -> None:
    """Raises UsageError for what cannot be measured here."""
    for name in ("rounds", "epochs"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UsageError(f"--{name} must be at least 1, got {getattr(options, name)}")
    for peer in options.peers:
        if missing := [name for name in contenders.NEEDED[peer] if find_spec(name) is None]:
            raise UsageError(f"--peers {peer}: {missing[0]} is not installed")
    if options.gpus and not torch.cuda.is_available():
        raise UsageError("--gpus 1: there is no GPU here")
    if options.json and not Path(options.json).absolute().parent.is_dir():
        raise UsageError(f"--json {options.json}: no such directory")
    for task in options.tasks:
        files = getattr(TASKS[task][1], "files", {})
        if any(file.find(options.data_dir) is None for file in files.values()):
            others = ",".join(name for name in TASKS if not hasattr(TASKS[name][1], "files"))
            raise UsageError(f"--data_dir {options.data_dir}: no files of {task} there (or --tasks {others})")


def started(options: Namespace) -> dict[str, Any]:
    """What is said before anything is measured."""
    libraries = [name for peer in options.peers for name in contenders.NEEDED[peer]]
    return {
        "machine": machine.description(options.gpus, libraries),
        "rounds": options.rounds,
        "epochs": {task: options.epochs or contenders.EPOCHS[task] for task in options.tasks},
    }


def measured(part: str, options: Namespace, directory: str) -> dict[str, Any]:
    """The figures of a part.

    Raises:
        BenchmarkError: a process has failed, or loops do not reach the same loss.
    """
    report: dict[str, Any] = {}
    for task in options.tasks:
        MEASURES[part](options, task, directory, report)
    return report


def measure_loops(options: Namespace, task: str, directory: str, report: dict[str, Any]) -> None:
    epochs = options.epochs or contenders.EPOCHS[task]
    tensors = prepared(options, task, directory, epochs + 1)
    jobs = {
        name: contenders.job(name, task, options.data_dir, options.gpus, tensors) for name in options.compared
    }
    report[task] = rounds.run(jobs, epochs, options.rounds * contenders.TIMES.get(task, 1))
    agreement.check(task, report[task], epochs)


def measure_startup(options: Namespace, task: str, directory: str, report: dict[str, Any]) -> None:
    """The imports, which are of no task, go with the first one."""
    tensors = prepared(options, task, directory, 1)
    commands = processes.start_ups(task, options.data_dir, options.gpus, tensors)
    report |= processes.run(({} if report else processes.imports()) | commands, options.rounds)


def measure_jobs(options: Namespace, task: str, directory: str, report: dict[str, Any]) -> None:
    epochs = options.epochs or contenders.JOB_EPOCHS[task]
    tensors = prepared(options, task, directory, epochs)
    where = (task, options.data_dir, options.gpus, tensors)
    report[task] = processes.run(processes.jobs(options.compared, *where, epochs), options.rounds)


def measure_features(options: Namespace, task: str, directory: str, report: dict[str, Any]) -> None:
    jobs = {
        name: Job(task, contenders.LOOPS[contenders.OURS], options.data_dir, options.gpus, tuple(flags))
        for name, flags in contenders.FEATURES.items()
    }
    report[task] = rounds.run(jobs, options.epochs or contenders.EPOCHS[task], options.rounds)


def measure_scale(options: Namespace, task: str, directory: str, report: dict[str, Any]) -> None:
    module, epochs = contenders.LOOPS[contenders.OURS], options.epochs or contenders.SCALE_EPOCHS
    jobs = {
        f"rows x {times}": Job(task, module, options.data_dir, options.gpus, repeat=times)
        for times in contenders.SCALES[task]
    }
    commands = {} if options.gpus else processes.one_or_two(task, options.data_dir, epochs)
    report[task] = {
        "rows": rounds.run(jobs, epochs, options.rounds),
        "processes": processes.run(commands, options.rounds),
    }


def prepared(options: Namespace, task: str, directory: str, epochs: int) -> str:
    """Makes the file of tensors that loops without lightmodels take; its name."""
    file = Path(directory, f"{task}-{epochs}.pt")
    return prepare.write(Job(task, "", options.data_dir, options.gpus, tensors=str(file)), epochs)


MEASURES = {
    "loops": measure_loops,
    "startup": measure_startup,
    "jobs": measure_jobs,
    "features": measure_features,
    "scale": measure_scale,
}

if __name__ == "__main__":
    run(main)
