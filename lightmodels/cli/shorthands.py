"""Flags without a dot that stand for one of the Trainer's."""

from collections.abc import Sequence

NAMES = ("compile", "precision", "steps_per_execution", "tf32")
SHORTHANDS = {f"--{name}": f"--trainer.{name}" for name in NAMES}
SWITCHES = ("--compile", "--tf32")  # which need no value
LONG = {long: short for short, long in SHORTHANDS.items()}


def expand_shorthands(argv: Sequence[str]) -> list[str]:
    """The command line with every flag as the parser knows it.

    Example:
        >>> expand_shorthands(["--precision", "bf16-mixed", "--compile", "--seed=1"])
        ['--trainer.precision', 'bf16-mixed', '--trainer.compile=true', '--seed=1']
    """
    found = []
    for arg, following in zip(argv, [*argv[1:], ""], strict=False):  # of no words, one too many
        name, equals, value = arg.partition("=")
        switch = "=true" if name in SWITCHES and not equals and following not in ("true", "false") else ""
        found.append(SHORTHANDS.get(name, name) + equals + value + switch)
    return found
