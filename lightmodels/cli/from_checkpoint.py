"""Rebuilds the model and the data module of a checkpoint, for evaluate, predict and export."""

import inspect
from typing import Any

from datamodules.digit_images import SIDE
from datamodules.tokens import CONVENTION, MAX_RANK, SPLITTERS
from lightmodels import LightModel
from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.cli.exit_codes import UsageError
from lightmodels.cli.tasks import TASKS
from lightmodels.core import loading
from lightmodels.data.tensor_datamodule import TensorDataModule

IMAGE_SHAPE = [1, SIDE, SIDE]
REQUIRED_INFO: dict[str, dict[str, type]] = {  # keys of data_info that preparing new inputs needs
    "table": {"features": list},
    "image": {"classes": list, "input_shape": list, "scale": int},
    "text": {"classes": list, "word_index": dict, "num_words": int, "max_length": int, "tokens": dict},
}


def load_model(path: str, needs_data_info: bool = False) -> tuple[LightModel, dict[str, Any]]:
    """The model of a checkpoint, and the whole checkpoint.

    Raises UsageError for a damaged file or one that is no checkpoint of a task, and with ``needs_data_info``
    also for one without a ``data_info`` from which new inputs can be prepared.
    """
    try:
        checkpoint = checkpoint_files.load_checkpoint(path)
        classes = {task.model.__name__: task.model for task in TASKS.values()}
        if checkpoint.get("model_class") not in list(classes):
            raise UsageError(f"--ckpt {path}: not a checkpoint of {', '.join(TASKS)}")
        model = loading.rebuild(checkpoint, path, classes[checkpoint["model_class"]])
    except checkpoint_files.CheckpointError as error:
        raise UsageError(f"--ckpt {error}") from error
    if needs_data_info and not model.data_info:
        raise UsageError(f"--ckpt {path}: no description of the data (data_info), train again")
    if needs_data_info and not _is_valid(model.data_info):
        raise UsageError(f"--ckpt {path}: unsupported description of the data (data_info)")
    return model, checkpoint


def _is_valid(info: Any) -> bool:
    required = REQUIRED_INFO.get(str(info.get("kind"))) if isinstance(info, dict) else None
    if required is None or any(type(info.get(name)) is not kind for name, kind in required.items()):
        return False
    ranks = info.get("word_index", {}).values()
    return (
        all(type(name) is str for name in [*info.get("classes", []), *info.get("features", [])])
        and all(type(rank) is int and 0 < rank <= MAX_RANK for rank in ranks)
        and info.get("tokens", CONVENTION) == CONVENTION
        and info.get("splitter", "keras") in list(SPLITTERS)
        and info.get("input_shape", IMAGE_SHAPE) == IMAGE_SHAPE
        and _has_valid_formulas(info)
    )


def _has_valid_formulas(info: dict[str, Any]) -> bool:
    """Whether features, if they are to be computed, are each one of the columns or a quotient of two."""
    columns, formulas = info.get("columns"), info.get("formulas")
    if formulas is None:
        return True
    if type(columns) is not list or type(formulas) is not list or len(formulas) != len(info["features"]):
        return False
    shapes = all(type(formula) is list and len(formula) in (1, 2) for formula in formulas)
    return shapes and all(type(name) is str and name in columns for formula in formulas for name in formula)


def make_datamodule(checkpoint: dict[str, Any], path: str, data_dir: str | None) -> TensorDataModule:
    """The data module of a checkpoint from ``load_model``, with the data files in ``data_dir`` if given.

    Raises UsageError if the checkpoint does not hold the arguments of the task's data module.
    """
    pairs = {(task.model.__name__, task.data.__name__): task.data for task in TASKS.values()}
    data_class = pairs.get((checkpoint["model_class"], str(checkpoint.get("datamodule_class"))))
    saved = checkpoint.get("datamodule_hyper_parameters")
    if not isinstance(saved, dict) or data_class is None:
        raise UsageError(f"--ckpt {path}: not a checkpoint of {', '.join(TASKS)}")
    if data_dir is not None and "data_dir" in inspect.signature(data_class).parameters:
        saved = saved | {"data_dir": data_dir}
    try:
        return data_class(**saved)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--ckpt {path}: invalid arguments of {data_class.__name__} ({error})") from error
