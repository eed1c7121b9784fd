"""Plain data: values that a checkpoint can restore without running code."""

import io
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

PLAIN = {type(None), bool, int, float, str, bytes, torch.Size, torch.dtype, torch.device}


def to_plain(value: Any, key: str = "", tensors: Callable[[Tensor], Tensor] | None = None) -> Any:
    """The value with numbers, strings and containers of Python in place of numpy's and of subclasses.

    Args:
        value: data of a checkpoint.
        key: its path, with which the message of an error starts.
        tensors: replaces each tensor, for example by a copy.

    Raises:
        TypeError: a value that a checkpoint cannot restore without running code.
    """
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, Tensor):
        return tensors(value) if tensors else value
    if isinstance(value, Mapping):
        plain = {
            name if type(name) in PLAIN else to_plain(name, key): (
                part if type(part) in PLAIN else to_plain(part, f"{key}/{name}".lstrip("/"), tensors)
            )
            for name, part in value.items()
        }
        if kind is not OrderedDict:
            return plain
        ordered = OrderedDict(plain)
        vars(ordered).update(vars(value))  # of a state_dict
        return ordered
    if isinstance(value, (list, tuple, set)):
        parts = [to_plain(part, f"{key}/{index}", tensors) for index, part in enumerate(value)]
        return next(base for base in (list, tuple, set) if isinstance(value, base))(parts)
    if isinstance(value, np.generic):
        return to_plain(value.item(), key)
    for base in (str, bytes, int, float):
        if isinstance(value, base):
            return base(value)  # type: ignore[arg-type]
    if _can_be_restored(value):
        return value
    raise TypeError(f"{key or 'value'} must be plain data (numbers, text, tensors, containers), got {kind.__name__}")


class Copies:
    """Copies tensors to the CPU; those that share their memory, such as tied weights, share a copy."""

    def __init__(self) -> None:
        self._copies: dict[Any, Tensor] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        if tensor.layout != torch.strided:
            return tensor.detach().to("cpu", copy=True)
        key = tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
        if key not in self._copies:
            self._copies[key] = tensor.detach().to("cpu", copy=True)
        return self._copies[key]


def _can_be_restored(value: Any) -> bool:
    content = io.BytesIO()
    try:
        torch.save([value], content)
        content.seek(0)
        torch.load(content, weights_only=True)
    except Exception:  # of pickle, or of the object's own code
        return False
    return True


def require_plain(hparams: Mapping[str, Any]) -> None:
    """Raises TypeError for a hyper-parameter that is not plain data."""
    for name, value in hparams.items():
        try:
            to_plain(value, f"hyper-parameter {name}")
        except TypeError as error:
            raise TypeError(f"{error}: convert it, or save_hyperparameters(ignore=[{name!r}])") from None


def require_plain_states(trainer: pl.Trainer) -> None:
    """Raises TypeError, with its path, for what checkpoints of a training could not restore."""
    for part in (trainer.lightning_module, trainer.datamodule):  # type: ignore[attr-defined]
        require_plain(getattr(part, "hparams", {}))
    to_plain(trainer.lightning_module.state_dict(), "state_dict")
    schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
    for owner in (*trainer.callbacks, *schedulers):  # type: ignore[attr-defined]
        to_plain(owner.state_dict(), f"the state of {type(owner).__name__}")
    for optimizer in trainer.optimizers:
        options = optimizer.param_groups and optimizer.state_dict()["param_groups"]
        to_plain(options, f"the options of {type(optimizer).__name__}")


def data_info_of(trainer: pl.Trainer, default: dict[str, Any]) -> dict[str, Any]:
    """The ``info`` of the trainer's data module, or ``default``; raises TypeError if it is not plain data."""
    data = getattr(trainer, "datamodule", None)
    info = getattr(data, "info", default)
    if not isinstance(info, dict):
        raise TypeError(f"{type(data).__name__}.info must be a dictionary, got {type(info).__name__}")
    return dict(to_plain(info, f"{type(data).__name__}.info"))
