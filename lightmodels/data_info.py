"""What a model's data says of itself, carried in checkpoints for those who have only the model."""

from typing import Any

import pytorch_lightning as pl

from lightmodels.hyperparameters import is_plain


def of(trainer: pl.Trainer, otherwise: dict[str, Any]) -> dict[str, Any]:
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
