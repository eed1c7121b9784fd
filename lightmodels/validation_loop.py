"""Lightning's loop over validation batches, with the short way of ``training_loop``."""

from collections.abc import Iterator
from typing import Any

from pytorch_lightning.loops.evaluation_loop import _EvaluationLoop

from lightmodels import short_way


class ValidationLoop(_EvaluationLoop):
    """Lightning's loop over the validation batches of a ``fit``."""

    _is_usual = False

    def on_run_start(self) -> None:
        super().on_run_start()
        self._is_usual = (
            short_way.obstacle(self.trainer, short_way.VALIDATES) is None and self.num_dataloaders == 1
        )
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
        short_way.enter(model, "validation_step")
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
