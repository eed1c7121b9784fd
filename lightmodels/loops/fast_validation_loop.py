"""Lightning's loop over validation batches, with a fast path around its hooks."""

from collections.abc import Iterator
from typing import Any

from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop
from pytorch_lightning.trainer.states import RunningStage, TrainerFn

from lightmodels.loops import fast_path


class EvaluationLoop(_EvaluationLoop):
    """Replaces Lightning's loop ``old`` over the validation batches of a ``fit``."""

    def __init__(self, old: _EvaluationLoop) -> None:
        stages = TrainerFn.FITTING, RunningStage.VALIDATING
        super().__init__(old.trainer, *stages, verbose=False, inference_mode=old.inference_mode)
        self._verified_loaders = 0

    def on_run_start(self) -> None:
        super().on_run_start()
        trainer = self.trainer
        hooks = fast_path.VALIDATION_HOOKS
        self._is_fast = self.num_dataloaders == 1 and fast_path.why_not(trainer, hooks) is None
        self._sanity_check = trainer.sanity_checking
        self._start_hooks = fast_path.overridden_hooks(trainer, "on_validation_batch_start")
        self._end_hooks = fast_path.overridden_hooks(trainer, "on_validation_batch_end")
        self._context = fast_path.step_context(trainer, "val_step_context")

    def _verify_dataloader_idx_requirement(self) -> None:
        """Inspects the signatures of the model's hooks when the number of loaders has changed, not in each epoch."""
        if self._verified_loaders != self.num_dataloaders:
            super()._verify_dataloader_idx_requirement()
            self._verified_loaders = self.num_dataloaders

    def _evaluation_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int, dataloader_iter: Iterator[Any] | None
    ) -> None:
        trainer = self.trainer
        if not self._is_fast or dataloader_iter is not None or trainer.received_sigterm:
            super()._evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)
            return
        model = trainer.lightning_module
        batch = fast_path.to_device(batch, trainer)
        self.batch_progress.increment_ready()
        fast_path.begin_batch(trainer, self._results, batch)
        fast_path.call_hooks(self._start_hooks, model, "on_validation_batch_start", batch, batch_idx)
        self.batch_progress.increment_started()
        fast_path.set_current_hook(model, "validation_step")
        with self._context():
            output = model.validation_step(batch, batch_idx)
        self.batch_progress.increment_processed()
        fast_path.call_hooks(self._end_hooks, model, "on_validation_batch_end", output, batch, batch_idx)
        fast_path.end_batch(trainer, self._results)
        self.batch_progress.increment_completed()
        if not self._sanity_check:
            self._has_run = True
            if fast_path.logs_steps(self._results):
                seen = self._seen_batches_per_dataloader[dataloader_idx]
                trainer._logger_connector.update_eval_step_metrics(seen)
            self._seen_batches_per_dataloader[dataloader_idx] += 1
