"""Lightning's loop over training batches, with a fast path around its hooks.

In each step, Lightning asks callbacks, model, data module, strategy, precision and profiler whether they have
something to do. This loop asks once an epoch, and if none has, runs the step itself, with the overridden
``on_…_batch_…`` hooks; counters, and so checkpoints, are the same. Otherwise Lightning's own code runs.
"""

import time
from functools import partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging
from pytorch_lightning.loops.fit_loop import RestartStage
from pytorch_lightning.loops.loop import _Loop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from lightmodels.loops import fast_path, multi_step
from lightmodels.loops.fast_validation_loop import EvaluationLoop
from lightmodels.utils.batch import warn_of_none

MAX_AUTO_SECONDS = 0.05  # length of an execution with steps_per_execution="auto"


class TrainingEpochLoop(_TrainingEpochLoop):
    """Replaces a new trainer's loop ``old`` over an epoch's training batches.

    With several steps per execution, ``on_train_batch_end`` is called after the last step of an execution
    only, except for the model's and for callbacks with an attribute ``runs_every_step = True``. An execution
    ends early where the epoch ends, validation is due or training stops. Callbacks that run every step keep
    steps from being compiled as one graph, unless they have an attribute ``runs_between_compiled_steps``:
    whether they are called with the loss of each step in the graph, or only after the last.
    """

    why_not: str | None = "nothing has been trained"  # what keeps steps from the fast path

    def __init__(self, old: _TrainingEpochLoop, steps_per_execution: int | str, compiler: Any) -> None:
        super().__init__(old.trainer, old.min_steps, old.max_steps)
        self.val_loop = EvaluationLoop(old.val_loop)
        self.steps_per_execution, self.compiler = steps_per_execution, compiler
        self._run_step = fast_path.run_step
        if compiler:
            self._run_step = partial(compiler.call, old.trainer, self._run_step)
            for optimization in (self.automatic_optimization, self.manual_optimization):
                optimization.run = partial(compiler.call, old.trainer, optimization.run)  # type: ignore[method-assign]

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        self.why_not = fast_path.why_not_training(self.trainer, data_fetcher)
        if self.why_not is None:
            self._prepare_fast_path()
            if self.steps_per_execution != 1:
                self._check_callbacks()
        elif self.steps_per_execution != 1:
            raise ValueError(f"steps_per_execution={self.steps_per_execution!r} is not supported with {self.why_not}")
        if self.compiler:
            self.compiler.begin_epoch(self.trainer, self.why_not)

    def _check_callbacks(self) -> None:
        """Warns of callbacks that miss steps; ValueError for those that would end executions in a later epoch."""
        option = f"steps_per_execution={self.steps_per_execution!r}"
        for callback in self.trainer.callbacks:
            if isinstance(callback, (GradientAccumulationScheduler, StochasticWeightAveraging)):
                raise ValueError(f"{option} is not supported with {type(callback).__name__}")
        for callback, _ in [*self._start_hooks, *self._end_hooks]:
            if isinstance(callback, pl.Callback) and fast_path.needs_every_step(callback):
                what = f"{option}: {type(callback).__name__} is called once an execution, not after each step"
                rank_zero_warn(f"{what}, unless it has an attribute runs_every_step = True")

    def _prepare_fast_path(self) -> None:
        trainer, model = self.trainer, self.trainer.lightning_module
        self._start_hooks = fast_path.overridden_hooks(trainer, "on_train_batch_start")
        self._end_hooks = hooks = fast_path.overridden_hooks(trainer, "on_train_batch_end")
        self.every_step_hooks = [
            hook for hook in hooks if hook[0] is model or getattr(hook[0], "runs_every_step", False)
        ]
        self._context = fast_path.step_context(trainer, "train_step_context")
        schedules = [config for config in trainer.lr_scheduler_configs if config.interval == "step"]
        self._schedules = [config for config in schedules if not config.reduce_on_plateau]
        self.validates_last = (
            trainer.val_check_batch == trainer.num_training_batches  # None for intervals of time
            and trainer.check_val_every_n_epoch is not None  # else batches are counted over all epochs
            and len(schedules) == len(self._schedules)
        )

    def update_restart_stage(self) -> None:
        fit_loop = self.trainer.fit_loop
        if fit_loop.restarted_on_epoch_end:  # only with max_steps, where Lightning would repeat the end of the epoch
            _Loop.restarting.fset(fit_loop, False)  # type: ignore[attr-defined]
            fit_loop._restart_stage = RestartStage.RESUMED_ON_EPOCH_END
        super().update_restart_stage()

    def advance(self, data_fetcher: Any) -> None:
        try:
            self._advance(data_fetcher)
        except StopIteration:
            if data_fetcher.done and self.batch_progress.current.ready and not self.batch_progress.is_last_batch:
                self._end_early(data_fetcher)
            raise

    def _end_early(self, data_fetcher: Any) -> None:
        """Does what belongs to an epoch's last batch, after a loader that has fewer batches than its length says."""
        trainer, batches = self.trainer, self.batch_progress.current.ready
        what = f"the training loader ended after {batches} of {trainer.num_training_batches} batches"
        rank_zero_warn(f"{what}, and the epoch with it: correct its length", stacklevel=2)
        if self.why_not is None and not self._execution_ends:
            self._finish_execution()
            self._batches_that_stepped += 1
        validated = self._should_check_val_fx(data_fetcher)
        self.batch_progress.is_last_batch = True
        self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        if self._should_check_val_epoch() and not validated:
            trainer.validating = True
            self.val_loop.run()
            trainer.training = True

    def _advance(self, data_fetcher: Any) -> None:
        slow = self.why_not is not None or self.automatic_optimization._skip_backward
        if slow or (self.restarting and self._should_check_val_fx(data_fetcher)):
            super().advance(data_fetcher)
            return
        if self.val_loop.restarting:
            self.val_loop.restarting = False
        if multi_step.can_run(self):
            multi_step.run(self, data_fetcher)
            return
        steps, start = 0, time.perf_counter()
        while steps == 0 or not self._execution_ends:
            if steps:
                self._batches_that_stepped += 1  # as ``on_advance_end`` does after an execution
            batch, index = self.next_batch(data_fetcher, begins_execution=steps == 0)
            loss = self.run_step(batch, index)
            steps += 1
            too_long = time.perf_counter() - start > MAX_AUTO_SECONDS
            is_last = too_long if self.steps_per_execution == "auto" else steps == self.steps_per_execution
            self.end_step(loss, batch, index, is_last)

    def next_batch(self, data_fetcher: Any, begins_execution: bool) -> tuple[Any, int]:
        """The next batch, on the model's device, and its number in the epoch."""
        trainer, progress = self.trainer, self.batch_progress
        batch, _, _ = next(data_fetcher)
        index = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        batch = fast_path.to_device(batch, trainer)
        progress.increment_ready()
        fast_path.begin_batch(trainer, self._results, batch)
        if batch is None:
            warn_of_none("training")
            return batch, index
        if begins_execution:
            hooks, model = self._start_hooks, trainer.lightning_module
            fast_path.call_hooks(hooks, model, "on_train_batch_start", batch, index)
        progress.increment_started()
        return batch, index

    def run_step(self, batch: Any, index: int, loss: Tensor | None = None) -> Tensor | None:
        """Runs, or given its ``loss`` only counts, an optimizer step; the loss before it, of shape ``()``.

        A batch that is None is skipped.
        """
        if batch is None:
            return None
        if self.compiler and loss is None:
            rates = [[group["lr"] for group in self.trainer.optimizers[0].param_groups]]
            losses = self.compiler.run_steps([batch], rates)
            loss = losses[0] if losses else None
        progress = self.automatic_optimization.optim_progress.optimizer
        progress.step.increment_ready()
        if loss is None:
            loss = self._run_step(self.trainer, batch, index, self._context, progress.zero_grad)
        else:
            fast_path.advance_progress(progress.zero_grad)
        progress.step.increment_completed()
        return loss

    def step_schedules(self, index: int) -> None:
        for config in self._schedules:
            if (index + 1) % config.frequency == 0:
                self.scheduler_progress.increment_ready()
                self.trainer.lightning_module.lr_scheduler_step(config.scheduler, None)
                self.scheduler_progress.increment_completed()

    def end_step(self, loss: Tensor | None, batch: Any, index: int, is_last: bool) -> None:
        """Calls the hooks that follow a step, which is the last of its execution or not."""
        trainer, model = self.trainer, self.trainer.lightning_module
        outputs = None if loss is None else {"loss": loss}
        self.batch_progress.increment_processed()
        self.step_schedules(index)
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        self._execution_ends = is_last or self._must_end()
        hooks = self._end_hooks if self._execution_ends else self.every_step_hooks
        fast_path.call_hooks(hooks, model, "on_train_batch_end", outputs, batch, index)
        self._finish_execution = partial(self._call_other_hooks, outputs, batch, index)
        if trainer.should_stop and not self._execution_ends:  # one of these hooks has set it
            self._finish_execution()
        fast_path.end_batch(trainer, self._results)
        self.batch_progress.increment_completed()
        if self._results and fast_path.logs_steps(self._results):
            trainer._logger_connector.update_train_step_metrics()

    def _call_other_hooks(self, *arguments: Any) -> None:
        """Ends an execution after a step that was not meant to be its last."""
        self._execution_ends = True
        hooks = [hook for hook in self._end_hooks if hook not in self.every_step_hooks]
        fast_path.call_hooks(hooks, self.trainer.lightning_module, "on_train_batch_end", *arguments)

    def _must_end(self) -> bool:
        """Whether Lightning has something to do after this step."""
        trainer, progress = self.trainer, self.batch_progress
        stops = trainer.should_stop or trainer.received_sigterm
        return stops or progress.is_last_batch or not self.validates_last or self._is_training_done

    def on_advance_end(self, data_fetcher: Any) -> None:
        if self.why_not is not None or self.restarting or self._must_end():
            super().on_advance_end(data_fetcher)
        else:
            self._batches_that_stepped += 1

    def on_save_checkpoint(self) -> dict[str, Any]:
        state: dict[str, Any] = super().on_save_checkpoint()
        return state | {"not_compilable": self.compiler.reason} if self.compiler else state

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        super().on_load_checkpoint(state_dict)
        if self.compiler:
            self.compiler.reason = state_dict.get("not_compilable")
