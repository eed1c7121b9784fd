"""Which weights a model is tested, validated or asked for predictions with, and whether they fit it."""

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
    ckpt_path: str | Path | None, model: pl.LightningModule | None, trainer: pl.Trainer
) -> Iterator[pl.LightningModule]:
    """The model with the weights of a checkpoint, for a while; afterwards with its own again.

    Args:
        ckpt_path: a file; ``"best"`` or ``"last"`` of the trainer's fit; ``None`` for the model's own,
            as also for ``"best"`` and ``"last"`` if the trainer has not fitted this model.
        model: the model; by default the one that was fitted.
        trainer: whose fit is meant.

    Raises:
        ValueError: there is no model, or the fit has kept no such checkpoint.
        CheckpointError: the file cannot be read, or is of another model.
    """
    fitted = trainer.lightning_module if trainer.global_step else None
    model = trainer.lightning_module if model is None else model
    module: Any = getattr(model, "_orig_mod", model)  # of torch.compile(model)
    if model is None:
        raise ValueError("there is no model: give one, or fit one first")
    if ckpt_path in ("best", "last"):
        ckpt_path = _kept(str(ckpt_path), trainer) if module is fitted else None
    if ckpt_path is None:
        yield model
        return
    checkpoint = checkpoint_files.load_checkpoint(ckpt_path)
    check_compatible(module, checkpoint, ckpt_path)
    with temporary_weights(checkpoint["state_dict"], module):
        yield model


@contextmanager
def temporary_weights(weights: Mapping[str, Any], module: pl.LightningModule) -> Iterator[None]:
    """Loads these weights for a while; afterwards the module has its own again, to the bit."""
    own = copy_state_dict(module.state_dict())
    try:
        module.load_state_dict(weights, strict=module.strict_loading)
        yield
    finally:
        module.load_state_dict(own, strict=module.strict_loading)


def copy_state_dict(state: Mapping[str, Any]) -> dict[str, Any]:
    """A ``state_dict`` that does not change with its model."""
    return {
        name: value.detach().clone() if isinstance(value, Tensor) else deepcopy(value)
        for name, value in state.items()
    }


def _kept(which: str, trainer: pl.Trainer) -> str | None:
    checkpoint: Any = trainer.checkpoint_callback
    path: str | None = getattr(checkpoint, f"{which}_model_path", None)
    if path == "":
        raise ValueError(
            f"the fit has kept no {which} checkpoint: ckpt_path=None takes the weights as they are"
        )
    return path


def check_compatible(
    model: pl.LightningModule, checkpoint: Mapping[str, Any], path: str | Path | None
) -> None:
    """Raises CheckpointError, with the first weight at odds, for weights that are not of such a model.

    Args:
        model: what the weights are for; without ``strict_loading`` it may lack some, or have others.
        checkpoint: its ``state_dict`` has the weights.
        path: the checkpoint's file, for the message.
    """
    if any(module._load_state_dict_pre_hooks for module in model.modules()):
        return  # they may turn old names and shapes into new ones, so only loading will tell
    if odd := _first_odd(model, checkpoint.get("state_dict")):
        origin, name = checkpoint.get("model_class", "another model"), type(model).__name__
        raise CheckpointError(f"{path} is a checkpoint of {origin}, its weights do not fit {name}: {odd}")


def _first_odd(model: pl.LightningModule, saved: Any) -> str | None:
    """The first weight that the model or the checkpoint lacks, or that differs in shape."""
    if not isinstance(saved, Mapping):
        return "there are none"
    here = model.state_dict()
    for name, value in here.items():
        if name in saved and not nn.parameter.is_lazy(value) and _shape(saved[name]) != _shape(value):
            return f"{name} is {_shape(saved[name])}, here {_shape(value)}"
    lacking = [f"it has no {name}" for name in here if name not in saved]
    lacking += [f"{name} is not known here" for name in saved if name not in here]
    return lacking[0] if lacking and model.strict_loading else None


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
