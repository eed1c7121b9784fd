"""Whether the loops that are compared have learnt the same."""

from typing import Any

from benchmarks.contenders import EPOCHS, FLOORS, OURS
from benchmarks.job import BenchmarkError

# Largest relative difference of the last validation loss from that of ours. The floor has the very order
# of rows, masks and dropout that ours has: only the rounding of fused and other kernels can part them.
# Nets of reuters whose first embeddings are 1e-7 larger end up to 5 % elsewhere; its limit is twice that.
# Others draw their own order; their limits are about twice the largest difference between seeds of it.
SAME_ORDER = {"linear": 1e-4, "ring": 1e-3, "mnist": 0.15, "reuters": 0.1}
OTHER_ORDER = {"linear": 0.02, "ring": 0.06, "mnist": 0.3, "reuters": 0.2}
SHORT = 5  # times the limit of another order, for runs of fewer epochs than the task's own
LOOSEST = 0.25

Results = dict[str, list[dict[str, Any]]]


def check(task: str, results: Results, epochs: int) -> None:
    """Compares each round's last validation loss with that of ours, or of the first contender.

    Args:
        task: name of the task.
        results: rounds by contender, each with its ``val_loss``.
        epochs: of a round.

    Raises:
        BenchmarkError: a loss that is further off than the task's tolerance; the line names loop and values.
    """
    reference = OURS if OURS in results else next(iter(results))
    for name, rounds in results.items():
        limit = tolerance(task, name, epochs, reference)
        for theirs, right in zip(rounds, results[reference], strict=True):
            loss, expected = theirs["val_loss"], right["val_loss"]
            if not abs(loss - expected) <= limit * abs(expected):
                raise BenchmarkError(
                    f"{task}: {name} ends with val_loss {loss:.4f}, {reference} with {expected:.4f}: "
                    f"more than {limit:.2%} apart, so their times are not compared"
                )


def tolerance(task: str, name: str, epochs: int, reference: str = OURS) -> float:
    """The largest relative difference that is allowed."""
    if {name, reference} <= {OURS, *FLOORS}:
        return SAME_ORDER[task]
    limit = OTHER_ORDER[task]
    return limit if epochs >= EPOCHS[task] else max(limit, min(SHORT * limit, LOOSEST))
