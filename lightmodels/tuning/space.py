"""What is searched: ranges of numbers, and choices among values."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Trial

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})")
SIMPLE = (type(None), bool, int, float, str)  # what Optuna can store
WIDE = 100  # ratio of the ends from which a range is searched on a logarithmic scale


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``; if ``whole``, only whole ones."""

    low: float
    high: float
    whole: bool = False

    def suggest(self, trial: "Trial", name: str) -> float:
        """The number to try; on a logarithmic scale if the range is positive and its ends differ a hundredfold."""
        log = self.low > 0 and self.high / self.low >= WIDE
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=log)
        return trial.suggest_float(name, self.low, self.high, log=log)


@dataclass(frozen=True)
class Choices:
    """Values to choose from, of any type."""

    values: Sequence[Any]

    def suggest(self, trial: "Trial", name: str) -> Any:
        """The value to try; a study stores it, if it is not simple, as the text of its ``repr``."""
        stored = [value if isinstance(value, SIMPLE) else repr(value) for value in self.values]
        return self.values[stored.index(trial.suggest_categorical(name, stored))]


Space = Mapping[str, Range | Choices]


def parse_range(name: str, text: str) -> Range:
    """The range that a text such as ``1e-4..1e-1`` or ``1..8`` says; whole numbers if both ends are written as such.

    Raises:
        ValueError: not a range, or one whose first number is not below the second; starts with ``name``.

    Examples:
        >>> parse_range("lr", "1e-4..1e-1"), parse_range("layers", "1..8")
        (Range(low=0.0001, high=0.1, whole=False), Range(low=1.0, high=8.0, whole=True))
    """
    match = RANGE.fullmatch(text)
    if not match:
        raise ValueError(f"{name} must be a range, such as 1e-4..1e-1, or a list of values, got {text!r}")
    low, high = map(float, match.groups())
    if not low < high:
        raise ValueError(f"{name} must be a range from a lower to a higher number, got {text}")
    return Range(low, high, all(each.lstrip("+-").isdigit() for each in match.groups()))


def parse_space(space: Mapping[str, str | Sequence[Any]]) -> Space:
    """Ranges of texts, choices of lists; raises ValueError, which starts with the name, for anything else."""
    parsed: dict[str, Range | Choices] = {}
    for name, given in space.items():
        if isinstance(given, str):
            parsed[name] = parse_range(name, given)
        elif isinstance(given, Sequence) and len(given):
            parsed[name] = Choices(given)
        else:
            raise ValueError(f"{name} must be a range, such as '1e-4..1e-1', or a list of values, got {given!r}")
    if not parsed:
        raise ValueError("space must have at least one parameter")
    return parsed


def split_choices(text: str) -> list[str]:
    """The parts of a text between commas that are not inside brackets or quotes.

    Examples:
        >>> split_choices("[64],[256,128]"), split_choices("relu, elu")
        (['[64]', '[256,128]'], ['relu', 'elu'])
    """
    parts, depth, quote = [""], 0, ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        depth += 0 if quote else (char in "[{(") - (char in "]})")
        if char == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]
