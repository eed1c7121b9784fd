"""What our Trainer hands to Lightning's: callbacks, plugins and devices."""

import importlib
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator, XLAAccelerator
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import Logger

from lightmodels.callbacks.best_and_last import BestAndLastCheckpoint
from lightmodels.callbacks.early_stopping import EarlyStopping
from lightmodels.callbacks.optimizer_state import KeepOptimizerState
from lightmodels.callbacks.signal_handler import SignalHandler
from lightmodels.checkpointing.files import AtomicCheckpointIO
from lightmodels.dashboard import Dashboard
from lightmodels.pictures import Pictures
from lightmodels.trainer.devices import DeviceChoice, resolve_devices
from lightmodels.utils import distributed


def callbacks(
    options: dict[str, Any],
    checkpoint: BestAndLastCheckpoint,
    pictures: Pictures | None,
    patience: int | None,
) -> list[pl.Callback]:
    """The callbacks that were asked for, and ours: checkpoints, pictures, early stopping, a second fit's."""
    given = options.get("callbacks") or []
    chosen = [given] if isinstance(given, pl.Callback) else list(given)
    leaves_files = not options.get("fast_dev_run") and not options.get("barebones")
    if (
        leaves_files
        and options.get("enable_checkpointing") is not False
        and not any(isinstance(callback, pl.callbacks.Checkpoint) for callback in chosen)
    ):
        chosen.append(checkpoint)
    if patience is not None:
        chosen.append(EarlyStopping(checkpoint.monitor, patience, checkpoint.mode))
    if leaves_files and pictures:
        chosen.append(pictures)
    if not any(isinstance(callback, Dashboard) for callback in chosen):
        chosen.append(Dashboard())
    kept = checkpoint if checkpoint in chosen else None
    return [*chosen, KeepOptimizerState(), SignalHandler(kept)]


def tensorboard_logger(run_dir: Path) -> Logger | None:
    """TensorBoard's, straight in the run directory; none, and a line of output, where it is not installed."""
    try:
        importlib.import_module("tensorboard")
    except ImportError:
        if distributed.rank() == 0:
            print("no event files: tensorboard is not installed", flush=True)
        return None
    from lightmodels.epoch_logger import EpochLogger

    return EpochLogger(run_dir, name="", version="", default_hp_metric=False)


def is_tuning(trainer: pl.Trainer) -> bool:
    """Whether this ``fit`` is a ``Tuner``'s search, which puts everything back before it returns."""
    finders = (pl.callbacks.BatchSizeFinder, pl.callbacks.LearningRateFinder)
    return any(isinstance(callback, finders) for callback in trainer.callbacks)  # type: ignore[attr-defined]


def unset_options(options: dict[str, Any]) -> dict[str, Any]:
    """Our defaults for what was left open: the table instead of bars, a logger when its place is known."""
    ours = ("logger", "enable_progress_bar", "enable_model_summary")
    defaults = {name: False for name in ours if options.get(name) in (None, name == "logger")}
    if options.get("enable_progress_bar") is None:
        bars = [each for each in options["callbacks"] if isinstance(each, ProgressBar)]
        defaults["enable_progress_bar"] = bool(bars)
    return defaults


def plugins(given: Any) -> list[Any]:
    """The plugins that were asked for, and ours for checkpoint files unless there is one among them."""
    chosen = list(given) if isinstance(given, (list, tuple)) else [given] if given else []
    if any(isinstance(plugin, CheckpointIO) for plugin in chosen):
        return chosen
    return [*chosen, AtomicCheckpointIO()]


def devices(gpus: DeviceChoice, tpu_cores: DeviceChoice, options: dict[str, Any]) -> dict[str, Any]:
    """Lightning's ``accelerator`` and ``devices``; nothing if one of them was given instead.

    Raises:
        ValueError: devices that are not here, or both ways of naming them at once.
    """
    named = [name for name in ("accelerator", "devices") if options.get(name) not in (None, "auto")]
    if named and (gpus is not None or tpu_cores is not None):
        raise ValueError(f"{'gpus' if tpu_cores is None else 'tpu_cores'} was given together with {named[0]}")
    if named:
        return {}
    gpus_here = CUDAAccelerator.auto_device_count() or int(MPSAccelerator.is_available())
    tpus_here = XLAAccelerator.auto_device_count() if XLAAccelerator.is_available() else 0
    accelerator, number = resolve_devices(gpus, tpu_cores, gpus_here, tpus_here)
    return {"accelerator": accelerator, "devices": number}


def check_steps_per_execution(steps: int | Literal["auto"]) -> int | Literal["auto"]:
    """Optimizer steps an execution; raises ValueError for anything but a number from 1 or ``"auto"``."""
    if steps != "auto" and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise ValueError(f"steps_per_execution must be at least 1, or 'auto', got {steps!r}")
    return steps


def require_epochs_left(trainer: pl.Trainer, model: pl.LightningModule) -> None:
    """Raises ValueError if ``fit`` would have nothing to do, or would go on with another model's epochs."""
    limit, done = trainer.fit_loop.max_epochs, trainer.current_epoch
    if done and model is not trainer.lightning_module:
        raise ValueError("this trainer has fitted another model: make a new Trainer for this one")
    if done and limit is not None and 0 <= limit <= done:
        raise ValueError(f"max_epochs={limit}, and {done} epochs are already trained: name a larger one")


def require_steps_made(trainer: pl.Trainer, since: int) -> None:
    """Raises ValueError if ``fit`` has made no step since there were so many."""
    if trainer.global_step == since and not is_tuning(trainer):
        limits = f"max_epochs={trainer.max_epochs}, max_steps={trainer.max_steps}"
        raise ValueError(f"not a single step was made: {limits}, batches={trainer.num_training_batches}")
