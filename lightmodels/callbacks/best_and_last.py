"""BestAndLastCheckpoint: saves the best and the newest state of a training."""

import math
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import Metric

from lightmodels.callbacks.terminate_on_nan import require_finite_weights
from lightmodels.checkpointing import files
from lightmodels.metrics.direction import Mode, require_mode
from lightmodels.metrics.history import History
from lightmodels.utils import distributed, lightning_internals
from lightmodels.utils.atomic_file import remove_leftovers

MIN_SECONDS_BETWEEN_SAVES = 0.2  # epochs that end sooner share a save, unless they are the last
MAX_BACKGROUND_BYTES = 64 * 2**20  # of weights; a checkpoint written in the background is copied first


class BestAndLastCheckpoint(pl.callbacks.Checkpoint):
    """Saves the newest state as ``last.ckpt`` and the state with the best ``monitor`` as ``best.ckpt``.

    ``last.ckpt`` is saved at the end of every epoch (of very short ones, about every 0.2 s, with the best state in
    between kept in memory) and, with ``every_n_steps``, inside epochs too. A validation metric is compared after every
    validation.

    Args:
        monitor: metric that determines the best state. Default: ``val_loss``, else ``train_loss``.
        mode: whether a lower or a higher value is better. Default: what the metric or its name says.
        every_n_steps: number of optimizer steps between saves inside epochs. Default: none are made.

    Raises:
        ValueError: ``every_n_steps`` below 1; during training, a ``monitor`` that is not among the metrics, or
            that does not tell which values are better.
    """

    runs_every_step = False  # with several steps per execution, it saves at the end of one

    def __init__(self, monitor: str | None = None, mode: Mode | None = None, every_n_steps: int | None = None) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"save_every_n_steps must be at least 1, got {every_n_steps}")
        self.monitor, self.mode, self.every_n_steps = monitor, mode, every_n_steps
        self.dirpath: Path | None = None
        self.best_epoch = 0
        self.best_score: float | None = None
        self.current_score: Tensor | None = None  # of the newest epoch or validation
        self.save_pending = False  # the save at the end of the last epoch was skipped
        self._background = files.BackgroundWriter()
        self._write_best: Callable[[], None] | None = None  # of the best state, which is kept in memory until then
        self._last_step, self._saved_at = 0, -math.inf
        self._save_after_validation = self._best_at_epoch_end = False

    @property
    def best_model_path(self) -> str:
        """Path of the best checkpoint, the newest if nothing is monitored; empty if there is none yet."""
        if not self.best_epoch and self.monitor is None:
            return self.last_model_path
        self.wait()
        return str(self.dirpath / "best.ckpt") if self.dirpath and self.best_epoch else ""

    @best_model_path.setter
    def best_model_path(self, path: str) -> None:
        """Lightning sets it after a fit in processes that it has spawned; the Trainer restores the whole state."""

    @property
    def last_model_path(self) -> str:
        """Path of the newest checkpoint; empty if there is none yet."""
        self.wait()
        return str(path) if self.dirpath and (path := self.dirpath / "last.ckpt").exists() else ""

    @property
    def best_model_score(self) -> Tensor | None:
        """The best value of ``monitor`` so far, as Lightning's ``ModelCheckpoint`` has it."""
        return None if self.best_score is None else torch.tensor(self.best_score)

    @property
    def best_k_models(self) -> dict[str, Tensor]:
        """The path and score of the best checkpoint."""
        score = self.best_model_score
        return {} if score is None else {self.best_model_path: score}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self.dirpath = trainer.strategy.broadcast(self.dirpath)  # known to the first process only
        if len(set(distributed.all_gather_objects(trainer.ckpt_path is None, trainer.world_size))) > 1:
            what = "some processes do not see the checkpoint: all machines must share the run directory"
            raise files.CheckpointError(what)
        if self.dirpath and trainer.is_global_zero:
            remove_leftovers(self.dirpath, "*.ckpt")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        may_return_metrics = any(isinstance(module, Metric) for module in pl_module.modules())
        if self.monitor and not may_return_metrics:  # else their names are known once steps have returned them
            require_mode(self.monitor, self.mode, pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_step, self.save_pending = trainer.global_step, False
        if trainer.ckpt_path and self.dirpath and self.best_epoch and not (self.dirpath / "best.ckpt").exists():
            self._take_over_best(Path(trainer.ckpt_path).with_name("best.ckpt"), trainer)
        loader = trainer.train_dataloader
        loaders = loader if isinstance(loader, list) else [loader]
        if self.every_n_steps and not all(hasattr(part, "state_dict") for part in loaders):
            what = "the training dataloader has no state_dict: resuming inside an epoch is not exact"
            warnings.warn(what, stacklevel=2)

    def _take_over_best(self, best: Path, trainer: pl.Trainer) -> None:
        """Links the best checkpoint of a run that is resumed in another directory; without it, forgets the score."""
        if not best.exists():
            self.best_epoch, self.best_score = 0, None
        elif trainer.is_global_zero and self.dirpath:
            files.link_checkpoint(best, self.dirpath / "best.ckpt")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        every = self.every_n_steps
        if not every or trainer.global_step // every == self._last_step // every:
            return
        self._last_step = trainer.global_step
        self._save_after_validation = lightning_internals.validation_follows(trainer)
        if not self._save_after_validation and not trainer.is_last_batch:
            self.save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        best = self._monitors_validation(trainer) and self._improves(trainer, _epochs(trainer, pl_module) + 1)
        if trainer.is_last_batch:
            self._best_at_epoch_end = best  # saved at the end of the epoch, with the epoch's history
        elif best or self._save_after_validation:
            self.save_last(trainer, is_best=best)
        self._save_after_validation = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._monitors_validation(trainer):
            self._best_at_epoch_end = self._improves(trainer, _epochs(trainer, pl_module))
        is_best, self._best_at_epoch_end = self._best_at_epoch_end, False
        just_saved = time.monotonic() - self._saved_at < MIN_SECONDS_BETWEEN_SAVES and trainer.world_size == 1
        may_wait = just_saved and (not is_best or _can_write_in_background(trainer))
        self.save_pending = may_wait and not _is_last_epoch(trainer)
        if is_best or not self.save_pending:
            self.save_last(trainer, is_best, later=self.save_pending)

    def save_last(self, trainer: pl.Trainer, is_best: bool = False, later: bool = False) -> None:
        """Saves ``last.ckpt``, and ``best.ckpt`` as a second link to the same file if it is the best.

        With ``later``, a best state is kept in memory until the next save, unless that is of a better one.
        """
        if self.dirpath is None:
            return
        require_finite_weights(trainer.lightning_module)
        last, best = self.dirpath / "last.ckpt", self.dirpath / "best.ckpt"
        background = _can_write_in_background(trainer)
        run = self._keep_best if later else self._background.run
        options = {"run": run, "also": last if is_best else None} if background else None
        if not is_best:
            self._write_kept_best()
        # The best first: a run killed in between resumes from the last and finds the same best again.
        trainer.save_checkpoint(best if is_best else last, weights_only=False, storage_options=options)
        if later:
            return
        self.save_pending, self._saved_at = False, time.monotonic()
        self._keep_best(None)
        if not background:
            if is_best and trainer.is_global_zero:
                files.link_checkpoint(best, last)
            trainer.strategy.barrier("BestAndLastCheckpoint")

    def _keep_best(self, write: Callable[[], None] | None) -> None:
        self._write_best = write

    def _write_kept_best(self) -> None:
        write, self._write_best = self._write_best, None
        if write:
            self._background.run(write)

    def wait(self) -> None:
        """Waits until all checkpoints are written; raises CheckpointError if one could not be."""
        self._write_kept_best()
        self._background.wait()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.wait()

    def on_exception(self, *_: Any) -> None:
        with suppress(files.CheckpointError):  # the first exception is the one to report
            self.wait()

    def state_dict(self) -> dict[str, Any]:
        return {"best_epoch": self.best_epoch, "best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_epoch, self.best_score = state_dict["best_epoch"], state_dict["best_score"]

    def _monitors_validation(self, trainer: pl.Trainer) -> bool:
        return resolve_monitor(self.monitor, trainer).startswith("val")

    def _improves(self, trainer: pl.Trainer, epoch: int) -> bool:
        """Whether the monitored value is the best so far; if so, records it and its epoch."""
        monitor, values = resolve_monitor(self.monitor, trainer), trainer.callback_metrics
        if monitor not in values:
            if self.monitor is None:
                return False  # a LightningModule without this metric: only the last state is saved
            known = ", ".join(sorted(values))
            raise ValueError(f"monitor {monitor!r} is not available; the metrics of an epoch are {known}")
        mode = require_mode(monitor, self.mode, trainer.lightning_module)
        score, sign = float(values[monitor]), 1 if mode == "min" else -1
        if not math.isfinite(score):
            raise FloatingPointError(f"{monitor} is {score} in epoch {epoch}")
        self.current_score = torch.tensor(score)
        improves = self.best_score is None or sign * score < sign * self.best_score
        if improves:
            self.best_score, self.best_epoch = score, epoch
        return improves


def resolve_monitor(monitor: str | None, trainer: pl.Trainer) -> str:
    """The metric that determines what is best: the given one, or the loss of validation or training."""
    if monitor or not trainer.enable_validation:
        return monitor or "train_loss"
    names = "val_loss", "val_loss/dataloader_idx_0"  # the first of several loaders
    return next((name for name in names if name in trainer.callback_metrics), names[0])


def _epochs(trainer: pl.Trainer, pl_module: pl.LightningModule) -> int:
    """Number of epochs in the model's history, or, for other modules, of this trainer."""
    history = getattr(pl_module, "history", None)
    return len(history) if isinstance(history, History) else trainer.current_epoch


def _can_write_in_background(trainer: pl.Trainer) -> bool:
    supported = type(trainer.strategy.checkpoint_io) is files.AtomicCheckpointIO
    small = sum(weight.nbytes for weight in trainer.lightning_module.parameters()) <= MAX_BACKGROUND_BYTES
    return supported and small and type(trainer.strategy) is SingleDeviceStrategy


def _is_last_epoch(trainer: pl.Trainer) -> bool:
    epochs, steps = trainer.max_epochs, trainer.max_steps
    out_of_epochs = epochs is not None and 0 <= epochs <= trainer.current_epoch + 1
    return trainer.should_stop or out_of_epochs or 0 <= steps <= trainer.global_step
