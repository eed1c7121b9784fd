"""Executions of several steps as one graph, in a loop over training batches."""

import math
from typing import Any

import pytorch_lightning as pl

from lightmodels.callbacks.signal_handler import SignalHandler
from lightmodels.callbacks.terminate_on_nan import TerminateOnNaN
from lightmodels.loops import fast_path


def can_run(loop: Any) -> bool:
    """Whether the next execution is asked to be, and can be, one graph of its steps.

    Executions begin at the same batches whether or not training was stopped in between, and the last
    batch, which may be smaller, is left out. Nothing may be due between two steps.

    Args:
        loop: a ``TrainingEpochLoop`` in an epoch that takes the fast path.
    """
    if loop.compiled is None or loop.execution in (1, "auto"):
        return False
    count, index, trainer = loop.execution, loop.batch_idx + 1, loop.trainer
    return bool(
        index % count == 0
        and index + count < trainer.num_training_batches < math.inf
        and (loop.max_steps == -1 or loop.global_step + count <= loop.max_steps)
        and loop.validates_last
        and all(isinstance(owner, (TerminateOnNaN, SignalHandler)) for owner, _ in loop.inside)
        and not fast_path.overrides(trainer.lightning_module, "lr_scheduler_step", pl.LightningModule)
        and loop.compiled.prepare()
    )


def run(loop: Any, data_fetcher: Any) -> None:
    """Makes such an execution; one by one, should it turn out that it cannot be a graph."""
    taken = _take_batches(loop, data_fetcher)
    options = _options_per_step(loop, [index for _, index in taken])
    losses = None
    if len(taken) == loop.execution and _only_rates_differ(options):
        rates = [[group["lr"] for group in groups] for groups in options]
        losses = loop.compiled.make([batch for batch, _ in taken], rates)
    for number, (batch, index) in enumerate(taken):
        if losses is None:
            _set_options(loop, options[number])
            loss = loop.step(batch, index)
        else:
            loss = loop.count(losses[number])
        if number < len(taken) - 1:
            _finish_inner_step(loop, loss, batch, index)
        else:
            loop.step_schedules(index)
            loop.finish(loss, batch, index, True)


def _take_batches(loop: Any, data_fetcher: Any) -> list[tuple[Any, int]]:
    """The batches; fewer, if the loader has fewer than it says."""
    taken: list[tuple[Any, int]] = []
    while len(taken) < loop.execution and not loop.batch_progress.is_last_batch:
        try:
            taken.append(loop.take(data_fetcher, not taken))
        except StopIteration:
            if not taken:
                raise
            break
    return taken


def _options_per_step(loop: Any, indices: list[int]) -> list[list[dict[str, Any]]]:
    """Each group's options at each of these batches; schedules are then where the last one has them."""
    found = []
    for index in indices:
        groups = loop.trainer.optimizers[0].param_groups
        found.append([{name: group[name] for name in group if name != "params"} for group in groups])
        if index != indices[-1]:
            loop.step_schedules(index)
    return found


def _only_rates_differ(options: list[list[dict[str, Any]]]) -> bool:
    """Whether schedules have changed nothing but rates, which alone are a graph's to take."""
    others = [[{**group, "lr": None} for group in groups] for groups in options]
    return all(each == others[0] for each in others)


def _set_options(loop: Any, options: list[dict[str, Any]]) -> None:
    for group, chosen in zip(loop.trainer.optimizers[0].param_groups, options, strict=True):
        group.update(chosen)


def _finish_inner_step(loop: Any, loss: Any, batch: Any, index: int) -> None:
    """What comes after a step inside a graph: only whether its loss is finite can be asked there."""
    guards = [hook for hook in loop.inside if isinstance(hook[0], TerminateOnNaN)]
    loop.batch_progress.increment_processed()
    fast_path.call_hooks(guards, loop.trainer, "on_train_batch_end", {"loss": loss}, batch, index)
    loop.batch_progress.increment_completed()
    loop._batches_that_stepped += 1
