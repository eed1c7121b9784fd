"""Looking at a model without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager

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
    """As ``evaluating``; the random states are put back too."""
    states = random_state.collect()
    try:
        with evaluating(model):
            yield
    finally:
        random_state.restore(states)
