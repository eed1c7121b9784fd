"""What an epoch on two CPU cores must not, and should not, cost: times the floor's seconds."""

from collections.abc import Callable, Mapping, Sequence

from benchmarks.contenders import FLOOR, NAMES, OURS

Seconds = Mapping[str, Mapping[str, Sequence[float]]]  # by task and contender, of each round
Ratio = Callable[[Sequence[float], Sequence[float]], float]
GOALS = (
    ("must", OURS, {"linear": 2.0, "ring": 2.0, "mnist": 1.05, "reuters": 1.05}),
    ("aim", OURS, {"mnist": 0.8, "reuters": 0.9}),
    ("aim", "accelerated", {"linear": 0.6, "ring": 0.6, "mnist": 0.65}),
)


def rows(seconds: Seconds, ratio: Ratio) -> list[list[str]]:
    """A row a goal, a cell a task: what was measured, what was asked, and whether it is met."""
    found = []
    for kind, contender, limits in GOALS:
        cells = [_cell(measured, contender, limits.get(task), ratio) for task, measured in seconds.items()]
        if any(cell != "-" for cell in cells):
            found.append([f"{kind}: {NAMES[contender]}", *cells])
    return found


def _cell(measured: Mapping[str, Sequence[float]], contender: str, limit: float | None, ratio: Ratio) -> str:
    if limit is None or contender not in measured or FLOOR not in measured:
        return "-"
    times = ratio(measured[contender], measured[FLOOR])
    return f"{times:.2f}x of {limit:.2f}x, {'met' if times <= limit else 'missed'}"
