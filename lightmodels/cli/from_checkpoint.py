"""Rebuilds the model and the data module of a checkpoint, for evaluate, predict and export."""

import inspect
from typing import Any

import lightmodels
from lightmodels import LightModel
from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.cli.exit_codes import UsageError
from lightmodels.cli.tasks import TASKS
from lightmodels.core import loading
from lightmodels.data.tensor_datamodule import TensorDataModule
from lightmodels.inputs import kinds

IN_PYTHON = "in Python, test it by Trainer().test(lightmodels.load(FILE), datamodule=data)"


def load_model(path: str, needs_data_info: bool = False) -> tuple[LightModel, dict[str, Any]]:
    """The model of a checkpoint, and the whole checkpoint.

    Raises UsageError for a damaged file or one that is no checkpoint of a task, and with ``needs_data_info``
    also for one without a ``data_info`` from which new inputs can be prepared.
    """
    try:
        checkpoint = checkpoint_files.load_checkpoint(path)
        names = [name for task in TASKS.values() for name in task.models]
        if checkpoint.get("model_class") not in names:
            raise UsageError(f"--ckpt {path}: not a checkpoint of a task ({', '.join(TASKS)})")
        model = loading.rebuild(checkpoint, path, getattr(lightmodels, checkpoint["model_class"]))
    except checkpoint_files.CheckpointError as error:
        raise UsageError(f"--ckpt {error}") from error
    if needs_data_info and not model.data_info:
        raise UsageError(f"--ckpt {path}: no description of the data (data_info): train again")
    if needs_data_info and not kinds.is_valid(model.data_info):
        raise UsageError(f"--ckpt {path}: unsupported description of the data (data_info)")
    return model, checkpoint


def make_datamodule(checkpoint: dict[str, Any], path: str, data_dir: str | None) -> TensorDataModule:
    """The data module of a checkpoint from ``load_model``, with the data files in ``data_dir`` if given.

    Raises UsageError, which says what to do, if the checkpoint does not hold the arguments of a task's data module.
    """
    tasks = {(name, task.data): task for task in TASKS.values() for name in task.models}
    task = tasks.get((checkpoint["model_class"], str(checkpoint.get("datamodule_class"))))
    saved = checkpoint.get("datamodule_hyper_parameters")
    if not isinstance(saved, dict) or task is None:
        raise UsageError(f"--ckpt {path}: its data was not that of a task ({', '.join(TASKS)}): {IN_PYTHON}")
    data_class = task.data_class
    parameters = inspect.signature(data_class).parameters
    if any(name in parameters and name not in saved for name in ("path", "test_path")):
        what = "was a DataFrame, which a checkpoint does not hold: train on a file"
        raise UsageError(f"--ckpt {path}: its data {what}, or {IN_PYTHON}")
    if data_dir is not None and "data_dir" in parameters:
        saved = saved | {"data_dir": data_dir}
    try:
        return data_class(**saved)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--ckpt {path}: invalid arguments of {data_class.__name__} ({error})") from error
