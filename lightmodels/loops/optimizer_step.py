"""An optimizer's step on the short way, where nothing that Lightning asks for has anything to do."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightmodels.loops import fast_path


def run_step(
    trainer: Any, batch: Any, index: int, context: Callable[[], AbstractContextManager[Any]], zeroed: Any
) -> Tensor:
    """Makes one step; the loss before it, of shape ``()``.

    Args:
        trainer: in training, with one optimizer.
        batch: where the model is.
        index: the batch's number in the epoch.
        context: what the model's step is made in.
        zeroed: Lightning's progress of how often gradients were set to zero.
    """
    model, optimizer, clip = trainer.lightning_module, trainer.optimizers[0], trainer.gradient_clip_val
    loss: Any = None

    def closure() -> Any:
        nonlocal loss
        with torch.enable_grad():  # as a decorator, it would be made anew at each step
            fast_path.set_current_hook(model, "training_step")
            with context():
                loss = model.training_step(batch, index)
            zero_grad(optimizer)
            advance_progress(zeroed)
            loss.backward()
            if clip:
                model.configure_gradient_clipping(optimizer, clip, trainer.gradient_clip_algorithm)
        return loss

    optimizer.step(closure)
    found: Tensor = loss.detach().clone()
    return found


def zero_grad(optimizer: Optimizer) -> None:
    """The optimizer's; of torch's own, all but its words to profilers, which take most of its time."""
    if fast_path.overrides(optimizer, "zero_grad", Optimizer):
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def run_with_compiled_net(
    compiled: Any, trainer: Any, step: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    """Makes a step in which ``model(x)`` is the compiled ``forward``, if ``compiled`` has one."""
    with compiled.of_net(trainer.lightning_module):
        return step(*args, **kwargs)


def advance_progress(progress: Any) -> None:
    """Counts something done, in a progress of Lightning's."""
    progress.increment_ready()
    progress.increment_started()
    progress.increment_completed()
