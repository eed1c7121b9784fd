"""TrainingChecks: what would fail in the middle of a training fails before its first step."""

import math

import pytorch_lightning as pl

from lightmodels.checkpointing.plain_data import require_plain_states
from lightmodels.utils.step_errors import require_closure


class TrainingChecks(pl.Callback):
    """Raises, before the first step, an error that would otherwise end a training, or make its checkpoints unreadable.

    Raises:
        ValueError: a schedule with a fixed number of steps that ends before the training does, or an optimizer whose
            step takes no closure.
        TypeError: something to be saved in checkpoints that is no plain data.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.checkpoint_callback:
            require_plain_states(trainer)
        if pl_module.automatic_optimization:
            for optimizer in trainer.optimizers:
                require_closure(optimizer)
        for config in trainer.lr_scheduler_configs:
            left: float = trainer.estimated_stepping_batches - trainer.global_step
            if config.interval == "epoch":
                left = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs - trainer.current_epoch
            steps = config.scheduler.last_epoch + left // config.frequency
            end = getattr(config.scheduler, "total_steps", None)
            if end is not None and end < steps < math.inf:
                what = f"{type(config.scheduler).__name__} ends after {end} steps, but training has {steps:.0f}"
                raise ValueError(f"{what}: give it more total_steps")
