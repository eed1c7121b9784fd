"""What an exact resume needs beyond Lightning's own: every process's state, and loaders at their place."""

import warnings
from typing import Any

import pytorch_lightning as pl


def of_process(states: list[dict[str, Any]], rank: int, processes: int) -> dict[str, Any]:
    """What a process goes on from, out of a checkpoint's states by rank.

    A run that goes on with another number of processes keeps its weights and its order of
    samples, but not the random numbers that each process drew.
    """
    if len(states) != processes:
        warnings.warn(
            f"resumed with {processes} processes instead of {len(states)}: dropout differs", stacklevel=2
        )
    return states[rank % len(states)]


def rewind_loaders(trainer: pl.Trainer) -> None:
    """Puts training loaders at their saved position, from the random state of that moment.

    Lightning makes the iterators earlier, before a checkpoint's random states are back, and it
    does not restore a loader that was asked for its length while the optimizer was configured.
    """
    loop = trainer.fit_loop
    loop._load_combined_loader_states()
    if loop._data_fetcher is not None:
        iter(loop._data_fetcher)


def validation_follows(trainer: pl.Trainer) -> bool:
    """Whether the trainer validates right after the batch that has just ended."""
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


def is_last_epoch(trainer: pl.Trainer) -> bool:
    """Whether training ends with this epoch, as far as can be known."""
    epochs, steps = trainer.max_epochs, trainer.max_steps
    out_of_epochs = epochs is not None and 0 <= epochs <= trainer.current_epoch + 1
    return trainer.should_stop or out_of_epochs or 0 <= steps <= trainer.global_step
