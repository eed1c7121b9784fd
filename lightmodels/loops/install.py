"""The loops that our Trainer has in place of Lightning's."""

from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import RunningStage, TrainerFn

from lightmodels.loops.evaluation_loop import EvaluationLoop
from lightmodels.loops.training_epoch_loop import TrainingEpochLoop


def install(trainer: pl.Trainer, execution: int | Literal["auto"], compiles: bool) -> None:
    """Gives a new trainer these loops, with so many steps an execution, which are compiled or not."""
    old, compiled = trainer.fit_loop.epoch_loop, None
    if compiles:
        from lightmodels.loops.compiled.step_compiler import StepCompiler  # takes a second to load

        compiled = StepCompiler()
    new = TrainingEpochLoop(trainer, old.min_steps, old.max_steps, execution, compiled)
    new.val_loop = EvaluationLoop(
        trainer,
        TrainerFn.FITTING,
        RunningStage.VALIDATING,
        verbose=False,
        inference_mode=old.val_loop.inference_mode,
    )
    trainer.fit_loop.epoch_loop = new
