"""Interleaved rounds: the contenders take turns, each time in a process of its own.

What a process costs is partly its luck, such as whether glibc keeps its buffers: a new one has a new try.
"""

from typing import Any

from benchmarks import workers
from benchmarks.job import Job


def rotated(names: list[str], by: int) -> list[str]:
    """The names, with another one first from round to round."""
    first = by % len(names)
    return names[first:] + names[:first]


def run(jobs: dict[str, Job], epochs: int, count: int) -> dict[str, list[dict[str, Any]]]:
    """What the rounds gave, by contender.

    Args:
        jobs: contender -> what it trains.
        epochs: of a round, that are measured; each has one before them that warms up.
        count: of rounds.

    Raises:
        BenchmarkError: a contender has failed.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in jobs}
    for number in range(count):
        for name in rotated(list(jobs), number):
            results[name].append(workers.run(f"{name} on {jobs[name].task}", jobs[name], epochs))
    return results
