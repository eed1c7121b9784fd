"""Runs a command of ``scripts`` and says how it ended."""

import importlib
import signal
import sys
from typing import NamedTuple

from lightmodels.cli import exit_codes


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def command(capfd, name: str, *argv: object) -> Ended:
    """Runs ``scripts/<name>.py`` in this process, as ``python scripts/<name>.py`` would."""
    capfd.readouterr()
    saved, handler = sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = [f"scripts/{name}.py", *map(str, argv)]
    try:
        exit_codes.run(importlib.import_module(f"lightmodels.cli.{name}").main)
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.argv = saved
        signal.signal(signal.SIGTERM, handler)
    return Ended(code, *capfd.readouterr())
