"""Checks of constructor arguments; the message of each ValueError starts with the argument's name."""

import math
from collections.abc import Callable
from numbers import Integral, Real


def positive(**values: float) -> None:
    """Requires finite numbers above 0."""
    _check(values, "a finite number above 0", lambda value: 0 < value < math.inf)


def not_negative(**values: float) -> None:
    """Requires finite numbers of at least 0."""
    _check(values, "a finite number of at least 0", lambda value: 0 <= value < math.inf)


def probability(**values: float) -> None:
    """Requires ``0 <= value < 1``."""
    _check(values, "at least 0 and below 1", lambda value: 0 <= value < 1)


def at_least(minimum: int, **values: float) -> None:
    """Requires whole numbers, ``value >= minimum``."""
    _check(values, f"at least {minimum}", lambda value: value >= minimum)
    _check(values, "a whole number", lambda value: isinstance(value, Integral))


def _check(values: dict[str, float], requirement: str, is_valid: Callable[[float], bool]) -> None:
    for name, value in values.items():
        if not isinstance(value, Real) or not is_valid(value):
            shown = value if isinstance(value, Real) else repr(value)
            raise ValueError(f"{name} must be {requirement}, got {shown}")
