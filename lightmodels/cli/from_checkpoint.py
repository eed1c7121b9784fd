"""What evaluate.py, predict.py and export.py take from a checkpoint: its model and its data module."""

import inspect
from typing import Any

from datamodules.digit_images import SIDE
from datamodules.tokens import CONVENTION, MAX_RANK
from lightmodels import LightModel
from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.cli.exit_codes import UsageError
from lightmodels.cli.tasks import TASKS
from lightmodels.core import loading
from lightmodels.data.tensor_datamodule import TensorDataModule

IMAGE = [1, SIDE, SIDE]
NEEDED = {  # by the kind of data, what must be known of it for new inputs
    "table": {"features": list},
    "image": {"classes": list, "input_shape": list, "scale": int},
    "text": {"classes": list, "word_index": dict, "num_words": int, "max_length": int, "tokens": dict},
}


def restore(path: str) -> tuple[LightModel, dict[str, Any]]:
    """The model of a checkpoint, and all that is in the checkpoint.

    Raises:
        UsageError: a file that is no checkpoint of one of the tasks, or is damaged.
    """
    try:
        checkpoint = checkpoint_files.load_checkpoint(path)
        names = {model.__name__: model for model, _ in TASKS.values()}
        if checkpoint.get("model_class") not in list(names):
            raise UsageError(f"--ckpt {path}: not a checkpoint of {', '.join(TASKS)}")
        return loading.rebuild(checkpoint, path, names[checkpoint["model_class"]]), checkpoint
    except checkpoint_files.CheckpointError as error:
        raise UsageError(f"--ckpt {error}") from error


def restore_with_info(path: str) -> tuple[LightModel, dict[str, Any]]:
    """As ``restore``, of a checkpoint that also tells how inputs of new data are made.

    Raises:
        UsageError: as with ``restore``, and without such information.
    """
    model, checkpoint = restore(path)
    info = model.data_info
    if not info:
        raise UsageError(f"--ckpt {path}: it does not tell of its data (no data_info): train again")
    if not isinstance(info, dict) or not _understood(info):
        raise UsageError(f"--ckpt {path}: what it tells of its data (data_info) is not understood")
    return model, checkpoint


def _understood(info: dict[str, Any]) -> bool:
    needed = NEEDED.get(str(info.get("kind")), {"kind": None})
    if any(type(info.get(name)) is not kind for name, kind in needed.items()):
        return False
    ranks = info.get("word_index", {}).values()
    return (
        all(type(name) is str for name in [*info.get("classes", []), *info.get("features", [])])
        and all(type(rank) is int and 0 < rank <= MAX_RANK for rank in ranks)
        and info.get("tokens", CONVENTION) == CONVENTION
        and info.get("input_shape", IMAGE) == IMAGE
    )


def restore_data(checkpoint: dict[str, Any], path: str, data_dir: str | None) -> TensorDataModule:
    """The data module that a checkpoint's model was trained with.

    Args:
        checkpoint: what ``restore`` gives.
        path: its file, for messages.
        data_dir: where the data files are, if not where they were in training.

    Raises:
        UsageError: the model was trained with another kind of data module.
    """
    data_class = {model.__name__: data for model, data in TASKS.values()}[checkpoint["model_class"]]
    saved = checkpoint.get("datamodule_hyper_parameters")
    if not isinstance(saved, dict):
        raise UsageError(f"--ckpt {path}: not a checkpoint of {', '.join(TASKS)}")
    if data_dir is not None and "data_dir" in inspect.signature(data_class).parameters:
        saved = saved | {"data_dir": data_dir}
    try:
        return data_class(**saved)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--ckpt {path}: its data's parameters do not fit ({error})") from error
