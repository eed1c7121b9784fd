"""Which weights a model is tested, validated or asked for predictions with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightmodels import checkpoints


@contextmanager
def weights_of(
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
        CheckpointError: the file cannot be read.
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
    own = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(checkpoints.load(ckpt_path)["state_dict"])
    try:
        yield model
    finally:
        module.load_state_dict(own)


def _kept(which: str, trainer: pl.Trainer) -> str | None:
    keeper: Any = trainer.checkpoint_callback
    path: str | None = getattr(keeper, f"{which}_model_path", None)
    if path == "":
        raise ValueError(
            f"the fit has kept no {which} checkpoint: ckpt_path=None takes the weights as they are"
        )
    return path
