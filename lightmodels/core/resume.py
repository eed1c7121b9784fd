"""Exact resume: what a checkpoint holds of each process so that a resumed run is bit-identical to an uninterrupted one.

These are the metrics of the epoch so far and the random states. Lightning saves the loaders' positions.
"""

import warnings
from typing import Any

import pytorch_lightning as pl

from lightmodels.metrics.stage_metrics import EpochRecord, StageMetrics
from lightmodels.utils import distributed, lightning_internals
from lightmodels.utils.preserve import get_rng_state, set_rng_state

ProcessStates = list[dict[str, Any]]  # by rank


def collect_states(trainer: pl.Trainer, metrics: StageMetrics, record: EpochRecord) -> ProcessStates:
    """The states of all processes, as plain data; every process must call this."""
    own = {"random": get_rng_state(), "stages": metrics.state_dict(), "row": record.state_dict()}
    return distributed.all_gather_objects(own, trainer.world_size)


def restore_state(states: ProcessStates, trainer: pl.Trainer, metrics: StageMetrics, record: EpochRecord) -> None:
    """Restores this process's state and puts the loaders back at their positions.

    With another number of processes than before, each rank takes the state of another one, and dropout differs.
    """
    if len(states) != trainer.world_size:
        what = f"resumed with {trainer.world_size} processes instead of {len(states)}: dropout masks will differ"
        warnings.warn(what, stacklevel=2)
    own = states[trainer.global_rank % len(states)]
    metrics.load_state_dict(own["stages"], trainer.lightning_module.device)
    record.load_state_dict(own["row"])
    set_rng_state(own["random"])
    lightning_internals.rewind_loaders(trainer)
