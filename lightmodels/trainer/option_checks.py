"""Checks of the Trainer's options that Lightning accepts and fails on later; messages start with the option's name."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from lightmodels.utils.argument_checks import at_least, not_negative, positive

AT_LEAST = {  # whole numbers; None leaves the choice to Lightning
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "max_epochs": -1,
    "max_steps": -1,
    "min_epochs": 0,
    "min_steps": 0,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": -1,
}


def check_options(options: Mapping[str, Any], monitor: str | None, timeout: float) -> None:
    """Raises ValueError for an option with which no training could succeed."""
    positive(timeout=timeout)
    for name, minimum in AT_LEAST.items():
        if options.get(name) is not None:
            at_least(minimum, **{name: options[name]})
    if options.get("gradient_clip_val") is not None:
        not_negative(gradient_clip_val=options["gradient_clip_val"])
    if options.get("max_steps") == 0:
        raise ValueError("max_steps must be at least 1, or -1 for no limit, got 0")
    _check_interval(options.get("val_check_interval"))
    check_limits(options, "epochs")
    check_limits(options, "steps")
    if options.get("limit_val_batches") == 0 and monitor and monitor.startswith("val_"):
        raise ValueError(f"limit_val_batches must be above 0 for the monitor {monitor}, got 0; or monitor train_loss")


def check_limits(options: Mapping[str, Any], unit: str) -> None:
    """Raises ValueError for a minimum of epochs or steps that is beyond the maximum."""
    least, most = options.get(f"min_{unit}"), options.get(f"max_{unit}")
    if least is not None and most is not None and 0 <= most < least:
        raise ValueError(f"min_{unit} must be at most max_{unit}, which is {most}, got {least}")


def _check_interval(interval: Any) -> None:
    if not isinstance(interval, Real):  # None, or a time
        return
    is_batches = isinstance(interval, Integral) and not isinstance(interval, bool)
    value = float(interval)
    if not (value >= 1 if is_batches else 0 < value <= 1):
        what = "a whole number of batches, or a fraction of an epoch above 0 and at most 1"
        raise ValueError(f"val_check_interval must be {what}, got {interval}; limit_val_batches=0 turns validation off")


def require_local(**directories: Any) -> None:
    """Raises ValueError for directories on other file systems, such as ``s3://…``."""
    for name, place in directories.items():
        if "://" in str(place):
            raise ValueError(f"{name} must be a local directory, got {place}: use ModelCheckpoint(dirpath=…) for it")
