"""Checkpoint files that are whole or absent, and are read only if undamaged; and when to write them."""

import math
import os
import pickle
import shutil
import uuid
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO

from lightmodels import hyperparameters, resume

Mode = Literal["min", "max"]


class CheckpointError(Exception):
    """A checkpoint that cannot be read or written; one line that names the file and the reason."""


def save(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Writes a checkpoint so that a kill at any moment leaves the old file or the new one, whole.

    Raises:
        CheckpointError: the file cannot be written; a file that was there before is untouched.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, lambda temporary: _write(checkpoint, temporary))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be written ({error})") from error


def load(path: str | Path) -> dict[str, Any]:
    """Reads a local checkpoint onto the CPU, after a pass over its checksums; runs no code from it.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds more than plain data.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise CheckpointError(f"{path}: the checkpoint is damaged (checksum of {damaged})")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint") from None
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path}: not read, as it holds more than tensors and plain data") from None
    except (OSError, RuntimeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: the checkpoint is damaged ({_first_line(error)})") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path}: not a checkpoint of a Lightning model")
    return checkpoint


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's plugin for reading and writing checkpoints, on ``save`` and ``load``."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        save(checkpoint, path)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return load(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


class BestAndLast(pl.callbacks.Checkpoint):
    """Keeps ``last.ckpt``, the newest state, and ``best.ckpt``, the state after the best epoch.

    The newest state is that after the last epoch or, with ``every_n_steps``, after the last such
    step and the validation that follows it; at an epoch's last step it is the epoch's end.

    Args:
        monitor: the value that decides; by default ``val_loss``, or ``train_loss`` without validation.
        mode: whether the least or the greatest value is best.
        every_n_steps: optimizer steps between saves inside epochs; by default none.
    """

    def __init__(
        self, monitor: str | None = None, mode: Mode = "min", every_n_steps: int | None = None
    ) -> None:
        self.monitor = monitor
        self.mode = mode
        self.every_n_steps = every_n_steps
        self._saved_step = 0
        self._save_after_validation = False
        self.dirpath: Path | None = None
        self.best_model_path = ""
        self.best_epoch = 0
        self.best_score: float | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.dirpath = trainer.strategy.broadcast(self.dirpath)  # the first process has claimed it

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        hyperparameters.plain(pl_module.hparams)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if not self.every_n_steps or step % self.every_n_steps or step == self._saved_step:
            return
        self._saved_step = step
        if trainer.is_last_batch:
            return
        self._save_after_validation = resume.validation_follows(trainer)
        if not self._save_after_validation:
            self._save_last(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._save_after_validation and not trainer.sanity_checking:
            self._save_after_validation = False
            self._save_last(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.dirpath is None:
            return
        last, best = self.dirpath / "last.ckpt", self.dirpath / "best.ckpt"
        improved = self._improves(trainer)
        if improved:
            self.best_model_path = str(best)
        self._save_last(trainer)
        if improved and trainer.is_global_zero:
            _replace(best, lambda temporary: _link(last, temporary))
        trainer.strategy.barrier("BestAndLast")

    def state_dict(self) -> dict[str, Any]:
        return {"best_epoch": self.best_epoch, "best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_epoch, self.best_score = state_dict["best_epoch"], state_dict["best_score"]

    def _save_last(self, trainer: pl.Trainer) -> None:
        if self.dirpath is not None:
            trainer.save_checkpoint(self.dirpath / "last.ckpt", weights_only=False)

    def _improves(self, trainer: pl.Trainer) -> bool:
        values = trainer.callback_metrics
        monitor = self.monitor or ("val_loss" if "val_loss" in values else "train_loss")
        if monitor not in values:
            raise ValueError(
                f"monitor {monitor!r} is not among the values of an epoch: {', '.join(sorted(values))}"
            )
        score, best = values[monitor].item(), self.best_score
        improved = best is None or (score < best if self.mode == "min" else score > best)
        if improved and math.isfinite(score):
            self.best_score, self.best_epoch = score, trainer.current_epoch + 1
            return True
        return False


def _replace(path: Path, make: Callable[[Path], None]) -> None:
    """Makes a file beside ``path`` and puts it in the place of ``path``, there to stay."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        make(temporary)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    with path.open("xb") as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())


def _link(existing: Path, path: Path) -> None:
    """A second name for a file that is never written to again, or a copy where there are no links."""
    try:
        os.link(existing, path)
    except OSError:
        shutil.copyfile(existing, path)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
