"""Weights of some moments of a training, kept to be drawn later."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightmodels.checkpointing.weights import copy_state_dict

MOST_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Kept:
    """A copy of weights.

    Attributes:
        step: the optimizer steps that had led to them.
        weights: as of ``state_dict``.
    """

    step: int
    weights: dict[str, Any]


def keep(kept: list[Kept], model: nn.Module, step: int) -> bool:
    """Adds the model's weights of now, up to 8 MiB; of more than two, the first and the newest stay.

    Returns:
        Whether they were few enough.
    """
    state = model.state_dict()
    if sum(value.nbytes for value in state.values() if isinstance(value, Tensor)) > MOST_BYTES:
        return False
    kept.append(Kept(step, copy_state_dict(state)))
    del kept[1:-1]
    return True
