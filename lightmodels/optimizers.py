"""What makes the steps of optimizers quick."""

from typing import Any

import pytorch_lightning as pl

FUSING = ("cpu", "cuda", "mps")  # devices for which torch has fused Adam, AdamW and SGD


def fused(model: pl.LightningModule) -> dict[str, Any]:
    """The option ``fused=True`` for Adam, AdamW or SGD, one kernel in place of many, where it can be had.

    Not where gradients are clipped in mixed precision, which Lightning refuses together.

    Args:
        model: whose parameters the optimizer gets, on their device.
    """
    trainer: Any = model._trainer
    clips = trainer is not None and trainer.gradient_clip_val and "mixed" in str(trainer.precision)
    here = all(parameter.device.type in FUSING for parameter in model.parameters())
    return {"fused": True} if here and not clips else {}
