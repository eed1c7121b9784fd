"""Lightning's loop over training batches, with a short way through steps of which nothing is special.

Lightning asks at each step every callback, the model, the data module, the strategy, the precision and
the profiler whether they have something to do. The loop here asks once an epoch. Where the answer is no,
a step is the model's step, its backward pass and the optimizer's step, and the callbacks' ``on_…_batch_…``
that there are; counters, and so checkpoints, are those of Lightning's way. Else Lightning's way is taken.
"""

import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from torch import Tensor

from lightmodels.loops import fast_path, multi_step, optimizer_step

if TYPE_CHECKING:
    from lightmodels.loops.compiled.step_compiler import StepCompiler

MAX_AUTO_SECONDS = 0.05  # seconds after which an execution of "auto" ends


class TrainingEpochLoop(_TrainingEpochLoop):
    """Lightning's loop over an epoch's training batches.

    With more than one step an execution, callbacks are called at its ends only, but for those with an
    attribute ``runs_every_step``; the model's own hook is called at each step. An execution ends early where
    an epoch ends, or validation or the end of training is due.

    Args:
        trainer: whose loop it is.
        min_steps: of the training, as in Lightning.
        max_steps: of the training, as in Lightning.
        execution: optimizer steps an execution, or ``"auto"`` for as many as take 50 ms.
        compiled: compiles steps, if that is asked for.
    """

    why_not: str | None = "nothing has been trained"

    def __init__(
        self,
        trainer: pl.Trainer,
        min_steps: int | None,
        max_steps: int,
        execution: int | Literal["auto"],
        compiled: "StepCompiler | None",
    ) -> None:
        super().__init__(trainer, min_steps=min_steps, max_steps=max_steps)
        self.execution, self.compiled = execution, compiled
        if compiled:
            for way in (self.automatic_optimization, self.manual_optimization):
                way.run = partial(optimizer_step.run_with_compiled_net, compiled, trainer, way.run)  # type: ignore[method-assign]

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        self.why_not = fast_path.why_not_training(self.trainer, data_fetcher)
        if self.why_not is None:
            self._prepare()
        elif self.execution != 1:
            raise ValueError(f"steps_per_execution={self.execution!r} cannot be had with {self.why_not}")
        if self.compiled:
            self.compiled.begin_epoch(self.trainer, self.why_not)

    def _prepare(self) -> None:
        trainer: Any = self.trainer
        self._starts = fast_path.overridden_hooks(trainer, "on_train_batch_start")
        self._ends = fast_path.overridden_hooks(trainer, "on_train_batch_end", trainer.lightning_module)
        self.inside = [
            (owner, hook)
            for owner, hook in self._ends
            if owner is trainer.lightning_module or getattr(owner, "runs_every_step", False)
        ]
        self._context = fast_path.step_context(trainer, "train_step_context")
        schedules = [each for each in trainer.lr_scheduler_configs if each.interval == "step"]
        self._schedules = [each for each in schedules if not each.reduce_on_plateau]
        self.validates_last = (
            trainer.val_check_batch == trainer.num_training_batches
            and trainer.check_val_every_n_epoch is not None  # else batches of all epochs are counted
            and trainer._val_check_time_interval is None
            and len(schedules) == len(self._schedules)
        )

    def advance(self, data_fetcher: Any) -> None:
        usual = self.why_not is not None or self.automatic_optimization._skip_backward
        if usual or self._resumes_at_validation(data_fetcher):
            super().advance(data_fetcher)
            return
        if self.val_loop.restarting:
            self.val_loop.restarting = False
        if multi_step.can_run(self):
            multi_step.run(self, data_fetcher)
            return
        made, start = 0, time.perf_counter()
        while made == 0 or not self._ends_here:
            if made:
                self._batches_that_stepped += 1  # as the end of a step does, of which more is not due
            batch, index = self.take(data_fetcher, made == 0)
            loss = self.step(batch, index)
            made += 1
            long = time.perf_counter() - start > MAX_AUTO_SECONDS
            self.step_schedules(index)
            self.finish(loss, batch, index, long if self.execution == "auto" else made == self.execution)

    def _resumes_at_validation(self, data_fetcher: Any) -> bool:
        """Whether this is no step, but the way back to where training was stopped."""
        if not self.restarting or not self._should_check_val_fx(data_fetcher):
            return False
        if self.val_loop.restarted_mid_evaluation or self.restarted_on_last:
            return True
        self.val_loop.increment_progress_to_evaluation_end()
        return False

    def take(self, data_fetcher: Any, first: bool) -> tuple[Any, int]:
        """The next batch, where the model is, and its number in the epoch."""
        trainer, progress = self.trainer, self.batch_progress
        batch, _, _ = next(data_fetcher)
        index = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        batch = fast_path.to_device(batch, trainer)
        progress.increment_ready()
        fast_path.begin_batch(trainer, self._results, batch)
        if first:
            fast_path.call_hooks(self._starts, trainer, "on_train_batch_start", batch, index)
        progress.increment_started()
        return batch, index

    def finish(self, loss: Any, batch: Any, index: int, last: bool) -> None:
        """What comes after a step, the last of its execution or not."""
        trainer, progress, outputs = self.trainer, self.batch_progress, {"loss": loss}
        progress.increment_processed()
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        self._ends_here = last or self._must_end()
        hooks = self._ends if self._ends_here else self.inside
        fast_path.call_hooks(hooks, trainer, "on_train_batch_end", outputs, batch, index)
        if trainer.should_stop and not self._ends_here:  # which one of these hooks has asked for
            self._ends_here = True
            others = [hook for hook in self._ends if hook not in self.inside]
            fast_path.call_hooks(others, trainer, "on_train_batch_end", outputs, batch, index)
        fast_path.end_batch(trainer, self._results)
        progress.increment_completed()
        if self._results and fast_path.logs_steps(self._results):
            trainer._logger_connector.update_train_step_metrics()

    def _must_end(self) -> bool:
        """Whether something is due after this step."""
        trainer = self.trainer
        return (
            self.batch_progress.is_last_batch
            or not self.validates_last
            or trainer.should_stop
            or trainer.received_sigterm
            or self._is_training_done
        )

    def on_advance_end(self, data_fetcher: Any) -> None:
        if self.why_not is not None or self.restarting or self._must_end():
            super().on_advance_end(data_fetcher)
        else:
            self._batches_that_stepped += 1

    def step_schedules(self, index: int) -> None:
        for config in self._schedules:
            if (index + 1) % config.frequency == 0:
                self.scheduler_progress.increment_ready()
                self.trainer.lightning_module.lr_scheduler_step(config.scheduler, None)
                self.scheduler_progress.increment_completed()

    def step(self, batch: Any, index: int) -> Tensor:
        """One optimizer step; the loss before it, of shape ``()``."""
        if self.compiled:
            rates = [[group["lr"] for group in self.trainer.optimizers[0].param_groups]]
            if losses := self.compiled.make([batch], rates):
                return self.count(losses[0])
        progress = self.automatic_optimization.optim_progress.optimizer
        progress.step.increment_ready()
        with self.compiled.of_net(self.trainer.lightning_module) if self.compiled else nullcontext():
            loss = optimizer_step.run_step(self.trainer, batch, index, self._context, progress.zero_grad)
        progress.step.increment_completed()
        return loss

    def count(self, loss: Tensor) -> Tensor:
        """Counts a step that a graph has made."""
        progress = self.automatic_optimization.optim_progress.optimizer
        progress.step.increment_ready()
        optimizer_step.advance_progress(progress.zero_grad)
        progress.step.increment_completed()
        return loss

    def on_save_checkpoint(self) -> dict[str, Any]:
        state: dict[str, Any] = super().on_save_checkpoint()
        return state | {"not_one_graph": self.compiled.reason} if self.compiled else state

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        super().on_load_checkpoint(state_dict)
        if self.compiled:
            self.compiled.reason = state_dict.get("not_one_graph")
