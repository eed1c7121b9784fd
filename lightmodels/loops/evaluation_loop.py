"""Lightning's loop over validation batches, with the short way of ``training_loop``."""

from collections.abc import Iterator
from typing import Any

from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop

from lightmodels.loops import fast_path


class EvaluationLoop(_EvaluationLoop):
    """Lightning's loop over the validation batches of a ``fit``."""

    _fast = False

    def on_run_start(self) -> None:
        super().on_run_start()
        self._fast = (
            fast_path.why_not(self.trainer, fast_path.VALIDATION_HOOKS) is None and self.num_dataloaders == 1
        )
        self._is_check = self.trainer.sanity_checking
        self._starts = fast_path.overridden_hooks(self.trainer, "on_validation_batch_start")
        self._ends = fast_path.overridden_hooks(self.trainer, "on_validation_batch_end")
        self._context = fast_path.step_context(self.trainer, "val_step_context")

    def _evaluation_step(
        self, batch: Any, batch_idx: int, dataloader_idx: int, dataloader_iter: Iterator[Any] | None
    ) -> None:
        if not self._fast or dataloader_iter is not None or self.trainer.received_sigterm:
            super()._evaluation_step(batch, batch_idx, dataloader_idx, dataloader_iter)
            return
        trainer, model = self.trainer, self.trainer.lightning_module
        batch = fast_path.to_device(batch, trainer)
        self.batch_progress.increment_ready()
        fast_path.begin_batch(trainer, self._results, batch)
        fast_path.call_hooks(self._starts, trainer, "on_validation_batch_start", batch, batch_idx)
        self.batch_progress.increment_started()
        fast_path.set_current_hook(model, "validation_step")
        with self._context():
            output = model.validation_step(batch, batch_idx)
        self.batch_progress.increment_processed()
        fast_path.call_hooks(self._ends, trainer, "on_validation_batch_end", output, batch, batch_idx)
        fast_path.end_batch(trainer, self._results)
        self.batch_progress.increment_completed()
        if not self._is_check:
            self._has_run = True
            if fast_path.logs_steps(self._results):
                seen = self._seen_batches_per_dataloader[dataloader_idx]
                trainer._logger_connector.update_eval_step_metrics(seen)
            self._seen_batches_per_dataloader[dataloader_idx] += 1
