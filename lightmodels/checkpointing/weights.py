"""Which weights a model is evaluated with, and whether they fit it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.checkpointing.files import CheckpointError


@contextmanager
def checkpoint_weights(
    ckpt_path: str | Path | None,
    model: pl.LightningModule | None,
    trainer: pl.Trainer,
    weights_only: bool | None = None,
) -> Iterator[pl.LightningModule]:
    """Gives the model the weights of a checkpoint; on exit, it has its own again.

    Args:
        ckpt_path: a file, or ``"best"`` or ``"last"`` of the trainer's fit. Default: the given model's own weights,
            or, without a model, ``"best"``.
        model: the model; by default the one that was fitted.
        trainer: the trainer.
        weights_only: False to read a file that may run any code.

    Raises:
        ValueError: there is no model, or the fit has kept no such checkpoint.
        CheckpointError: the file cannot be read, or is of another model.
    """
    if model is None:
        default = None if trainer.fast_dev_run else "best"  # type: ignore[attr-defined]
        model, ckpt_path = trainer.lightning_module, ckpt_path or default
    module: Any = getattr(model, "_orig_mod", model)  # of torch.compile(model)
    if model is None:
        raise ValueError("there is no model: give one, or fit one first")
    if ckpt_path in ("best", "last"):
        ckpt_path = kept_path(str(ckpt_path), trainer)
    if ckpt_path is None:
        yield model
        return
    checkpoint = checkpoint_files.load_checkpoint(ckpt_path, weights_only)
    check_compatible(module, checkpoint, ckpt_path)
    with temporary_weights(checkpoint["state_dict"], module):
        yield model


def kept_path(which: str, trainer: pl.Trainer) -> str:
    """The ``"best"`` or ``"last"`` checkpoint of a trainer's fit; raises ValueError if it has kept none."""
    path: str = getattr(trainer.checkpoint_callback, f"{which}_model_path", None) or ""
    if not path:
        raise ValueError(f"no {which} checkpoint was kept: pass the model, without ckpt_path, for its current weights")
    return path


@contextmanager
def temporary_weights(weights: Mapping[str, Any], module: pl.LightningModule) -> Iterator[None]:
    """Loads weights; on exit, the module has its own again, bit-identical."""
    own = deepcopy(dict(module.state_dict()))  # which does not change with the module
    try:
        module.load_state_dict(weights, strict=module.strict_loading)
        yield
    finally:
        module.load_state_dict(own, strict=module.strict_loading)


def check_compatible(model: pl.LightningModule, checkpoint: Mapping[str, Any], path: object) -> None:
    """Raises CheckpointError, with the first mismatch, if the checkpoint's weights do not fit the model.

    Without the model's ``strict_loading``, missing and unknown weights are accepted.
    """
    if any(module._load_state_dict_pre_hooks for module in model.modules()):
        return  # they may convert old names and shapes, so that only loading will tell
    if issue := _first_mismatch(model, checkpoint.get("state_dict")):
        origin, name = checkpoint.get("model_class", "another model"), type(model).__name__
        raise CheckpointError(f"{path} is a checkpoint of {origin}, its weights do not fit {name}: {issue}")


def _first_mismatch(model: pl.LightningModule, saved: Any) -> str | None:
    if not isinstance(saved, Mapping):
        return "there are none"
    own = model.state_dict()
    for name, value in own.items():
        if name in saved and not nn.parameter.is_lazy(value) and _shape(saved[name]) != _shape(value):
            return f"{name} is {_shape(saved[name])}, here {_shape(value)}"
    different = [f"it has no {name}" for name in own if name not in saved]
    different += [f"{name} is not known here" for name in saved if name not in own]
    return different[0] if different and model.strict_loading else None


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else "no tensor"
