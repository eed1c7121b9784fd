"""Lightning's loops over batches, with a short way through steps of which nothing is special.

Lightning asks at each step every callback, the model, the data module, the strategy, the precision and
the profiler whether they have something to do. The loops here ask once an epoch. Where the answer is no,
a step is the model's step, its backward pass and the optimizer's step, and the callbacks' ``on_…_batch_…``
that there are; counters, and so checkpoints, are those of Lightning's way. Else Lightning's way is taken.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop
from pytorch_lightning.loops.fetchers import _DataLoaderIterDataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.trainer.states import RunningStage, TrainerFn
from torch import Tensor

from lightmodels.base import LightModel

TRANSFERS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
STEPS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
TRAINS = ("training_step", "backward", "optimizer_step", "optimizer_zero_grad", "on_train_batch_start")
VALIDATES = ("validation_step", "on_validation_batch_start", "on_validation_batch_end")

Hook = Callable[..., Any]


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
        self._is_usual = _is_usual(trainer, (*TRANSFERS, *STEPS, *TRAINS), STEPS)
        self._is_usual &= trainer.accumulate_grad_batches == 1 and len(trainer.optimizers) == 1
        self._is_usual &= not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
        if self._is_usual:
            self._starts = hooks_of(trainer, "on_train_batch_start")
            self._ends = hooks_of(trainer, "on_train_batch_end", trainer.lightning_module)
            self._context = _context(trainer, "train_step_context")
            self._schedules = [each for each in trainer.lr_scheduler_configs if each.interval == "step"]
            self._validates_last = (
                trainer.val_check_batch == trainer.num_training_batches
                and trainer._val_check_time_interval is None
            )

    def advance(self, data_fetcher: Any) -> None:
        skips = self.automatic_optimization._skip_backward or not self._is_usual
        if self.restarting or skips:
            super().advance(data_fetcher)
            return
        self.val_loop.restarting = False
        batch, _, _ = next(data_fetcher)
        index, progress = self.batch_idx + 1, self.batch_progress
        progress.is_last_batch = data_fetcher.done
        batch = on_device(batch, self.trainer)
        progress.increment_ready()
        begin_batch(self.trainer, self._results, batch)
        call(self._starts, self.trainer, "on_train_batch_start", batch, index)
        progress.increment_started()
        outputs = {"loss": self._step(batch, index)}
        progress.increment_processed()
        if self._schedules:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        call(self._ends, self.trainer, "on_train_batch_end", outputs, batch, index)
        end_batch(self.trainer, self._results)
        progress.increment_completed()
        if self._results and logs_steps(self._results):
            self.trainer._logger_connector.update_train_step_metrics()

    def on_advance_end(self, data_fetcher: Any) -> None:
        ends = self.batch_progress.is_last_batch or self.trainer.should_stop or self.trainer.received_sigterm
        if ends or not self._is_usual or not self._validates_last or self._schedules or self.restarting:
            super().on_advance_end(data_fetcher)
        else:
            self._batches_that_stepped += 1

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
        self._is_usual = _is_usual(self.trainer, (*TRANSFERS, *VALIDATES)) and self.num_dataloaders == 1
        self._starts = hooks_of(self.trainer, "on_validation_batch_start")
        self._ends = hooks_of(self.trainer, "on_validation_batch_end")
        self._context = _context(self.trainer, "val_step_context")

    def _evaluation_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int, dataloader_iter: Iterator[Any] | None
    ) -> None:
        if not self._is_usual or dataloader_iter is not None or self.trainer.received_sigterm:
            super()._evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)
            return
        trainer, model, connector = (
            self.trainer,
            self.trainer.lightning_module,
            self.trainer._logger_connector,
        )
        batch = on_device(batch, trainer)
        self.batch_progress.increment_ready()
        connector.on_batch_start(batch, None)
        call(self._starts, trainer, "on_validation_batch_start", batch, batch_idx)
        self.batch_progress.increment_started()
        model._current_fx_name = "validation_step"
        with self._context():
            output = model.validation_step(batch, batch_idx)
        self.batch_progress.increment_processed()
        call(self._ends, trainer, "on_validation_batch_end", output, batch, batch_idx)
        end_batch(trainer, self._results)
        self.batch_progress.increment_completed()
        if not trainer.sanity_checking:
            self._has_run = True
            if logs_steps(self._results):
                seen = self._seen_batches_per_dataloader[dataloader_idx]
                trainer._logger_connector.update_eval_step_metrics(seen)
            self._seen_batches_per_dataloader[dataloader_idx] += 1


def _is_usual(trainer: Any, of_model: tuple[str, ...], of_callbacks: tuple[str, ...] = ()) -> bool:
    """Whether none of these hooks has something to do, and the devices need nothing between steps."""
    model, data, precision = trainer.lightning_module, trainer.datamodule, trainer.precision_plugin
    scales = type(precision) is not Precision and getattr(precision, "scaler", None) is not None
    return (
        isinstance(model, LightModel)
        and model.automatic_optimization
        and type(trainer.strategy) is SingleDeviceStrategy
        and type(precision) in (Precision, MixedPrecision)
        and not scales
        and isinstance(trainer.profiler, PassThroughProfiler)
        and not any(overrides(model, name, LightModel) for name in of_model)
        and not any(overrides(data, name, pl.LightningDataModule) for name in TRANSFERS if data is not None)
        and not any(hooks_of(trainer, name) for name in of_callbacks)
    )


def overrides(owner: Any, name: str, base: type) -> bool:
    """Whether a hook is another than that of a class, by its class or as an attribute of its own."""
    return name in vars(owner) or getattr(type(owner), name) is not getattr(base, name)


def hooks_of(trainer: Any, name: str, model: Any = None) -> list[tuple[Any, Hook]]:
    """The hooks of that name that callbacks have, and the model after them, each with its owner."""
    found = [(each, getattr(each, name)) for each in trainer.callbacks if overrides(each, name, pl.Callback)]
    if model is not None and overrides(model, name, LightModel):
        found.append((model, getattr(model, name)))
    return found


def call(hooks: list[tuple[Any, Hook]], trainer: pl.Trainer, name: str, *args: Any) -> None:
    """Calls hooks one after the other."""
    if not hooks:
        return
    model = trainer.lightning_module
    model._current_fx_name = name  # where ``self.log`` is called from
    for owner, hook in hooks:
        if owner is model:
            hook(*args)
        else:
            hook(trainer, model, *args)


def begin_batch(trainer: pl.Trainer, results: Any, batch: Any) -> None:
    """What ``self.log`` must know of a batch."""
    connector = trainer._logger_connector
    connector._first_loop_iter = connector._first_loop_iter is None
    results.batch, results.batch_size, results.dataloader_idx = batch, None, None


def end_batch(trainer: pl.Trainer, results: Any) -> None:
    """Publishes what was logged for this step, and lets the batch go."""
    if logs_steps(results):
        trainer._logger_connector.on_batch_end()
    results.batch = results.batch_size = None


def logs_steps(results: Any) -> bool:
    """Whether anything is logged for single steps, and not only for epochs."""
    return any(result.meta.on_step for result in results.values())


def on_device(batch: Any, trainer: pl.Trainer) -> Any:
    """The batch where the model is; what is there already is left as it is."""
    batch, device = trainer.precision_plugin.convert_input(batch), trainer.strategy.root_device
    if isinstance(batch, tuple) and all(isinstance(part, Tensor) and part.device == device for part in batch):
        return batch
    return move_data_to_device(batch, device)


def _context(trainer: pl.Trainer, name: str) -> Callable[[], AbstractContextManager[Any]]:
    """What steps are made in; plain float32 needs nothing."""
    plain = type(trainer.precision_plugin) is Precision
    return nullcontext if plain else getattr(trainer.precision_plugin, name)
