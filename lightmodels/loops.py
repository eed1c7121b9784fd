"""The loops that our Trainer has in place of Lightning's."""

from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import RunningStage, TrainerFn

from lightmodels.training_loop import TrainingEpochLoop
from lightmodels.validation_loop import ValidationLoop


def shorten(trainer: pl.Trainer, execution: int | Literal["auto"], compiles: bool) -> None:
    """Gives a new trainer these loops, with so many steps an execution, which are compiled or not."""
    old, compiled = trainer.fit_loop.epoch_loop, None
    if compiles:
        from lightmodels.compilation import Compilation  # takes a second to load

        compiled = Compilation()
    new = TrainingEpochLoop(trainer, old.min_steps, old.max_steps, execution, compiled)
    new.val_loop = ValidationLoop(
        trainer,
        TrainerFn.FITTING,
        RunningStage.VALIDATING,
        verbose=False,
        inference_mode=old.val_loop.inference_mode,
    )
    trainer.fit_loop.epoch_loop = new
