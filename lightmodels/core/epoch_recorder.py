"""EpochRecorder: a LightModel's epochs, from the values of its steps to the history and the checkpoints."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import DoublePrecision

from lightmodels.checkpointing import plain_data
from lightmodels.core import resume
from lightmodels.utils import distributed, lightning_internals


class EpochRecorder(pl.Callback):
    """Computes the exact values of each epoch, appends the history's row, and saves and restores both.

    It is a callback so that all hooks of a LightModel belong to its user, who need not call ``super()``. A LightModel
    brings it along; it does what it does for that model only.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._states_to_restore: resume.ProcessStates | None = None  # from a checkpoint
        self._loader_states: list[Any] = []
        self._plateau_is_due = False  # whether Lightning leaves these schedules out

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if isinstance(trainer.precision_plugin, DoublePrecision):  # else a checkpoint is rounded when it is loaded
            trainer.precision_plugin.convert_module(pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        model = self.model
        distributed.prepare_loaders(trainer.train_dataloader, trainer)
        model.data_info = plain_data.data_info_of(trainer, model.data_info)
        model._epoch_record.start_clock()
        model._batch_trainer = None
        if states := self._states_to_restore:
            self._states_to_restore = None
            resume.restore_state(states, self._loader_states, trainer, model._stage_metrics, model._epoch_record)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._plateau_is_due:
            resume.step_plateau_schedules(trainer, "epoch")
        self._plateau_is_due = False
        self.model._stage_metrics.start("train")
        self.model._counted_batch = -1
        self.model._epoch_record.start()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        metrics, history = self.model._stage_metrics, self.model.history
        samples = distributed.sum_over_ranks(torch.tensor(float(metrics.samples("train"))), trainer).item()
        values = metrics.finish("train", trainer)
        lightning_internals.publish_values(self.model, values)
        if not math.isfinite(values.get("train_loss", 0.0)):
            raise FloatingPointError(f"train_loss is {values['train_loss']} in epoch {history.next_epoch}")
        row = self.model._epoch_record.finish(history.next_epoch, values, samples)
        history.append(row)
        self._plateau_is_due = trainer.fit_loop.restarting
        for logger in trainer.loggers:
            logger.log_metrics({name: row[name] for name in row if name != "epoch"}, step=int(row["epoch"]))

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.model._epoch_record.start_validation()
        distributed.prepare_loaders(trainer.val_dataloaders, trainer)
        self.model._stage_metrics.start("val")

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = self.model._stage_metrics.finish("val", trainer)
        if not trainer.sanity_checking:
            lightning_internals.publish_values(self.model, values)
            self.model._epoch_record.end_validation(values)

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        distributed.prepare_loaders(trainer.test_dataloaders, trainer)
        self.model._stage_metrics.start("test")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        lightning_internals.publish_values(self.model, self.model._stage_metrics.finish("test", trainer))

    def on_predict_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        distributed.prepare_loaders(trainer.predict_dataloaders, trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.model.add_to_checkpoint(checkpoint)
        states = resume.collect_states(trainer, self.model._stage_metrics, self.model._epoch_record)
        checkpoint["processes"] = states
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        checkpoint["datamodule_class"] = None if data is None else type(data).__name__

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.model.restore_history(checkpoint)
        self._states_to_restore = checkpoint.get("processes")
        self._loader_states = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", [])


def add_callbacks_of(base: Any, own: Callable[[Any], Any]) -> Callable[[Any], list[pl.Callback]]:
    """A subclass's ``configure_callbacks`` that returns those of its base too, whether it calls ``super()`` or not."""

    @functools.wraps(own)
    def configure_callbacks(self: Any) -> list[pl.Callback]:
        found = own(self)
        callbacks = list(found) if isinstance(found, Sequence) else [found]
        has_them = any(isinstance(each, EpochRecorder) for each in callbacks)
        return callbacks if has_them else [*base.configure_callbacks(self), *callbacks]

    return configure_callbacks
