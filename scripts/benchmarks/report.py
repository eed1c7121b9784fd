"""The figures as Markdown."""

import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median, median_low
from typing import Any

import torch

from benchmarks.contenders import CONTENDERS, DEFAULT, FLOOR, GOALS, Results

HEADINGS = {"loops": "Epochs", "startup": "Start-up", "jobs": "Whole jobs", "phases": "Phases"}


def describe_machine(gpus: int, packages: Iterable[str]) -> dict[str, str]:
    """Hardware and versions."""
    info = Path("/proc/cpuinfo")
    cpu = re.search(r"model name\s*: (.*)", info.read_text() if info.exists() else "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    machine = {
        "cpu": f"{cpu[1] if cpu else platform.processor()}, {cores} cores, {torch.get_num_threads()} threads",
        "memory": f"{memory / 2**30:.0f} GiB",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if gpus:
        gpu = torch.cuda.get_device_properties(0)
        machine["gpu"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    return machine | {name: version(name) for name in ("pytorch-lightning", *packages)}


def section(part: str, figures: Mapping[str, Any]) -> str:
    """Heading and tables of a part that has been measured."""
    results = figures[part]
    tables = {
        "loops": lambda: [
            by_task(results, "epoch_seconds", "seconds per epoch, x floor", FLOOR),
            by_task(results, "val_loss", "last val_loss"),
            by_task(results, "peak_mib", "peak memory, MiB"),
        ],
        "startup": lambda: [
            table(["process", "seconds"], [[name, spread(v["seconds"])] for name, v in results.items()])
        ],
        "jobs": lambda: [by_task(results, "seconds", "seconds of the process, x lightmodels", DEFAULT)],
        "phases": lambda: [phases(results)],
    }[part]()
    goals = list(goal_rows(part, {"": results} if part == "startup" else results))
    if goals and "gpu" not in figures["machine"]:
        tables.append(table(["goal on two CPU cores", "task", "at most", "ratio"], goals))
    return "\n\n".join([f"### {HEADINGS[part]}", *tables])


def goal_rows(part: str, tasks: Mapping[str, Results]) -> Iterator[list[str]]:
    """A row for each goal whose contender was measured beside what it is compared with."""
    key = "epoch_seconds" if part == "loops" else "seconds"
    for kind, contender, base, limits in GOALS.get(part, ()):
        for task, results in tasks.items():
            if task in limits and {contender, base} <= set(results):
                times = ratio(results[contender][key], results[base][key])
                verdict = f"{times:.2f}x, {'met' if times <= limits[task] else 'missed'}"
                what = f"{kind}: {label(contender)} / {label(base)}"
                yield [what, task, f"{limits[task]:.2f}x", verdict]


def label(name: str) -> str:
    return CONTENDERS[name].label if name in CONTENDERS else name


def phases(jobs: Results) -> str:
    """A row for each phase, a column for each job: its round of median length, whose end is what no phase has."""
    names = dict.fromkeys(name for values in jobs.values() for name in values if name != "seconds")
    columns = []
    for values in jobs.values():
        number = values["seconds"].index(median_low(values["seconds"]))
        cells = [values[name][number] if name in values else None for name in names]
        whole = values["seconds"][number]
        columns.append([*cells, whole - sum(filter(None, cells)), whole])
    rows = zip([*names, "end of the process", "in all"], *columns, strict=True)
    return table(
        ["seconds", *jobs], [[name, *("-" if x is None else f"{x:.3f}" for x in cells)] for name, *cells in rows]
    )


def by_task(tasks: Mapping[str, Results], key: str, heading: str, base: str = "") -> str:
    """A row for each contender, a column for each task, with ratios to those of the contender ``base``."""

    def cell(results: Results, name: str) -> str:
        if key not in results[name]:
            return "-"
        times = f", {ratio(results[name][key], results[base][key]):.2f}x" if base in results else ""
        return spread(results[name][key]) + times

    names = next(iter(tasks.values()))
    rows = [[CONTENDERS[name].label, *(cell(results, name) for results in tasks.values())] for name in names]
    return table([heading, *tasks], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return median(value / other for value, other in zip(values, base, strict=True))


def spread(values: Sequence[float]) -> str:
    """``median (minimum to maximum)``, each with three significant digits."""
    numbers = (median(values), min(values), max(values))
    digits = [f"{number:.0f}" if number >= 100 else f"{number:#.3g}".rstrip(".") for number in numbers]
    return "{} ({} to {})".format(*digits)
