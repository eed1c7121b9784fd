"""BestAndLastCheckpoint: when a run's checkpoints are written."""

import math
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.trainer.states import TrainerFn

from lightmodels.callbacks.terminate_on_nan import require_finite_weights
from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.checkpointing import plain_data
from lightmodels.checkpointing.files import BackgroundWriter
from lightmodels.metrics.history import History
from lightmodels.utils import distributed, lightning_internals
from lightmodels.utils.atomic_file import remove_leftovers

Mode = Literal["min", "max"]
MIN_SECONDS_BETWEEN_SAVES = (
    0.05  # seconds in which no state is saved again, unless it is the best or the last
)
MAX_BACKGROUND_BYTES = (
    64 * 2**20
)  # of weights, up to which their checkpoint is held in memory while it is written


class BestAndLastCheckpoint(pl.callbacks.Checkpoint):
    """Keeps ``last.ckpt``, the newest state, and ``best.ckpt``, the state with the best ``monitor``.

    The newest state is that after the last epoch, or of one that was saved less than 0.05 s before, or, with
    ``every_n_steps``, that after the last such step and the validation that follows it; at an epoch's
    last step it is the epoch's end. The best state is one after a validation if ``monitor`` is a
    validation's value.

    Attributes:
        ends: whether training is about to be stopped, so that no save may be put off.
        save_pending: whether the state after the last epoch is not saved, as another was a moment ago.

    Args:
        monitor: the value that decides; by default ``val_loss``, or ``train_loss`` without validation.
        mode: whether the least or the greatest value is best.
        every_n_steps: optimizer steps between saves inside epochs; by default none.

    Raises:
        ValueError: ``every_n_steps`` below 1; while training, a monitor that is no value of an epoch.
    """

    def __init__(
        self, monitor: str | None = None, mode: Mode = "min", every_n_steps: int | None = None
    ) -> None:
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"save_every_n_steps must be at least 1, got {every_n_steps}")
        self.monitor, self.mode, self.every_n_steps = monitor, mode, every_n_steps
        self.dirpath: Path | None = None
        self.best_epoch = 0
        self.best_score: float | None = None
        self.ends = self.save_pending = False
        self._background = BackgroundWriter()
        self._seen_step, self._saved_at = 0, -math.inf
        self._save_after_validation = self._best_at_epoch_end = False

    @property
    def best_model_path(self) -> str:
        """The best checkpoint, or nothing if there is none yet."""
        self.wait()
        return str(self.dirpath / "best.ckpt") if self.dirpath and self.best_epoch else ""

    @property
    def last_model_path(self) -> str:
        """The newest checkpoint, or nothing if there is none yet."""
        self.wait()
        path = self.dirpath / "last.ckpt" if self.dirpath else None
        return str(path) if path and path.exists() else ""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self.dirpath = trainer.strategy.broadcast(self.dirpath)  # the first process has claimed it
        if len(set(distributed.all_gather_objects(trainer.ckpt_path is None, trainer.world_size))) == 2:
            raise checkpoint_files.CheckpointError(
                "not every process finds the checkpoint: put the run directory where all machines see it"
            )
        if self.dirpath and trainer.is_global_zero:
            remove_leftovers(self.dirpath, "*.ckpt")

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for part in (pl_module, trainer.datamodule):  # type: ignore[attr-defined]
            plain_data.require_plain(getattr(part, "hparams", {}))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seen_step = trainer.global_step
        loader = trainer.train_dataloader
        loaders = loader if isinstance(loader, list) else [loader]
        if self.every_n_steps and not all(hasattr(part, "state_dict") for part in loaders):
            what = "the training loader has no state_dict: a resume is exact from the end of an epoch only"
            warnings.warn(what, stacklevel=2)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.every_n_steps:
            return
        before, self._seen_step = self._seen_step, trainer.global_step
        if before // self.every_n_steps == self._seen_step // self.every_n_steps:
            return
        self._save_after_validation = lightning_internals.validation_follows(trainer)
        if not self._save_after_validation and not trainer.is_last_batch:
            self.save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        decides = resolve_monitor(self.monitor, trainer).startswith("val")
        improved = decides and self._improves(trainer, epochs_trained(trainer, pl_module) + 1)
        if trainer.is_last_batch:
            self._best_at_epoch_end = improved  # saved with all that the end of the epoch brings
        elif improved or self._save_after_validation:
            self.save_last(trainer, also_best=improved)
        self._save_after_validation = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not resolve_monitor(self.monitor, trainer).startswith("val"):
            self._best_at_epoch_end = self._improves(trainer, epochs_trained(trainer, pl_module))
        at_once = time.monotonic() - self._saved_at < MIN_SECONDS_BETWEEN_SAVES and trainer.world_size == 1
        self.save_pending = at_once and not (self._best_at_epoch_end or self.ends or is_last_epoch(trainer))
        if not self.save_pending:
            self.save_last(trainer, also_best=self._best_at_epoch_end)
        self._best_at_epoch_end = False

    def save_last(self, trainer: pl.Trainer, also_best: bool = False) -> None:
        """Writes ``last.ckpt``; ``best.ckpt`` too, as one file of two names."""
        if self.dirpath is None:
            return
        require_finite_weights(trainer.lightning_module)
        self.save_pending = False
        self._saved_at = time.monotonic()
        last, best = self.dirpath / "last.ckpt", self.dirpath / "best.ckpt"
        if self._may_run_on(trainer):
            options = {"run": self._background.run, "also": last if also_best else None}
            trainer.save_checkpoint(best if also_best else last, False, storage_options=options)
            return
        # The best first: a run killed in between resumes from the last and makes the same best again.
        trainer.save_checkpoint(best if also_best else last, weights_only=False)
        if also_best and trainer.is_global_zero:
            checkpoint_files.link_checkpoint(best, last)
        trainer.strategy.barrier("BestAndLastCheckpoint")

    def _may_run_on(self, trainer: pl.Trainer) -> bool:
        """Whether training can go on while a checkpoint is written: a small one of ours, on one device."""
        model, strategy = trainer.lightning_module, trainer.strategy
        ours = type(strategy.checkpoint_io) is checkpoint_files.AtomicCheckpointIO
        small = sum(parameter.nbytes for parameter in model.parameters()) <= MAX_BACKGROUND_BYTES
        return type(strategy) is SingleDeviceStrategy and ours and small

    def wait(self) -> None:
        """Returns when all that was saved is written.

        Raises:
            CheckpointError: it cannot be.
        """
        self._background.wait()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.wait()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        with suppress(checkpoint_files.CheckpointError):  # the exception is the one to tell
            self.wait()

    def state_dict(self) -> dict[str, Any]:
        return {"best_epoch": self.best_epoch, "best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_epoch, self.best_score = state_dict["best_epoch"], state_dict["best_score"]

    def _improves(self, trainer: pl.Trainer, epoch: int) -> bool:
        """Whether the monitored value is the best so far; if so, remembers it as that of the epoch."""
        monitor, values = resolve_monitor(self.monitor, trainer), trainer.callback_metrics
        if monitor not in values:
            if self.monitor is None:
                return False  # a LightningModule that logs nothing: only the last state is kept
            raise ValueError(
                f"monitor {monitor!r} is not among the values of an epoch: {', '.join(sorted(values))}"
            )
        score, best = float(values[monitor]), self.best_score
        better = best is None or (score < best if self.mode == "min" else score > best)
        if better and math.isfinite(score):
            self.best_score, self.best_epoch = score, epoch
        return better and math.isfinite(score)


def resolve_monitor(monitor: str | None, trainer: pl.Trainer) -> str:
    """The value that decides what is best: the one named, or the loss of validation, or of training."""
    return monitor or ("val_loss" if trainer.enable_validation else "train_loss")


def epochs_trained(trainer: pl.Trainer, pl_module: pl.LightningModule) -> int:
    """Epochs that are in the model's history; for other modules, of this trainer."""
    history = getattr(pl_module, "history", None)
    return len(history) if isinstance(history, History) else trainer.current_epoch


def is_last_epoch(trainer: pl.Trainer) -> bool:
    """Whether training ends with this epoch, as far as can be known."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    out_of_epochs = epochs is not None and 0 <= epochs <= trainer.current_epoch + 1
    return trainer.should_stop or out_of_epochs or 0 <= steps <= trainer.global_step
