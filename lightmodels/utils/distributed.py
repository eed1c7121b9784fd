"""What several processes must agree on, so that they train and count as one would."""

import atexit
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.utils.data import DistributedSampler

from lightmodels.utils.batch import concatenate


def rank() -> int:
    """This process's rank, known from the environment before processes have found each other."""
    return int(getattr(rank_zero_only, "rank", 0))


@atexit.register
def disconnect() -> None:
    """Leaves the other processes; at exit a gloo connection that is still open can abort the interpreter."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def all_gather_objects(mine: Any, processes: int) -> list[Any]:
    """The objects of all processes, by rank; every process must call this."""
    if processes == 1:
        return [mine]
    objects: list[Any] = [None] * processes
    torch.distributed.all_gather_object(objects, mine)
    return objects


def sum_over_ranks(mine: Tensor, trainer: pl.Trainer) -> Tensor:
    """The sum over all processes; every process must call this."""
    if trainer.world_size == 1:
        return mine
    summed: Tensor = trainer.strategy.reduce(mine.to(trainer.strategy.root_device), reduce_op="sum")
    return summed.to(mine.device)


def scale_loss_for_ddp(loss: Tensor, rows: int, trainer: pl.Trainer) -> Tensor:
    """A mean over this process's rows, such that the mean over processes is that over all rows.

    Strategies average gradients over processes as if each had the same number of rows.
    """
    all_rows = sum_over_ranks(torch.tensor(float(rows), device=loss.device), trainer)
    return loss * (rows * trainer.world_size / all_rows)


def zero_loss(model: nn.Module) -> Tensor:
    """A loss of 0 that reaches every parameter: the part in a step of a process that has no row in it."""
    parts = [parameter.sum() * 0 for parameter in model.parameters() if parameter.requires_grad]
    return torch.stack(parts).sum()


def drop_sampler_padding(
    batch: Any, size: int, loader: Any, seen: int, trainer: pl.Trainer
) -> tuple[Any, int]:
    """The part of a batch, and its size, that no other process has as well.

    A ``DistributedSampler`` gives every process as many rows by repeating some of them at the end.

    Args:
        batch: the batch.
        size: its rows.
        loader: where it comes from.
        seen: rows that this process has had from the loader before, in this pass.
        trainer: knows the rank.
    """
    if not uses_distributed_sampler(loader):
        return batch, size
    mine = len(range(trainer.global_rank, len(loader.dataset), trainer.world_size))
    keep = min(size, max(mine - seen, 0))
    if keep == size:
        return batch, size
    return apply_to_collection(batch, Tensor, lambda part: part[:keep] if part.dim() else part), keep


def gather_predictions_of_loaders(outputs: list[Any], loaders: Any, trainer: pl.Trainer) -> Any:
    """One result of all predictions, or a list with one of each loader if there are several."""
    if not (outputs and isinstance(outputs[0], list)):
        return gather_predictions(outputs, loaders, trainer)
    return [
        gather_predictions(batches, loader, trainer) for batches, loader in zip(outputs, loaders, strict=True)
    ]


def gather_predictions(batches: list[Any], loader: Any, trainer: pl.Trainer) -> Any:
    """One result of the batches of all processes, in the order of the data set, on every process."""
    if trainer.world_size == 1:
        return concatenate(batches)
    parts = all_gather_objects(
        apply_to_collection(batches, Tensor, lambda part: part.cpu()), trainer.world_size
    )
    if not uses_distributed_sampler(loader):
        if getattr(loader, "world_size", 1) == 1:  # every process has had every row
            return concatenate(batches)
        return concatenate([batch for shares in zip(*parts, strict=True) for batch in shares])
    everything = concatenate([batch for part in parts for batch in part])  # every n-th row to one process
    rows = len(loader.dataset)
    dealt = torch.cat([torch.arange(rank, rows, len(parts)) for rank in range(len(parts))])
    return apply_to_collection(everything, Tensor, lambda part: part[dealt.argsort()])


def prepare_loaders(loaders: Any, trainer: pl.Trainer) -> None:
    """Does for loaders of our kind what Lightning does for DataLoaders only.

    Each process gets its share, and ``overfit_batches`` sees the same batches every epoch.
    """
    for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
        if trainer.world_size > 1 and hasattr(loader, "shard"):
            loader.shard(trainer.global_rank, trainer.world_size)
        if trainer.overfit_batches and hasattr(loader, "shuffle"):  # type: ignore[attr-defined]
            loader.shuffle = False


def uses_distributed_sampler(loader: Any) -> bool:
    """Whether a loader's rows go to the processes in turn, as cards are dealt."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = getattr(loader, "sampler", None), getattr(batch_sampler, "sampler", None)
    return any(isinstance(sampler, DistributedSampler) for sampler in samplers)


def state_of_rank(states: list[dict[str, Any]], rank: int, processes: int) -> dict[str, Any]:
    """What a process goes on from, out of a checkpoint's states by rank.

    A run that goes on with another number of processes keeps its weights and its order of
    samples, but not the random numbers that each process drew.
    """
    if len(states) != processes:
        warnings.warn(
            f"resumed with {processes} processes instead of {len(states)}: dropout differs", stacklevel=2
        )
    return states[rank % len(states)]
