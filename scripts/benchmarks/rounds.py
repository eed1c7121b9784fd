"""Interleaved rounds: each contender has a process of its own, and they take turns."""

from contextlib import ExitStack
from typing import Any

from benchmarks.job import Job
from benchmarks.workers import Worker

WARM_UP = 1  # epochs


def rotated(names: list[str], by: int) -> list[str]:
    """The names, with another one first from round to round."""
    first = by % len(names)
    return names[first:] + names[:first]


def run(jobs: dict[str, Job], epochs: int, count: int) -> dict[str, list[dict[str, Any]]]:
    """What the rounds gave, by contender.

    Args:
        jobs: contender -> what it trains.
        epochs: of a round, that are measured.
        count: of rounds, after one that warms up.

    Raises:
        BenchmarkError: a contender has failed.
    """
    names = list(jobs)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with ExitStack() as stack:
        workers = {name: Worker(f"{name} on {job.task}", job) for name, job in jobs.items()}
        for worker in workers.values():
            stack.callback(worker.close)
        for name in names:  # once all of them have answered, none is still starting
            workers[name].run(WARM_UP)
        for number in range(count):
            for name in rotated(names, number):
                results[name].append(workers[name].run(epochs))
    return results
