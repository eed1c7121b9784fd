"""Looking at a model without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lightmodels import random_state


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards every layer has its own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """As ``evaluating``; random states and buffers, in which nets may count, are put back too."""
    states = random_state.collect()
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with evaluating(model):
            yield
    finally:
        random_state.restore(states)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
