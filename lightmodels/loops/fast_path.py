"""The short way: when a step needs nothing of what Lightning asks for, and what is left to do then."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.loops.fetchers import _DataLoaderIterDataFetcher
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor

from lightmodels.core.light_model import LightModel

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
STEP_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
TRAINING_HOOKS = (
    *TRANSFER_HOOKS, *STEP_HOOKS, "training_step", "backward", "optimizer_step", "optimizer_zero_grad",
    "on_train_batch_start", "configure_gradient_clipping",
)  # fmt: skip
VALIDATION_HOOKS = (
    *TRANSFER_HOOKS,
    "validation_step",
    "on_validation_batch_start",
    "on_validation_batch_end",
)

Hook = Callable[..., Any]


def why_not_training(trainer: Any, data_fetcher: Any) -> str | None:
    """What stands in the short way through training steps, if anything."""
    if trainer.accumulate_grad_batches != 1:
        return f"accumulate_grad_batches={trainer.accumulate_grad_batches}"
    if len(trainer.optimizers) != 1 or isinstance(data_fetcher, _DataLoaderIterDataFetcher):
        return "this model's optimizers or batches"
    return why_not(trainer, TRAINING_HOOKS, STEP_HOOKS)


def why_not(trainer: Any, of_model: tuple[str, ...], of_callbacks: tuple[str, ...] = ()) -> str | None:
    """What stands in the short way, if anything: a hook that has something to do, or what devices need.

    Args:
        trainer: with a model, on its devices.
        of_model: hooks that the model must not override.
        of_callbacks: hooks that no callback may override.
    """
    model, precision = trainer.lightning_module, trainer.precision_plugin
    if not isinstance(model, LightModel) or not model.automatic_optimization:
        return f"{type(model).__name__}, which is no LightModel that is optimized automatically"
    if type(trainer.strategy) is not SingleDeviceStrategy:
        return "several devices"
    if type(precision) not in (Precision, MixedPrecision) or getattr(precision, "scaler", None) is not None:
        return f"precision {trainer.precision}"
    if not isinstance(trainer.profiler, PassThroughProfiler):
        return "a profiler"
    return _first_override(trainer, of_model, of_callbacks)


def _first_override(trainer: Any, of_model: tuple[str, ...], of_callbacks: tuple[str, ...]) -> str | None:
    """The first hook that has something to do."""
    data = [] if trainer.datamodule is None else [trainer.datamodule]
    owners: list[tuple[list[Any], type, tuple[str, ...]]] = [
        ([trainer.lightning_module], LightModel, of_model),
        (data, pl.LightningDataModule, TRANSFER_HOOKS),
        (trainer.callbacks, pl.Callback, of_callbacks),
    ]
    found = (
        f"{type(each).__name__}.{name}"
        for those, base, names in owners
        for each in those
        for name in names
        if overrides(each, name, base)
    )
    return next(found, None)


def overrides(owner: Any, name: str, base: type) -> bool:
    """Whether a hook is another than that of a class, by its class or as an attribute of its own."""
    return name in vars(owner) or getattr(type(owner), name) is not getattr(base, name)


def overridden_hooks(trainer: Any, name: str, model: Any = None) -> list[tuple[Any, Hook]]:
    """The hooks of that name that callbacks have, and the model after them, each with its owner."""
    found = [(each, getattr(each, name)) for each in trainer.callbacks if overrides(each, name, pl.Callback)]
    if model is not None and overrides(model, name, LightModel):
        found.append((model, getattr(model, name)))
    return found


def call_hooks(hooks: list[tuple[Any, Hook]], trainer: pl.Trainer, name: str, *args: Any) -> None:
    """Calls hooks one after the other."""
    if not hooks:
        return
    model = trainer.lightning_module
    set_current_hook(model, name)
    for owner, hook in hooks:
        if owner is model:
            hook(*args)
        else:
            hook(trainer, model, *args)


def set_current_hook(model: Any, name: str) -> None:
    """Notes where ``self.log`` is called from; past ``nn.Module``, which would look for parameters in it."""
    vars(model)["_current_fx_name"] = name


def begin_batch(trainer: pl.Trainer, results: Any, batch: Any) -> None:
    """What ``self.log`` must know of a batch."""
    connector = trainer._logger_connector
    connector._first_loop_iter = connector._first_loop_iter is None
    results.batch, results.batch_size, results.dataloader_idx = batch, None, None


def end_batch(trainer: pl.Trainer, results: Any) -> None:
    """Publishes what was logged for this step, and lets the batch go."""
    if logs_steps(results):
        trainer._logger_connector.on_batch_end()
    results.batch = results.batch_size = None


def logs_steps(results: Any) -> bool:
    """Whether anything is logged for single steps, and not only for epochs."""
    return any(result.meta.on_step for result in results.values())


def to_device(batch: Any, trainer: pl.Trainer) -> Any:
    """The batch where the model is; what is there already is left as it is."""
    batch, device = trainer.precision_plugin.convert_input(batch), trainer.strategy.root_device
    if isinstance(batch, tuple) and all(isinstance(part, Tensor) and part.device == device for part in batch):
        return batch
    return move_data_to_device(batch, device)


def step_context(trainer: pl.Trainer, name: str) -> Callable[[], AbstractContextManager[Any]]:
    """What steps are made in; plain float32 needs nothing."""
    plain = type(trainer.precision_plugin) is Precision
    return nullcontext if plain else getattr(trainer.precision_plugin, name)
