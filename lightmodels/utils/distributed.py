"""Helpers that make several processes train and count as one would."""

import atexit
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_only
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import DistributedSampler

from lightmodels.utils.batch import concatenate


def rank() -> int:
    """This process's rank, known from the environment before the process group exists."""
    return int(getattr(rank_zero_only, "rank", 0))


@atexit.register
def disconnect() -> None:
    """Leaves the process group: a gloo connection that is still open at exit can abort the interpreter."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def all_gather_objects(mine: Any, world_size: int) -> list[Any]:
    """The objects of all processes, by rank; every process must call this."""
    objects = [mine] * world_size
    if world_size > 1:
        torch.distributed.all_gather_object(objects, mine)
    return objects


LOST = re.compile(r"Timed out waiting|Connection (closed|reset) by peer|Broken pipe|[Ss]ocket .*closed")  # gloo's


class LostProcessError(RuntimeError):
    """Another process of the run has ended, or does not answer; one line."""

    exit_code = 1  # of the commands


@contextmanager
def explain_lost_processes(trainer: Any) -> Iterator[None]:
    """Ends this process's part of a run, and those that it has launched, where another process does not answer.

    Raises LostProcessError, where PyTorch reports it (with gloo; NCCL aborts the process).
    """
    try:
        yield
    except RuntimeError as error:
        if trainer.world_size == 1 or not (found := LOST.search(str(error))):
            raise
        for process in getattr(trainer.strategy.launcher, "procs", []):
            process.kill()  # a stopped one would stay
        what = f"has not answered for {trainer.timeout:g} s (timeout)" if found[0].startswith("Timed") else "has ended"
        raise LostProcessError(f"process {trainer.global_rank}: another process of this run {what}") from error


def sum_over_ranks(mine: Tensor, trainer: pl.Trainer) -> Tensor:
    """The sum over all processes; every process must call this."""
    if trainer.world_size == 1:
        return mine
    summed: Tensor = trainer.strategy.reduce(mine.to(trainer.strategy.root_device), reduce_op="sum")
    return summed.to(mine.device)


def scale_loss_for_ddp(loss: Tensor, rows: float, trainer: pl.Trainer) -> Tensor:
    """Scales the mean loss over this process's rows so that DDP's average is the mean over all rows.

    DDP averages gradients as if each process had the same number of rows.
    """
    all_rows = sum_over_ranks(torch.tensor(float(rows), device=loss.device), trainer)
    return loss * (rows * trainer.world_size / all_rows)


def zero_loss(model: nn.Module) -> Tensor:
    """A loss of 0 that depends on every parameter, for a process that has no row of a batch."""
    return torch.stack([weight.sum() * 0 for weight in model.parameters() if weight.requires_grad]).sum()


def drop_sampler_padding(loader: Any) -> Any:
    """The loader, whose ``DistributedSampler`` no longer repeats a row so that all processes have as many.

    If a process would then have a batch less than others, whose collective operations would wait for it for ever, the
    row stays: its batch is one that ``has_rows`` denies.
    """
    sampler, count_batches = distributed_sampler(loader), _batch_counter(loader)
    if sampler is not None:
        mine = len(range(sampler.rank, len(sampler.dataset), sampler.num_replicas))  # type: ignore[arg-type]
        if count_batches(mine) == count_batches(sampler.num_samples):
            sampler.num_samples, sampler.total_size = mine, len(sampler.dataset)  # type: ignore[arg-type]
    return loader


def has_rows(batch: Any, batch_idx: int, loader: Any, trainer: pl.Trainer) -> bool:
    """Whether this process has a row of its own in a batch: it may have none if others have one more."""
    if (sampler := distributed_sampler(loader)) is not None:
        mine = len(range(trainer.global_rank, len(sampler.dataset), trainer.world_size))  # type: ignore[arg-type]
        return batch_idx < _batch_counter(loader)(mine)
    return not hasattr(loader, "row_numbers") or len(batch[0]) > 0  # a TensorLoader's share


def _batch_counter(loader: Any) -> Callable[[int], int]:
    """A function that gives the number of batches of so many rows."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    size = getattr(batch_sampler, "batch_size", None) or 1
    return lambda rows: rows // size if getattr(batch_sampler, "drop_last", False) else -(-rows // size)


def gather_predictions(outputs: list[Any], loaders: Any, trainer: pl.Trainer) -> Any:
    """The predictions of all processes in the data set's order; a list of them for several loaders."""
    flat = CombinedLoader(loaders).flattened
    if len(flat) > 1:
        return [_gather(batches, loader, trainer) for batches, loader in zip(outputs, flat, strict=True)]
    return _gather(outputs, flat[0], trainer)


def _gather(batches: list[Any], loader: Any, trainer: pl.Trainer) -> Any:
    if trainer.world_size == 1:
        return concatenate(batches)
    parts = all_gather_objects(apply_to_collection(batches, Tensor, Tensor.cpu), trainer.world_size)
    deals = distributed_sampler(loader) is not None
    if not deals and getattr(loader, "world_size", 1) == 1:  # every process has had every row
        return concatenate(batches)
    longest = max(map(len, parts))
    in_turn = concatenate([part[index] for index in range(longest) for part in parts if index < len(part)])
    if not deals:
        return in_turn
    # Rank r of n has had the rows r, r + n, r + 2n, …
    rows = torch.cat([torch.arange(rank, len(loader.dataset), len(parts)) for rank in range(len(parts))])
    return _reorder(concatenate([batch for part in parts for batch in part]), in_turn, rows.argsort())


def _reorder(by_rank: Any, in_turn: Any, order: Tensor) -> Any:
    """Joined rows in the given order; results that could not be joined batch by batch, the ranks in turn."""
    if isinstance(by_rank, Mapping):
        return {name: _reorder(by_rank[name], in_turn[name], order) for name in by_rank}
    return by_rank[order] if isinstance(by_rank, Tensor) else in_turn


def prepare_loaders(loaders: Any, trainer: pl.Trainer) -> None:
    """Shards our loaders and fixes their order for ``overfit_batches``, as Lightning does for DataLoaders."""
    for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
        if trainer.world_size > 1 and hasattr(loader, "shard"):
            loader.shard(trainer.global_rank, trainer.world_size)
        if trainer.overfit_batches and hasattr(loader, "shuffle"):  # type: ignore[attr-defined]
            loader.shuffle = False


def distributed_sampler(loader: Any) -> DistributedSampler[Any] | None:
    """The sampler that deals the rows of a loader to the processes in turn, if it has one."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = getattr(loader, "sampler", None), getattr(batch_sampler, "sampler", None)
    return next((sampler for sampler in samplers if isinstance(sampler, DistributedSampler)), None)
