"""What is said while our Trainer works: our own lines and true warnings, not Lightning's banners and tips."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Level = Literal["quiet", "normal", "verbose"]

LOGGERS = (
    "pytorch_lightning.utilities.rank_zero",
    "pytorch_lightning.accelerators.cuda",
    "lightning_fabric.utilities.rank_zero",
    "lightning_fabric.utilities.distributed",
    "torch.utils.cpp_extension",
    "torch._dynamo.convert_frame",
)
BANNERS = (  # how they begin; what somebody asked for, as a callback's ``verbose=True``, is none of them
    "GPU available",
    "TPU available",
    "LOCAL_RANK",
    "💡 Tip",
    "`Trainer.fit` stopped: `max_",
    "`Trainer(limit_",
    "`Trainer(val_check_interval",
    "Restoring states from",
    "Restored all states",
    "Loaded model weights",
    "Loading `train_dataloader` to estimate",
    "Initializing distributed",
    "No CUDA runtime is found",  # when something is compiled where the tools for CUDA are without a GPU
    "torch._dynamo hit config.",  # a limit, which our Trainer tells
    "-" * 20,  # the box around the name of the distributed back end
)
ANSWERED = (  # warnings whose cause is our design, or Lightning's own code
    r".*smaller than the logging interval",  # the history logs every epoch
    r".*isinstance.treespec, LeafSpec",
    r".*does not have many workers which may be a bottleneck",  # slower with small data, not faster
    r".*defined a `validation_step` but have no `val_dataloader`",  # every LightModel has that step
)

_level: ContextVar[Level] = ContextVar("level", default="normal")


def level() -> Level:
    """How much is said now."""
    return _level.get()


@contextmanager
def say(chosen: Level) -> Iterator[None]:
    """Sets how much is said inside: ``quiet`` is no table, ``verbose`` all of Lightning's messages too.

    Example:
        >>> with say("quiet"):
        ...     level()
        'quiet'
    """
    token = _level.set(chosen)
    try:
        yield
    finally:
        _level.reset(token)


@contextmanager
def without_banners() -> Iterator[None]:
    """Leaves out Lightning's banners, tips and answered warnings inside, unless it is to be verbose."""
    if level() == "verbose":
        yield
        return
    keeps = lambda record: not record.getMessage().lstrip().startswith(BANNERS)  # noqa: E731 (one for each use)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    with warnings.catch_warnings():
        for message in ANSWERED:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.addFilter(keeps)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(keeps)
