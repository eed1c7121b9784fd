"""Checks of constructor arguments; the message of each ValueError starts with the argument's name."""

import math
from collections.abc import Callable, Sequence
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


def whole_numbers(minimum: int, **values: Sequence[int] | str) -> list[int]:
    """The whole numbers, each ``>= minimum``, of a sequence or of a text such as ``"512,256"``."""
    ((name, given),) = values.items()
    try:
        numbers = [int(part) for part in given.split(",")] if isinstance(given, str) else list(given)
    except ValueError:
        numbers = []
    if not numbers and given != []:
        raise ValueError(f"{name} must be whole numbers, such as 512,256, got {given!r}")
    for number in numbers:
        at_least(minimum, **{name: number})
    return numbers


def _check(values: dict[str, float], requirement: str, is_valid: Callable[[float], bool]) -> None:
    for name, value in values.items():
        if not isinstance(value, Real) or not is_valid(value):
            shown = value if isinstance(value, Real) else repr(value)
            raise ValueError(f"{name} must be {requirement}, got {shown}")
