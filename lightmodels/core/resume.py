"""Exact resume: what a checkpoint holds of each process so that a resumed run is bit-identical to an uninterrupted one.

These are the metrics of the epoch so far, those that schedules monitor, and the random states, of loaders' generators
too. Lightning saves the positions of loaders that have one.
"""

import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BaseFinetuning, GradientAccumulationScheduler
from pytorch_lightning.utilities import CombinedLoader

from lightmodels.metrics.stage_metrics import EpochRecord, StageMetrics
from lightmodels.utils import distributed, lightning_internals
from lightmodels.utils.preserve import get_rng_state, set_rng_state

ProcessStates = list[dict[str, Any]]  # by rank


def collect_states(trainer: pl.Trainer, metrics: StageMetrics, record: EpochRecord) -> ProcessStates:
    """The states of all processes, as plain data; every process must call this."""
    loop: Any = trainer.fit_loop
    epochs, batches = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current
    # What is saved in a hook of a batch's or an epoch's end is saved before Lightning steps these schedules.
    due = "step" if batches.processed > batches.completed else "epoch" if epochs.processed > epochs.completed else None
    own = {
        "random": get_rng_state(),
        "generators": [generator.get_state() for generator in _generators(trainer.train_dataloader)],
        "stages": metrics.state_dict(),
        "row": record.state_dict(),
        "callback_metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "plateau_is_due": due,
        "is_inside_epoch": epochs.started > epochs.processed,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
    }
    return distributed.all_gather_objects(own, trainer.world_size)


def restore_state(
    states: ProcessStates, loader_states: list[Any], trainer: pl.Trainer, metrics: StageMetrics, record: EpochRecord
) -> None:
    """Restores this process's state, and the positions of the loaders that have one.

    Lightning creates the loaders' iterators earlier, before random states are restored, and it does not restore a
    loader whose length was read while the optimizer was configured.

    With another number of processes than before, each rank takes the state of another one, and dropout differs.
    """
    if len(states) != trainer.world_size:
        what = f"resumed with {trainer.world_size} processes instead of {len(states)}: dropout masks will differ"
        warnings.warn(what, stacklevel=2)
    own = states[trainer.global_rank % len(states)]
    metrics.load_state_dict(own["stages"], trainer.lightning_module.device)
    record.load_state_dict(own["row"])
    trainer.callback_metrics.update(
        {name: torch.tensor(value, dtype=torch.float64) for name, value in own["callback_metrics"].items()}
    )
    if own["plateau_is_due"]:
        step_plateau_schedules(trainer, own["plateau_is_due"])
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, BaseFinetuning):
            _unfreeze_trained(trainer)
        elif isinstance(callback, GradientAccumulationScheduler):  # it acts at an epoch's start only
            trainer.accumulate_grad_batches = own["accumulate_grad_batches"]
    set_rng_state(own["random"])
    for generator, state in zip(_generators(trainer.train_dataloader), own["generators"], strict=False):
        generator.set_state(state)
    if trainer.fit_loop.restarting:  # inside an epoch
        stateful = [loader for loader in _flat(trainer.train_dataloader) if hasattr(loader, "load_state_dict")]
        for loader, state in zip(stateful, loader_states, strict=False):
            loader.load_state_dict(state)
    lightning_internals.restart_loaders(trainer)
    if own["is_inside_epoch"]:  # where no iterator was created, which draws random numbers
        set_rng_state(own["random"])


def _flat(loaders: Any) -> list[Any]:
    return CombinedLoader(loaders).flattened


def _generators(loaders: Any) -> list[torch.Generator]:
    """The random generators of training loaders and their samplers, each once, in the order of the loaders."""
    found: list[torch.Generator] = []
    for loader in _flat(loaders):
        batch_sampler = getattr(loader, "batch_sampler", None)
        for part in (loader, getattr(loader, "sampler", None), getattr(batch_sampler, "sampler", None)):
            generator = getattr(part, "generator", None)
            if isinstance(generator, torch.Generator) and not any(generator is other for other in found):
                found.append(generator)
    return found


def step_plateau_schedules(trainer: pl.Trainer, interval: str) -> None:
    """Makes the steps of ``ReduceLROnPlateau`` that Lightning leaves out at the end of a resumed step or epoch."""
    loop = trainer.fit_loop.epoch_loop
    count = trainer.current_epoch if interval == "epoch" else loop.batch_progress.current.ready
    for config in trainer.lr_scheduler_configs:
        value = trainer.callback_metrics.get(config.monitor or "")
        due = config.interval == interval and count % config.frequency == 0
        if config.reduce_on_plateau and due and value is not None:
            loop.scheduler_progress.increment_ready()
            trainer.lightning_module.lr_scheduler_step(config.scheduler, value)
            loop.scheduler_progress.increment_completed()


def _unfreeze_trained(trainer: pl.Trainer) -> None:
    """Unfreezes what the optimizers train: ``BackboneFinetuning`` has frozen all of the backbone again."""
    trained = {
        id(part) for optimizer in trainer.optimizers for group in optimizer.param_groups for part in group["params"]
    }
    for module in trainer.lightning_module.modules():
        own = list(module.parameters(recurse=False))
        if own and all(id(parameter) in trained for parameter in own):
            BaseFinetuning.make_trainable([module])
