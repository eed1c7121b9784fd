"""The figures as markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks import goals
from benchmarks.agreement import Results, tolerance
from benchmarks.contenders import FLOOR, NAMES, OURS, TIMES

JOBS = (
    "Ours also reads and checks the data files, tests the best weights and draws pictures; the others read "
    "ready-made tensors and end by saving the weights."
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def spread(values: Sequence[float]) -> str:
    """``median (least to most)`` in three digits."""
    return f"{digits(median(values))} ({digits(min(values))} to {digits(max(values))})"


def digits(value: float) -> str:
    """A number with three digits that count, without an exponent.

    Example:
        >>> digits(0.004567), digits(1.5), digits(1234.5)
        ('0.00457', '1.50', '1234')
    """
    if value >= 100:
        return f"{value:.0f}"
    places = 2
    while value and value < 10 ** (2 - places) and places < 7:
        places += 1
    return f"{value:.{places}f}"


def ratio(values: Sequence[float], base: Sequence[float]) -> float:
    """The median of the ratios of the rounds."""
    return median(value / other for value, other in zip(values, base, strict=True))


def compared(base: str) -> Callable[[str, Mapping[str, Sequence[float]]], str]:
    """Writes a cell: seconds, and how many times those of ``base`` they are."""

    def cell(name: str, values: Mapping[str, Sequence[float]]) -> str:
        if name not in values:
            return "-"
        times = f", {ratio(values[name], values[base]):.2f}x" if base in values else ""
        return spread(values[name]) + times

    return cell


def by_task(tasks: Mapping[str, Mapping[str, Sequence[float]]], base: str, unit: str) -> str:
    """A row a contender, a column a task."""
    names = dict.fromkeys(name for values in tasks.values() for name in values)
    cell = compared(base)
    rows = [[NAMES.get(name, name), *(cell(name, values) for values in tasks.values())] for name in names]
    return table([unit, *tasks], rows)


def column(results: Results, name: str) -> dict[str, list[float]]:
    """One measured value of all rounds, by contender."""
    return {contender: [one[name] for one in rounds] for contender, rounds in results.items()}


def loops(tasks: Mapping[str, Results], epochs: Mapping[str, int]) -> str:
    seconds = {task: column(results, "seconds") for task, results in tasks.items()}
    parts = [by_task(seconds, FLOOR, "seconds an epoch, x floor")]
    parts += [by_task({t: column(r, "val_loss") for t, r in tasks.items()}, "", "last val_loss")]
    names = {name for results in tasks.values() for rounds in results.values() for name in rounds[0]}
    for peak, unit in (("peak_mib", "peak memory, MiB"), ("peak_gpu_mib", "peak GPU memory, MiB")):
        if peak in names:
            parts.append(by_task({task: highest(results, peak) for task, results in tasks.items()}, "", unit))
    return "\n\n".join([*parts, tolerances(epochs)])


def against_goals(tasks: Mapping[str, Results]) -> str:
    """What was asked of an epoch, on CPUs, and whether it is met; nothing where nothing was asked."""
    found = goals.rows({task: column(results, "seconds") for task, results in tasks.items()}, ratio)
    return table(["goal on two CPU cores", *tasks], found) if found else ""


def highest(results: Results, name: str) -> dict[str, list[float]]:
    found = {contender: [one[name] for one in rounds if name in one] for contender, rounds in results.items()}
    return {contender: [max(values)] for contender, values in found.items() if values}


def tolerances(epochs: Mapping[str, int]) -> str:
    words = [
        f"{task} {tolerance(task, FLOOR, count):.2%} (floor), {tolerance(task, '', count):.0%} (others)"
        for task, count in epochs.items()
    ]
    return f"All reach the val_loss of ours within: {'; '.join(words)}."


def features(tasks: Mapping[str, Results]) -> str:
    base = next(iter(next(iter(tasks.values()))))
    seconds = {task: column(results, "seconds") for task, results in tasks.items()}
    whole = {task: column(results, "whole") for task, results in tasks.items()}
    parts = [by_task(seconds, base, "seconds an epoch, x everything"), by_task(whole, base, "a whole fit")]
    return "\n\n".join(parts)


def scale(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Seconds and memory by the number of rows, and by the number of processes."""
    rows = {task: column(found["rows"], "seconds") for task, found in tasks.items()}
    peaks = {task: highest(found["rows"], "peak_mib") for task, found in tasks.items()}
    parts = [
        by_task(rows, "rows x 1", "seconds an epoch, x those of one"),
        by_task(peaks, "", "peak memory, MiB"),
    ]
    commands = {task: found["processes"] for task, found in tasks.items() if found["processes"]}
    return "\n\n".join(
        parts + ([by_task(commands, "one process", "a whole job, seconds")] if commands else [])
    )


def head(report: Mapping[str, Any]) -> str:
    """On what, and how, everything is measured."""
    said = "; ".join(f"{name} {value}" for name, value in report["machine"].items())
    rounds, tasks = report["rounds"], report["epochs"]
    more = [
        f", of {times * rounds} for the epochs of {task}" for task, times in TIMES.items() if task in tasks
    ]
    return f"{said}. Medians (least to most) of {rounds} interleaved rounds{''.join(more)}."


def section(part: str, report: Mapping[str, Any]) -> str:
    """The heading and the tables of a part that is measured."""
    found = report[part]
    if part == "loops":
        goal = "" if "gpu" in report["machine"] else against_goals(found)
        parts = ["### Epochs", loops(found, report["epochs"]), goal]
    elif part == "startup":
        rows = [[name, spread(values)] for name, values in found.items()]
        parts = ["### Start-up", table(["process", "seconds"], rows)]
    elif part == "jobs":
        parts = ["### Whole jobs", by_task(found, OURS, "seconds of the process, x ours"), JOBS]
    elif part == "features":
        parts = ["### What each feature costs", features(found)]
    else:
        parts = ["### Scale", scale(found)]
    return "\n\n".join(filter(None, parts))
