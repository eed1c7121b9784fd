"""What a model's data says of itself, carried in checkpoints for those who have only the model."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor


def data_info_of(trainer: pl.Trainer, otherwise: dict[str, Any]) -> dict[str, Any]:
    """The ``info`` of the trainer's data module.

    Args:
        trainer: the trainer; its data module need not have an ``info``.
        otherwise: what is given if there is no such ``info``.

    Raises:
        TypeError: an ``info`` that is no dictionary of plain data, as a checkpoint could not give it back.
    """
    data = getattr(trainer, "datamodule", None)
    info = getattr(data, "info", otherwise)
    if not isinstance(info, dict) or not is_plain(info):
        raise TypeError(f"{type(data).__name__}.info must be a dictionary of plain data")
    return info


def require_plain(values: Mapping[str, Any]) -> None:
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
