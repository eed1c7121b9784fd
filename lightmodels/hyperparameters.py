"""Checks of hyper-parameters; the message of an error starts with the parameter's name."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def positive(**values: float) -> None:
    """Raises ValueError for a value that is not a finite number above 0."""
    _check(values, "a finite number above 0", lambda value: 0 < value < math.inf)


def not_negative(**values: float) -> None:
    """Raises ValueError for a value that is not a finite number of at least 0."""
    _check(values, "a finite number of at least 0", lambda value: 0 <= value < math.inf)


def probability(**values: float) -> None:
    """Raises ValueError for a value outside 0 <= p < 1."""
    _check(values, "at least 0 and below 1", lambda value: 0 <= value < 1)


def plain(values: Mapping[str, Any]) -> None:
    """Raises TypeError for a value that is not plain data, as a checkpoint could not give it back."""
    for name, value in values.items():
        if not is_plain(value):
            raise TypeError(
                f"hyper-parameter {name} must be plain data, got {type(value).__name__}: convert it, or "
                f"leave it out with save_hyperparameters(ignore=[{name!r}])"
            )


def is_plain(value: Any) -> bool:
    """Whether a checkpoint that is read without running code can give the value back."""
    if isinstance(value, Mapping):
        return all(is_plain(part) for part in [*value.keys(), *value.values()])
    if type(value) in (list, tuple, set):
        return all(is_plain(part) for part in value)
    return value is None or type(value) in (bool, int, float, str, bytes, Tensor)


def _check(values: dict[str, float], wanted: str, holds: Callable[[float], bool]) -> None:
    for name, value in values.items():
        if not holds(value):
            raise ValueError(f"{name} must be {wanted}, got {value}")
