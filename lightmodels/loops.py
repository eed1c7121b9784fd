"""Lightning's loops over batches, with a short way through steps of which nothing is special.

Lightning asks at each step every callback, the model, the data module, the strategy, the precision and
the profiler whether they have something to do. The loops here ask once an epoch. Where the answer is no,
a step is the model's step, its backward pass and the optimizer's step, and the callbacks' ``on_…_batch_…``
that there are; counters, and so checkpoints, are those of Lightning's way. Else Lightning's way is taken.
"""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop
from pytorch_lightning.loops.fetchers import _DataLoaderIterDataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.trainer.states import RunningStage, TrainerFn

from lightmodels import short_way


def shorten(trainer: pl.Trainer) -> None:
    """Gives a new trainer the loops of this file."""
    old = trainer.fit_loop.epoch_loop
    new = TrainingEpochLoop(trainer, min_steps=old.min_steps, max_steps=old.max_steps)
    new.val_loop = ValidationLoop(
        trainer,
        TrainerFn.FITTING,
        RunningStage.VALIDATING,
        verbose=False,
        inference_mode=old.val_loop.inference_mode,
    )
    trainer.fit_loop.epoch_loop = new


class TrainingEpochLoop(_TrainingEpochLoop):
    """Lightning's loop over an epoch's training batches."""

    _is_usual = False

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        trainer: Any = self.trainer
        self._is_usual = short_way.is_usual(trainer, short_way.TRAINS, short_way.STEPS)
        self._is_usual &= trainer.accumulate_grad_batches == 1 and len(trainer.optimizers) == 1
        self._is_usual &= not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
        if self._is_usual:
            self._starts = short_way.hooks_of(trainer, "on_train_batch_start")
            self._ends = short_way.hooks_of(trainer, "on_train_batch_end", trainer.lightning_module)
            self._context = short_way.context_of(trainer, "train_step_context")
            schedules = [each for each in trainer.lr_scheduler_configs if each.interval == "step"]
            self._schedules = [each for each in schedules if not each.reduce_on_plateau]
            self._validates_last = (
                trainer.val_check_batch == trainer.num_training_batches
                and trainer._val_check_time_interval is None
                and len(schedules) == len(self._schedules)
            )

    def advance(self, data_fetcher: Any) -> None:
        skips = self.automatic_optimization._skip_backward or not self._is_usual
        if self.restarting or skips:
            super().advance(data_fetcher)
            return
        if self.val_loop.restarting:
            self.val_loop.restarting = False
        batch, _, _ = next(data_fetcher)
        index, progress = self.batch_idx + 1, self.batch_progress
        progress.is_last_batch = data_fetcher.done
        batch = short_way.on_device(batch, self.trainer)
        progress.increment_ready()
        short_way.begin_batch(self.trainer, self._results, batch)
        short_way.call(self._starts, self.trainer, "on_train_batch_start", batch, index)
        progress.increment_started()
        outputs = {"loss": self._step(batch, index)}
        progress.increment_processed()
        self._step_schedules(index)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        short_way.call(self._ends, self.trainer, "on_train_batch_end", outputs, batch, index)
        short_way.end_batch(self.trainer, self._results)
        progress.increment_completed()
        if self._results and short_way.logs_steps(self._results):
            self.trainer._logger_connector.update_train_step_metrics()

    def on_advance_end(self, data_fetcher: Any) -> None:
        ends = self.batch_progress.is_last_batch or self.trainer.should_stop or self.trainer.received_sigterm
        if ends or not self._is_usual or not self._validates_last or self.restarting:
            super().on_advance_end(data_fetcher)
        else:
            self._batches_that_stepped += 1

    def _step_schedules(self, index: int) -> None:
        for config in self._schedules:
            if (index + 1) % config.frequency == 0:
                self.scheduler_progress.increment_ready()
                self.trainer.lightning_module.lr_scheduler_step(config.scheduler, None)
                self.scheduler_progress.increment_completed()

    def _step(self, batch: Any, index: int) -> Any:
        """One optimizer step; the loss before it, of shape ``()``."""
        trainer, model = self.trainer, self.trainer.lightning_module
        optimizer, clip = trainer.optimizers[0], trainer.gradient_clip_val
        counts = self.automatic_optimization.optim_progress.optimizer
        loss: Any = None

        @torch.enable_grad()
        def closure() -> Any:
            nonlocal loss
            model._current_fx_name = "training_step"
            with self._context():
                loss = model.training_step(batch, index)
            counts.zero_grad.increment_ready()
            counts.zero_grad.increment_started()
            optimizer.zero_grad()
            counts.zero_grad.increment_completed()
            loss.backward()
            if clip:
                model.configure_gradient_clipping(optimizer, clip, trainer.gradient_clip_algorithm)
            return loss

        counts.step.increment_ready()
        optimizer.step(closure)
        counts.step.increment_completed()
        return loss.detach()


class ValidationLoop(_EvaluationLoop):
    """Lightning's loop over the validation batches of a ``fit``."""

    _is_usual = False

    def on_run_start(self) -> None:
        super().on_run_start()
        self._is_usual = short_way.is_usual(self.trainer, short_way.VALIDATES) and self.num_dataloaders == 1
        self._is_check = self.trainer.sanity_checking
        self._starts = short_way.hooks_of(self.trainer, "on_validation_batch_start")
        self._ends = short_way.hooks_of(self.trainer, "on_validation_batch_end")
        self._context = short_way.context_of(self.trainer, "val_step_context")

    def _evaluation_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int, dataloader_iter: Iterator[Any] | None
    ) -> None:
        if not self._is_usual or dataloader_iter is not None or self.trainer.received_sigterm:
            super()._evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)
            return
        trainer, model = self.trainer, self.trainer.lightning_module
        batch = short_way.on_device(batch, trainer)
        self.batch_progress.increment_ready()
        short_way.begin_batch(trainer, self._results, batch)
        short_way.call(self._starts, trainer, "on_validation_batch_start", batch, batch_idx)
        self.batch_progress.increment_started()
        model._current_fx_name = "validation_step"
        with self._context():
            output = model.validation_step(batch, batch_idx)
        self.batch_progress.increment_processed()
        short_way.call(self._ends, trainer, "on_validation_batch_end", output, batch, batch_idx)
        short_way.end_batch(trainer, self._results)
        self.batch_progress.increment_completed()
        if not self._is_check:
            self._has_run = True
            if short_way.logs_steps(self._results):
                seen = self._seen_batches_per_dataloader[dataloader_idx]
                trainer._logger_connector.update_eval_step_metrics(seen)
            self._seen_batches_per_dataloader[dataloader_idx] += 1
