"""What is printed: how verbose a run is, colors in a terminal, and Lightning without its banners."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Literal

Verbosity = Literal["quiet", "normal", "verbose"]

STYLES = {"bold": "\033[1m", "green": "\033[32m"}
LOGGERS = (  # filters are not inherited, so each logger needs its own
    "pytorch_lightning.utilities.rank_zero",
    "pytorch_lightning.accelerators.cuda",
    "lightning_fabric.utilities.rank_zero",
    "lightning_fabric.utilities.distributed",
    "torch.utils.cpp_extension",
    "torch._dynamo.convert_frame",
)
# The files of Lightning that log banners.
BANNERS = re.compile(
    r"(pytorch_lightning|lightning_fabric).(trainer|loops|accelerators)\W|lightning_fabric.utilities.distributed"
)
IGNORED_WARNINGS = (  # caused by our design, or by the code of Lightning or of the compiler
    r".*smaller than the logging interval",  # the history logs every epoch
    r".*isinstance.treespec, LeafSpec",
    r".*does not have many workers which may be a bottleneck",  # slower with small data, not faster
    r".*defined a `validation_step` but have no `val_dataloader`",  # every LightModel has that step
    r"(GPU|TPU) available but not used",  # by default it is used, so another device was asked for
    r"TensorFloat32 tensor cores",  # which Trainer(tf32=True) sets
    r"\s*Online softmax is disabled",
)

_verbosity: ContextVar[Verbosity] = ContextVar("verbosity", default="normal")


def current_verbosity() -> Verbosity:
    """The verbosity set by the innermost ``verbosity``, ``"normal"`` by default."""
    return _verbosity.get()


@contextmanager
def verbosity(level: Verbosity) -> Iterator[None]:
    """Sets the verbosity: ``"quiet"`` prints no epochs, ``"verbose"`` also Lightning's own messages.

    Examples:
        >>> with verbosity("quiet"):
        ...     current_verbosity()
        'quiet'
    """
    token = _verbosity.set(level)
    try:
        yield
    finally:
        _verbosity.reset(token)


@contextmanager
def without_banners() -> Iterator[None]:
    """Hides Lightning's banners and tips and the ignored warnings, unless the verbosity is ``"verbose"``."""
    if current_verbosity() == "verbose":
        yield
        return

    def is_wanted(record: logging.LogRecord) -> bool:  # its own object in each use, for nested uses
        """Lightning's warnings and what its callbacks, tuners and profilers report; nothing from the compiler."""
        is_report = record.levelno >= logging.WARNING or not BANNERS.search(record.pathname)
        return is_report and not record.name.startswith("torch.")

    with warnings.catch_warnings(), ExitStack() as filters:
        for message in IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        for name in LOGGERS:
            logger = logging.getLogger(name)
            logger.addFilter(is_wanted)
            filters.callback(logger.removeFilter, is_wanted)
        yield


def is_terminal() -> bool:
    """Whether standard output is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def styled(text: str, style: str) -> str:
    """The text in a style of ``STYLES``; unchanged outside a terminal, or with ``NO_COLOR`` set."""
    plain = not is_terminal() or os.environ.get("NO_COLOR")
    return text if plain else f"{STYLES[style]}{text}\033[0m"


def printable(text: str) -> str:
    """One line of a text, in which characters that a terminal would act on are escaped.

    Examples:
        >>> printable("red\\x1b[31m\\nline")
        'red\\\\x1b[31m line'
    """
    line = " ".join(text.split())
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
