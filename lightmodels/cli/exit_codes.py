"""What all commands share: exit codes, one-line errors, and Lightning's log level."""

import atexit
import logging
import os
import signal
import sys
import threading
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from lightmodels.cli.parse_errors import explain
from lightmodels.utils import console

INVALID_INPUT, FAILED, INTERRUPTED, TERMINATED = 2, 1, 130, 143


class UsageError(Exception):
    """A wrong flag, value or input file; the message is one line that names it."""

    exit_code = INVALID_INPUT


class OutputError(Exception):
    """An output file that cannot be written; the message is one line that names it and the reason."""

    exit_code = FAILED


class Parser(ArgumentParser):
    """A parser with one-line errors, which accepts ``-`` for ``_`` in flag names."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(explain(message, list(self._option_string_actions)))

    def parse(self, argv: Sequence[str]) -> Namespace:
        return self.parse_args([normalize_flag(arg) for arg in argv])


def normalize_flag(arg: str) -> str:
    """``--max-epochs=3`` as ``--max_epochs=3``; what is not a flag stays as it is."""
    if not arg.startswith("--"):
        return arg
    name, equals, value = arg[2:].partition("=")
    return "--" + name.replace("-", "_") + equals + value


def command_name() -> str:
    """The command as it was called: ``train.py``, or ``lightmodels train``."""
    name = Path(sys.argv[0]).name
    return name if name.endswith(".py") else " ".join([name, *sys.argv[1:2]])


def run(main: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None) -> None:
    """Runs a command; exits with 2 for invalid input, 1 for failures, 130 for Ctrl-C, 143 for SIGTERM.

    Errors whose class has an ``exit_code`` are one line; others stay tracebacks.

    Its arguments, ``argv``, are by default all that follow the name of the script.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    if int(os.environ.get("LOCAL_RANK", 0)) and "TORCHELASTIC_RUN_ID" not in os.environ:
        threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    set_lightning_log_level(logging.WARNING)
    usual, warnings.formatwarning = warnings.formatwarning, format_warning
    try:
        main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt as error:
        exit_with_message(INTERRUPTED, str(error) or "interrupted")
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into SystemExit(1)
            exit_with_message(INTERRUPTED, "interrupted")
        raise
    except Exception as error:
        code = FAILED if isinstance(error, FloatingPointError) else getattr(error, "exit_code", None)
        if code is None:
            raise
        exit_with_message(code, error)
    finally:
        warnings.formatwarning = usual


@contextmanager
def quick_end() -> Iterator[None]:
    """Ends the process after this block as usual, but leaves its memory to the operating system.

    Exit handlers run, threads are waited for, and what was printed is written. Python would then take PyTorch's
    modules apart, object by object: 1.3 of the 4.5 seconds that predicting one row takes on a CPU core.
    """
    code = FAILED

    def leave() -> None:  # runs last, as it was registered first
        with suppress(OSError, ValueError):  # Python's own end reports output that cannot be written
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
            os._exit(code)

    atexit.register(leave)
    try:
        yield
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else FAILED if stop.code else 0
        raise


def format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as one line, as the errors are; the place in the code tells a user nothing."""
    kind = "warning" if issubclass(category, UserWarning) else category.__name__
    return console.printable(f"{command_name()}: {kind}: {' '.join(str(message).split())}") + "\n"


def exit_with_parent(parent: int) -> None:
    """Ends this process, a worker launched by Lightning, soon after the process that launched it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    time.sleep(5)  # the worker may be about to end by itself, as its parent did
    os._exit(TERMINATED)


def exit_with_message(code: int, message: object) -> None:
    if code not in (INTERRUPTED, TERMINATED) or rank() == 0:
        print(console.printable(f"{command_name()}: {message}"), file=sys.stderr, flush=True)
    sys.exit(code)


def rank() -> int:
    """This process's rank; imports PyTorch, which usage errors need not."""
    from lightmodels.utils import distributed

    return distributed.rank()


@contextmanager
def flag_errors(prefix: str, names: Sequence[str], plain: Sequence[str] = ()) -> Iterator[None]:
    """Turns a ValueError whose message starts with an argument's name into a UsageError about its flag.

    The flag is ``prefix``, such as ``--model.``, and the name; for the names in ``plain`` it is ``--``.
    """
    try:
        yield
    except ValueError as error:
        name = str(error).replace("=", " ").split(" ")[0]
        if name not in names:
            raise
        raise UsageError(f"{'--' if name in plain else prefix}{error}") from error


def set_lightning_log_level(level: int) -> None:
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(level)
