"""Plain data: values that a checkpoint can restore without running code."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor


def is_plain(value: Any) -> bool:
    """Whether the value is a number, string, tensor or None, or a container of such values."""
    if isinstance(value, Mapping):
        return all(is_plain(part) for part in [*value.keys(), *value.values()])
    if type(value) in (list, tuple, set):
        return all(is_plain(part) for part in value)
    return value is None or type(value) in (bool, int, float, str, bytes, Tensor)


def require_plain(hparams: Mapping[str, Any]) -> None:
    """Raises TypeError for a hyper-parameter that is not plain data."""
    for name, value in hparams.items():
        if not is_plain(value):
            raise TypeError(
                f"hyper-parameter {name} must be plain data, got {type(value).__name__}: convert it, or "
                f"leave it out with save_hyperparameters(ignore=[{name!r}])"
            )


def data_info_of(trainer: pl.Trainer, default: dict[str, Any]) -> dict[str, Any]:
    """The ``info`` of the trainer's data module, or ``default``; raises TypeError if it is not plain data."""
    data = getattr(trainer, "datamodule", None)
    info = getattr(data, "info", default)
    if not isinstance(info, dict) or not is_plain(info):
        raise TypeError(f"{type(data).__name__}.info must be a dictionary of plain data")
    return info
