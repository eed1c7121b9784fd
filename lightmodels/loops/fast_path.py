"""Decides when a step of the fast loops can bypass Lightning's hooks, and has the parts of such a step."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.loops.fetchers import _DataLoaderIterDataFetcher
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer

from lightmodels.core.light_model import LightModel
from lightmodels.utils.step_errors import require_closure

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
STEP_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
TRAINING_HOOKS = (
    *TRANSFER_HOOKS, *STEP_HOOKS, "training_step", "backward", "optimizer_step", "optimizer_zero_grad",
    "on_train_batch_start", "configure_gradient_clipping",
)  # fmt: skip
VALIDATION_HOOKS = (
    *TRANSFER_HOOKS, "validation_step", "on_validation_batch_start", "on_validation_batch_end"
)  # fmt: skip

Hook = tuple[Any, Callable[..., Any]]  # a callback or the model, and its bound hook
Context = Callable[[], AbstractContextManager[Any]]


def why_not_training(trainer: Any, data_fetcher: Any) -> str | None:
    """What keeps training steps from the fast path; None if nothing does."""
    if trainer.accumulate_grad_batches != 1:
        return f"accumulate_grad_batches={trainer.accumulate_grad_batches}"
    if len(trainer.optimizers) != 1:
        return f"{len(trainer.optimizers)} optimizers"
    if isinstance(data_fetcher, _DataLoaderIterDataFetcher):
        return "a training_step that takes dataloader_iter"
    return why_not(trainer, TRAINING_HOOKS, STEP_HOOKS)


def why_not(trainer: Any, model_hooks: tuple[str, ...], callback_hooks: tuple[str, ...] = ()) -> str | None:
    """What keeps steps from the fast path: devices, precision, one of these hooks; None if nothing does."""
    model, precision, data = trainer.lightning_module, trainer.precision_plugin, trainer.datamodule
    if not isinstance(model, LightModel) or not model.automatic_optimization:
        return f"{type(model).__name__}, which is not a LightModel with automatic optimization"
    if type(trainer.strategy) is not SingleDeviceStrategy:
        return "several devices"
    if type(precision) not in (Precision, MixedPrecision) or getattr(precision, "scaler", None) is not None:
        return f"precision {trainer.precision}"
    if not isinstance(trainer.profiler, PassThroughProfiler):
        return "a profiler"
    owners: list[tuple[Any, type, tuple[str, ...]]] = [(model, LightModel, model_hooks)]
    owners += [] if data is None else [(data, pl.LightningDataModule, TRANSFER_HOOKS)]
    owners += [(callback, pl.Callback, callback_hooks) for callback in trainer.callbacks]
    for owner, base, names in owners:
        if found := [name for name in names if overrides(owner, name, base)]:
            return f"{type(owner).__name__}.{found[0]}"
    return None


def overrides(owner: Any, name: str, base: type) -> bool:
    """Whether a hook is not the one of ``base``, through its class or as an attribute of the instance."""
    return name in vars(owner) or getattr(type(owner), name) is not getattr(base, name)


def overridden_hooks(trainer: Any, name: str) -> list[Hook]:
    """The hooks of that name that do anything: the callbacks', then the model's."""
    model = trainer.lightning_module
    callbacks = [each for each in trainer.callbacks if overrides(each, name, pl.Callback)]
    hooks: list[Hook] = [(each, partial(getattr(each, name), trainer, model)) for each in callbacks]
    return hooks + ([(model, getattr(model, name))] if overrides(model, name, LightModel) else [])


def needs_every_step(callback: pl.Callback) -> bool:
    """Whether a callback, such as one that averages weights, may miss steps if it is called once per execution.

    A callback with an attribute ``runs_every_step``, true or false, is taken to know.
    """
    if isinstance(callback, pl.callbacks.ModelCheckpoint):
        return callback._every_n_train_steps > 0
    return not hasattr(callback, "runs_every_step") and not isinstance(
        callback, (pl.callbacks.ProgressBar, pl.callbacks.Timer)
    )


def call_hooks(hooks: list[Hook], model: Any, name: str, *args: Any) -> None:
    if hooks:
        set_current_hook(model, name)
    for _, hook in hooks:
        hook(*args)


def set_current_hook(model: Any, name: str) -> None:
    """Tells ``self.log`` where it is called; bypasses the slow ``nn.Module.__setattr__``."""
    vars(model)["_current_fx_name"] = name


def begin_batch(trainer: pl.Trainer, results: Any, batch: Any) -> None:
    """Tells ``self.log`` about a new batch."""
    connector = trainer._logger_connector
    connector._first_loop_iter = connector._first_loop_iter is None
    results.batch, results.batch_size, results.dataloader_idx = batch, None, None


def end_batch(trainer: pl.Trainer, results: Any) -> None:
    """Publishes values that were logged for this step, and releases the batch."""
    if logs_steps(results):
        trainer._logger_connector.on_batch_end()
    results.batch = results.batch_size = None


def logs_steps(results: Any) -> bool:
    """Whether ``self.log`` was called with ``on_step=True``."""
    return any(result.meta.on_step for result in results.values())


def to_device(batch: Any, trainer: pl.Trainer) -> Any:
    """Moves a batch to the model's device, in the trainer's precision."""
    batch, device = trainer.precision_plugin.convert_input(batch), trainer.strategy.root_device
    if isinstance(batch, tuple) and all(isinstance(part, Tensor) and part.device == device for part in batch):
        return batch
    return move_data_to_device(batch, device)


def step_context(trainer: pl.Trainer, name: str) -> Context:
    """The precision plugin's context for steps; float32 needs none."""
    plain = type(trainer.precision_plugin) is Precision
    return nullcontext if plain else getattr(trainer.precision_plugin, name)


def run_step(trainer: Any, batch: Any, index: int, context: Context, zero_grads: Any) -> Tensor:
    """Runs forward, backward and the optimizer's update; returns the loss before it, of shape ``()``.

    ``zero_grads`` is Lightning's progress of how often gradients were set to zero.
    """
    model, optimizer, clip = trainer.lightning_module, trainer.optimizers[0], trainer.gradient_clip_val
    loss: Any = None

    def closure() -> Any:
        nonlocal loss
        with torch.enable_grad():  # as a decorator, it would be created anew in each step
            set_current_hook(model, "training_step")
            with context():
                loss = model.training_step(batch, index)
            _zero_grad(optimizer)
            advance_progress(zero_grads)
            loss.backward()
            if clip:
                model.configure_gradient_clipping(optimizer, clip, trainer.gradient_clip_algorithm)
        return loss

    optimizer.step(closure)
    if loss is None:
        require_closure(optimizer, was_called=False)
    return loss.detach().clone()  # type: ignore[no-any-return]


def _zero_grad(optimizer: Optimizer) -> None:
    """As the optimizer's own, without the records for profilers that take most of the time of torch's."""
    if overrides(optimizer, "zero_grad", Optimizer):
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def advance_progress(progress: Any) -> None:
    progress.increment_ready()
    progress.increment_started()
    progress.increment_completed()
