"""Whether the loops that are compared have learnt the same."""

from typing import Any

from benchmarks.contenders import FLOOR, OURS
from benchmarks.job import BenchmarkError

# Largest relative difference of the last validation loss from that of ours. The floor has the very order
# of rows, masks and dropout that ours has: only the rounding of fused and other kernels can part them.
SAME_ORDER = {"linear": 1e-4, "ring": 1e-3, "mnist": 0.25, "reuters": 0.03}
OTHER_ORDER = {"linear": 0.05, "ring": 0.15, "mnist": 0.4, "reuters": 0.1}

Results = dict[str, list[dict[str, Any]]]


def check(task: str, results: Results) -> None:
    """Compares each round's last validation loss with that of ours, or of the first contender.

    Raises:
        BenchmarkError: a loss that is further off than the task's tolerance; the line names loop and values.
    """
    reference = OURS if OURS in results else next(iter(results))
    for name, rounds in results.items():
        limit = tolerance(task, name, reference)
        for theirs, right in zip(rounds, results[reference], strict=True):
            loss, expected = theirs["val_loss"], right["val_loss"]
            if not abs(loss - expected) <= limit * abs(expected):
                raise BenchmarkError(
                    f"{task}: {name} ends with val_loss {loss:.4f}, {reference} with {expected:.4f}: "
                    f"more than {limit:.2%} apart, so their times are not compared"
                )


def tolerance(task: str, name: str, reference: str = OURS) -> float:
    same = {name, reference} <= {OURS, FLOOR}
    return (SAME_ORDER if same else OTHER_ORDER)[task]
