"""The one function through which a Trainer gets the fast loops."""

from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn

from lightmodels.utils import lightning_internals


def install(trainer: pl.Trainer, steps_per_execution: int | Literal["auto"], compile: bool) -> None:
    """Replaces a new trainer's loops over training and validation batches by the fast ones.

    Where this version of Lightning lacks a private name that they need, Lightning's own loops stay, with a
    warning: training is slower, with the same results.

    Raises:
        ValueError: ``steps_per_execution`` or ``compile``, which Lightning's own loops do not support.
    """
    if names := lightning_internals.missing(trainer):
        reason = f"{lightning_internals.LIGHTNING} does not have {', '.join(names)}"
        if steps_per_execution != 1 or compile:
            option = "compile=True" if compile else f"steps_per_execution={steps_per_execution!r}"
            raise ValueError(f"{option} is not available: {reason}")
        slower = f"training in Lightning's own loops, slower with the same results: {reason}"
        rank_zero_warn(slower, stacklevel=6)  # where the Trainer is created
        return
    from lightmodels.loops.fast_training_loop import TrainingEpochLoop

    compiler = None
    if compile:
        from lightmodels.loops.compiled.step_compiler import StepCompiler  # takes a second to import

        compiler = StepCompiler()
    trainer.fit_loop.epoch_loop = TrainingEpochLoop(trainer.fit_loop.epoch_loop, steps_per_execution, compiler)
