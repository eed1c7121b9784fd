"""Checks of hyper-parameters; the message of an error starts with the parameter's name."""

import math
from collections.abc import Callable


def positive(**values: float) -> None:
    """Raises ValueError for a value that is not a finite number above 0."""
    _check(values, "a finite number above 0", lambda value: 0 < value < math.inf)


def not_negative(**values: float) -> None:
    """Raises ValueError for a value that is not a finite number of at least 0."""
    _check(values, "a finite number of at least 0", lambda value: 0 <= value < math.inf)


def probability(**values: float) -> None:
    """Raises ValueError for a value outside 0 <= p < 1."""
    _check(values, "at least 0 and below 1", lambda value: 0 <= value < 1)


def _check(values: dict[str, float], wanted: str, holds: Callable[[float], bool]) -> None:
    for name, value in values.items():
        if not holds(value):
            raise ValueError(f"{name} must be {wanted}, got {value}")
