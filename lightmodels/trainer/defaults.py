"""What our Trainer hands to Lightning's: callbacks, plugins and devices."""

import ast
import inspect
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Literal

import pytorch_lightning as pl
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator, XLAAccelerator
from pytorch_lightning.callbacks import ProgressBar

from lightmodels.callbacks.best_and_last import BestAndLastCheckpoint
from lightmodels.callbacks.early_stopping import EarlyStopping
from lightmodels.callbacks.optimizer_state import KeepOptimizerState
from lightmodels.callbacks.signal_handler import SignalHandler
from lightmodels.callbacks.training_checks import TrainingChecks
from lightmodels.checkpointing.files import AtomicCheckpointIO
from lightmodels.trainer.devices import DeviceChoice, resolve_devices
from lightmodels.visualization import LOGGERS
from lightmodels.visualization.figure_callback import FigureLogger
from lightmodels.visualization.tensorboard_callback import TensorBoardCallback


def callbacks(
    options: dict[str, Any], checkpoint: BestAndLastCheckpoint, figure_logger: FigureLogger | None, patience: int | None
) -> list[pl.Callback]:
    """The given callbacks, and ours unless they replace them."""
    given = options.get("callbacks") or []
    chosen = [given] if isinstance(given, pl.Callback) else list(given)
    writes_files = not options.get("fast_dev_run") and not options.get("barebones")
    saves = writes_files and options.get("enable_checkpointing") is not False
    if saves and not has(pl.callbacks.Checkpoint, chosen):
        chosen.append(checkpoint)
    if patience is not None:
        chosen.append(EarlyStopping(checkpoint.monitor, patience, checkpoint.mode))
    if writes_files and figure_logger:
        chosen.append(figure_logger)
    if not has(TensorBoardCallback, chosen):
        chosen.append(TensorBoardCallback())
    return [
        *chosen,
        TrainingChecks(),
        KeepOptimizerState(),
        SignalHandler(checkpoint if checkpoint in chosen else None),
    ]


def from_environment(trainer_class: type, gpus: DeviceChoice, tpu_cores: DeviceChoice) -> dict[str, Any]:
    """The options of ``pl.Trainer`` in variables such as ``PL_TRAINER_MAX_EPOCHS``, as Lightning reads them.

    Raises ValueError for a variable of an option that is ours.
    """
    found: dict[str, Any] = {}
    for name in [*inspect.signature(trainer_class).parameters, *inspect.signature(pl.Trainer).parameters]:
        variable = f"PL_TRAINER_{name.upper()}"
        if not (text := os.environ.get(variable)):
            continue
        if name not in inspect.signature(pl.Trainer).parameters:
            raise ValueError(f"{name} cannot be set by {variable}: pass it, or set a variable of Lightning's Trainer")
        found[name] = text
        with suppress(ValueError, SyntaxError):
            found[name] = ast.literal_eval(text)
    chosen = gpus is not None or tpu_cores is not None
    return {name: value for name, value in found.items() if not chosen or name not in ("accelerator", "devices")}


def has(kind: type, objects: Iterable[Any]) -> bool:
    """Whether one of the objects is of a class."""
    return any(isinstance(each, kind) for each in objects)


def unset_options(options: dict[str, Any]) -> dict[str, Any]:
    """Our defaults for unset options; ``open_run`` adds a logger that is named, or the default one, later."""
    ours = {"enable_model_summary": False, "enable_progress_bar": has(ProgressBar, options["callbacks"])}
    unset = {name: ours[name] for name in ours if options.get(name) is None}
    return unset | ({"logger": False} if options.get("logger") in (None, True, *LOGGERS) else {})


def plugins(given: Any) -> list[Any]:
    """The given plugins, and ours for checkpoint files unless they have one."""
    chosen = list(given) if isinstance(given, (list, tuple)) else [given] if given else []
    return chosen if has(CheckpointIO, chosen) else [*chosen, AtomicCheckpointIO()]


def devices(gpus: DeviceChoice, tpu_cores: DeviceChoice, options: dict[str, Any]) -> dict[str, Any]:
    """Lightning's ``accelerator`` and ``devices``; empty if one of them was given instead of ours."""
    named = [name for name in ("accelerator", "devices") if options.get(name) not in (None, "auto")]
    if named and (gpus is not None or tpu_cores is not None):
        raise ValueError(f"{'gpus' if tpu_cores is None else 'tpu_cores'} cannot be combined with {named[0]}")
    if named:
        return {}
    available_gpus = CUDAAccelerator.auto_device_count() or int(MPSAccelerator.is_available())
    available_tpu_cores = XLAAccelerator.auto_device_count() if XLAAccelerator.is_available() else 0
    accelerator, chosen = resolve_devices(gpus, tpu_cores, available_gpus, available_tpu_cores)
    return {"accelerator": accelerator, "devices": chosen}


def check_steps_per_execution(steps: int | Literal["auto"]) -> None:
    """Raises ValueError for anything but a positive integer or ``"auto"``."""
    if steps != "auto" and (type(steps) is not int or steps < 1):
        raise ValueError(f"steps_per_execution must be at least 1, or 'auto', got {steps!r}")


def set_config_saving(trainer: pl.Trainer, fits: bool) -> None:
    """Makes LightningCLI write its ``config.yaml`` to run directories only, which belong to one run each.

    Lightning refuses a directory that has one; a run that is resumed goes on in its directory. Testing and predicting
    have no directory of their own.
    """
    cli: Any = sys.modules.get("pytorch_lightning.cli")
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if cli and isinstance(callback, cli.SaveConfigCallback):
            callback.overwrite, callback.already_saved = fits, not fits
