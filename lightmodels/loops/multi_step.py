"""Executions of several training steps that are compiled as one graph."""

import math
from contextlib import suppress
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from lightmodels.loops import fast_path


def can_run(loop: Any) -> bool:
    """Whether the next execution of a ``TrainingEpochLoop`` can be one graph: nothing happens between steps.

    Resumed runs put the same steps together. The very first step and an epoch's last are left out.
    """
    if loop.compiler is None or loop.steps_per_execution in (1, "auto") or loop.global_step == 0:
        return False
    count, index, trainer = loop.steps_per_execution, loop.batch_idx + 1, loop.trainer
    return bool(
        index % count == 0
        and index + count < trainer.num_training_batches < math.inf
        and (loop.max_steps == -1 or loop.global_step + count <= loop.max_steps)
        and loop.validates_last
        and all(hasattr(owner, "runs_between_compiled_steps") for owner, _ in loop.every_step_hooks)
        and not fast_path.overrides(trainer.lightning_module, "lr_scheduler_step", pl.LightningModule)
        and loop.compiler.train_step is not None
    )


def run(loop: Any, data_fetcher: Any) -> None:
    """Runs an execution as one graph, or step by step if that turns out to be impossible."""
    batches = _next_batches(loop, data_fetcher)
    options = _options_per_step(loop, [index for _, index in batches])
    constant = [[{**group, "lr": None} for group in groups] for groups in options]
    losses = None
    is_whole = len(batches) == loop.steps_per_execution and all(batch is not None for batch, _ in batches)
    if is_whole and all(each == constant[0] for each in constant):
        rates = [[group["lr"] for group in groups] for groups in options]
        losses = loop.compiler.run_steps([batch for batch, _ in batches], rates)
    for number, (batch, index) in enumerate(batches):
        for group, values in zip(loop.trainer.optimizers[0].param_groups, options[number], strict=True):
            group.update(values)
        loss = loop.run_step(batch, index, losses[number] if losses else None)
        if number < len(batches) - 1:
            _end_inner_step(loop, loss, batch, index)
    loop.end_step(loss, batch, index, is_last=True)


def _next_batches(loop: Any, data_fetcher: Any) -> list[tuple[Any, int]]:
    """The batches of an execution and their numbers; fewer if the loader ends before its length says."""
    batches = [loop.next_batch(data_fetcher, begins_execution=True)]
    with suppress(StopIteration):
        while len(batches) < loop.steps_per_execution and not loop.batch_progress.is_last_batch:
            batches.append(loop.next_batch(data_fetcher, begins_execution=False))
    return batches


def _options_per_step(loop: Any, indices: list[int]) -> list[list[dict[str, Any]]]:
    """Each step's options of the optimizer's groups; steps the schedules, except after the last step."""
    options = []
    for index in indices:
        groups = loop.trainer.optimizers[0].param_groups
        options.append([{name: group[name] for name in group if name != "params"} for group in groups])
        if index != indices[-1]:
            loop.step_schedules(index)
    return options


def _end_inner_step(loop: Any, loss: Tensor | None, batch: Any, index: int) -> None:
    """Calls the hooks that need no more than the loss of a step inside a graph."""
    model = loop.trainer.lightning_module
    hooks = [hook for hook in loop.every_step_hooks if hook[0].runs_between_compiled_steps]
    loop.batch_progress.increment_processed()
    outputs = None if loss is None else {"loss": loss}
    fast_path.call_hooks(hooks, model, "on_train_batch_end", outputs, batch, index)
    loop.batch_progress.increment_completed()
    loop._batches_that_stepped += 1
