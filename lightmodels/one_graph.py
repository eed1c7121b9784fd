"""Executions of several steps as one graph, in a loop over training batches."""

from typing import Any

from lightmodels import short_way
from lightmodels.finite import FiniteGuard
from lightmodels.stops import StopOnSignal


def is_possible(loop: Any) -> bool:
    """Whether the next execution is asked to be, and can be, one graph of its steps.

    Executions begin at the same batches whether or not training was stopped in between, and the last
    batch, which may be smaller, is left out. Nothing may be due between two steps.

    Args:
        loop: a ``TrainingEpochLoop`` in an epoch without an obstacle.
    """
    if loop.compiled is None or loop.execution in (1, "auto"):
        return False
    count, index = loop.execution, loop.batch_idx + 1
    return bool(
        index % count == 0
        and index + count < loop.trainer.num_training_batches
        and (loop.max_steps == -1 or loop.global_step + count <= loop.max_steps)
        and loop.validates_last
        and all(isinstance(owner, (FiniteGuard, StopOnSignal)) for owner, _ in loop.inside)
        and loop.compiled.is_ready()
    )


def advance(loop: Any, data_fetcher: Any) -> None:
    """Makes such an execution; one by one, should it turn out that there is no graph."""
    count = loop.execution
    taken = [loop.take(data_fetcher, number == 0) for number in range(count)]
    rates = _rates(loop, [index for _, index in taken])
    losses = loop.compiled.make([batch for batch, _ in taken], rates)
    for number, (batch, index) in enumerate(taken):
        if losses is None:
            _put_rates(loop, rates[number])
            loss = loop.step(batch, index)
        else:
            loss = loop.count(losses[number])
        if number < count - 1:
            _go_on(loop, loss, batch, index)
        else:
            loop.step_schedules(index)
            loop.finish(loss, batch, index, True)


def _rates(loop: Any, indices: list[int]) -> list[list[float]]:
    """Each group's rate at each of these batches; afterwards, schedules are where the last one has them."""
    rates = []
    for index in indices:
        rates.append([group["lr"] for group in loop.trainer.optimizers[0].param_groups])
        if index != indices[-1]:
            loop.step_schedules(index)
    return rates


def _put_rates(loop: Any, rates: list[float]) -> None:
    for group, rate in zip(loop.trainer.optimizers[0].param_groups, rates, strict=True):
        group["lr"] = rate


def _go_on(loop: Any, loss: Any, batch: Any, index: int) -> None:
    """What comes after a step inside a graph: only whether its loss is finite can be asked there."""
    guards = [hook for hook in loop.inside if isinstance(hook[0], FiniteGuard)]
    loop.batch_progress.increment_processed()
    short_way.call(guards, loop.trainer, "on_train_batch_end", {"loss": loss}, batch, index)
    loop.batch_progress.increment_completed()
    loop._batches_that_stepped += 1
