"""What all commands share: exit codes, one-line errors, and Lightning's banners kept quiet.

Commands import it before PyTorch, which lightmodels, that comes with it, is quick at importing.
"""

import logging
import os
import signal
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from lightmodels.checkpointing.files import CheckpointError
from lightmodels.data.remote_files import DataError
from lightmodels.trainer.run_directory import RunDirectoryError
from lightmodels.utils import distributed

INPUT_WRONG, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143


class UsageError(Exception):
    """Something that was typed, or a file that was named, is wrong; one line that says which."""


class OutputError(Exception):
    """Something that a command makes cannot be written; one line that says where, and why."""


class Parser(ArgumentParser):
    """A parser whose errors are one line each, and in whose flags ``-`` and ``_`` are the same."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))

    def parse(self, argv: Sequence[str]) -> Namespace:
        return self.parse_args([with_underscores(arg) for arg in argv])


def with_underscores(arg: str) -> str:
    """``--max-epochs=3`` as ``--max_epochs=3``: the two characters mean the same in a flag's name."""
    if not arg.startswith("--"):
        return arg
    name, equals, value = arg[2:].partition("=")
    return "--" + name.replace("-", "_") + equals + value


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Runs a command and exits: 0 done, 2 wrong input, 1 anything else, 130 Ctrl-C, 143 SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    if int(os.environ.get("LOCAL_RANK", 0)) and "TORCHELASTIC_RUN_ID" not in os.environ:
        threading.Thread(target=follow, args=(os.getppid(),), daemon=True).start()
    quiet()
    try:
        main(sys.argv[1:])
    except (UsageError, DataError, RunDirectoryError) as error:
        leave(INPUT_WRONG, error)
    except (CheckpointError, OutputError, FloatingPointError) as error:
        leave(FAILED, error)
    except KeyboardInterrupt:
        leave(INTERRUPTED, "interrupted")
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning makes a SystemExit(1) of Ctrl-C
            leave(INTERRUPTED, "interrupted")
        raise


def follow(launcher: int) -> None:
    """Ends this process, which Lightning launched, soon after the one that launched it is gone."""
    while os.getppid() == launcher:
        time.sleep(0.5)
    time.sleep(5)  # it may be ending by itself, as the launcher did
    os._exit(TERMINATED)


def leave(code: int, reason: object) -> None:
    """Says in one line why, and exits."""
    if code != INTERRUPTED or distributed.rank() == 0:
        print(f"{Path(sys.argv[0]).name}: {' '.join(str(reason).split())}", file=sys.stderr)
    sys.exit(code)


@contextmanager
def names_flags(prefix: str, names: Sequence[str], plain: Sequence[str] = ()) -> Iterator[None]:
    """Turns a ValueError whose message starts with an argument's name into one that names the flag.

    Args:
        prefix: what stands before the names on the command line, such as ``--model.``.
        names: the arguments.
        plain: those of them that have a flag of their own, without the prefix.
    """
    try:
        yield
    except ValueError as error:
        name = str(error).replace("=", " ").split(" ")[0]
        if name not in names:
            raise
        raise UsageError(f"{'--' if name in plain else prefix}{error}") from error


def quiet(level: int = logging.WARNING) -> None:
    """Leaves out what Lightning says below a level of logging; its banners, our Trainer leaves out itself."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(level)
