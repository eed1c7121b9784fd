"""Running a model without leaving a trace in it, and saving the state of all random generators."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Switches to evaluation mode; on exit every module has its own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def no_side_effects(model: nn.Module) -> Iterator[None]:
    """Like ``eval_mode``; random states and buffers, such as batch counters, are restored on exit too."""
    states = get_rng_state()
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with eval_mode(model):
            yield
    finally:
        set_rng_state(states)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def get_rng_state() -> dict[str, Any]:
    """The states of torch (CPU and, once in use, every CUDA device), numpy and Python, as plain data."""
    numpy_state: Any = np.random.get_state(legacy=True)
    _, keys, *rest = numpy_state
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), *rest],
        "python": [version, torch.tensor(internal), gauss],  # a tensor is saved faster than a tuple
    }


def set_rng_state(states: dict[str, Any]) -> None:
    """Restores what ``get_rng_state`` returned; states of CUDA devices that are missing here are ignored."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])
    keys, *rest = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
