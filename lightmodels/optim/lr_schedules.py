"""Learning-rate schedules as pure functions of the step, so that a resumed run sees the same rates."""

import math

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def one_cycle(model: pl.LightningModule, optimizer: Optimizer, warmup: float = 0.2) -> OptimizerLRScheduler:
    """Returns, for ``configure_optimizers``, a learning rate that rises linearly, then falls to zero.

    The optimizer's rate is the peak, reached after the fraction ``warmup`` (above 0, below 1) of all steps,
    which are those of the trainer or ``model.total_steps``. A run without a limit keeps the peak.
    """
    steps = total_steps(model)
    scheduler = LambdaLR(optimizer, lambda step: one_cycle_factor(step, steps, warmup))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def total_steps(model: pl.LightningModule) -> float:
    """Optimizer steps of the whole training: ``model.total_steps``, else the trainer's, else infinity."""
    told: int | None = getattr(model, "total_steps", None)
    if told is not None:
        return told
    trainer = attached_trainer(model)
    return math.inf if trainer is None else trainer.estimated_stepping_batches


def attached_trainer(model: pl.LightningModule) -> pl.Trainer | None:
    """The model's trainer; None without one, or under Fabric."""
    try:
        return None if model.fabric else model.trainer
    except RuntimeError:  # how Lightning says that there is none
        return None


def one_cycle_factor(step: int, steps: float, warmup: float) -> float:
    """The fraction of the peak rate at step ``0 <= step < steps``; positive at both ends, zero beyond.

    Examples:
        >>> [round(one_cycle_factor(step, 10, 0.2), 2) for step in range(10)]
        [0.33, 0.67, 1.0, 0.88, 0.75, 0.62, 0.5, 0.38, 0.25, 0.12]
    """
    rising = (step + 1) / (warmup * steps + 1)
    falling = (steps - step) / ((1 - warmup) * steps)
    return max(0.0, min(1.0, rising, falling)) if steps < math.inf else 1.0


def current_lr(trainer: pl.Trainer) -> float | Tensor:
    """The learning rate of the first optimizer's first group; ``nan`` without an optimizer."""
    groups = trainer.optimizers[0].param_groups if trainer.optimizers else []
    return groups[0].get("lr", math.nan) if groups else math.nan
