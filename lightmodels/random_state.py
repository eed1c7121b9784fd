"""The random states that a training step draws from, as plain data for a checkpoint."""

import random
from typing import Any

import numpy as np
import torch


def collect() -> dict[str, Any]:
    """The states of torch (CPU and, once in use, every CUDA device), numpy and Python."""
    numpy_state: Any = np.random.get_state(legacy=True)
    _, keys, *rest = numpy_state
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(keys.astype(np.int64)), *rest],
        "python": [version, torch.tensor(internal), gauss],  # as a tensor, quick to save
    }


def restore(states: dict[str, Any]) -> None:
    """Puts back what ``collect`` gave; CUDA devices that are not here are left out."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])
    keys, *rest = states["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = states["python"]
    numbers = internal.tolist() if isinstance(internal, torch.Tensor) else internal  # of older checkpoints
    random.setstate((version, tuple(numbers), gauss))
