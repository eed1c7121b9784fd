"""What a graph of whole training steps changes, and what stands against such a graph."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import optimizer as hooked
from torchmetrics import Metric

from lightmodels.loops.compiled import cuda_graphs

Group = tuple[list[Tensor], dict[str, list[Tensor]]]  # parameters and their states


class NotCompilableError(Exception):
    """What stands against one graph of a whole step."""


class StepModule(nn.Module):
    """A model whose ``forward`` is its ``shared_step``, for ``functional_call``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Any:
        return self.model.shared_step(batch)


@dataclass(frozen=True)
class GraphState:
    """The tensors that a graph changes.

    Attributes:
        groups: of each of the optimizer's groups.
        names: of all parameters in them, in a ``StepModule``.
        buffers: by their names there.
        signature: what was found by ``signature`` then.
    """

    groups: list[Group]
    names: list[str]
    buffers: dict[str, Tensor]
    signature: tuple[Any, ...]


def signature(optimizer: Any) -> tuple[Any, ...]:
    """Changes when a parameter or its state is replaced, frozen, added or taken away."""
    state = optimizer.state
    return tuple(
        (parameter.data_ptr(), parameter.requires_grad, id(state.get(parameter)))
        for group in optimizer.param_groups
        for parameter in group["params"]
    )


def collect_state(trainer: Any, module: StepModule, rule: Any) -> GraphState | None:
    """All that is trained; None before the first step of all, which gives the optimizer its states.

    Raises:
        NotCompilableError: a parameter has had no gradient so far, is not the model's, or has hooks.
    """
    optimizer, groups, names = trainer.optimizers[0], [], []
    named = {parameter: name for name, parameter in module.named_parameters()}
    if trainer.global_step == 0 or (not optimizer.state and any(map(rule.states, optimizer.param_groups))):
        return None
    for group in optimizer.param_groups:
        trained = [parameter for parameter in group["params"] if parameter.requires_grad]
        states = rule.states(group)
        for parameter in trained:
            _check(parameter, named.get(parameter), optimizer.state.get(parameter, {}), states)
        kept = {name: [optimizer.state[parameter][name] for parameter in trained] for name in states}
        tensors = [parameter.detach() for parameter in trained]
        cuda_graphs.mark_static([*tensors, *chain.from_iterable(kept.values())])
        groups.append((tensors, kept))
        names += [named[parameter] for parameter in trained]
    buffers = dict(module.named_buffers())
    cuda_graphs.mark_static(list(buffers.values()))
    optimizer.zero_grad()  # of the last step without a graph; those with one leave none
    optimizer._opt_called = True  # what schedules look for before they warn
    return GraphState(groups, names, buffers, signature(optimizer))


def _check(parameter: Any, name: str | None, state: dict[str, Any], needed: Any) -> None:
    """Raises NotCompilableError for a parameter that a graph would train wrongly."""
    if name is None:
        raise NotCompilableError("parameters that are not the model's")
    name = name.removeprefix("model.")
    if any(state.get(each) is None for each in needed):
        raise NotCompilableError(f"parameters without a gradient, such as {name}")
    if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
        raise NotCompilableError(f"hooks of parameters, such as {name}")
    if parameter.dtype == torch.float64:  # rates and counts are in single precision
        raise NotCompilableError(f"parameters in double precision, such as {name}")


def why_not(trainer: Any, rule: Any) -> str | None:
    """What stands against one graph, as far as it can be told from model, optimizer and trainer."""
    optimizer = trainer.optimizers[0]
    if rule is None:
        return f"{type(optimizer).__name__} with these options"
    if any(isinstance(module, Metric) for module in trainer.lightning_module.modules()):
        return "torchmetrics objects, which keep what a step gives them"
    if trainer.gradient_clip_val:
        return "gradient_clip_val"
    hooks = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    all_hooks = (*hooks, hooked._global_optimizer_pre_hooks, hooked._global_optimizer_post_hooks)
    return "hooks of the optimizer" if any(all_hooks) else None


def count_hooks(model: nn.Module) -> list[int]:
    """How many hooks each module has; a graph is not made anew when there are others."""
    return [sum(map(len, _module_hooks(module))) for module in model.modules()]


def _module_hooks(module: nn.Module) -> Iterator[Any]:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return (getattr(module, name) for name in names)
