"""The tensors that a graph of training steps changes, and what makes such a graph impossible."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import optimizer as hooked
from torchmetrics import Metric


class NotCompilableError(Exception):
    """Why training steps cannot be compiled as one graph."""


class StepModule(nn.Module):
    """A model whose ``forward`` is its ``shared_step``, for ``functional_call``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Any:
        return self.model.shared_step(batch)


class GraphState(NamedTuple):
    """The tensors that a graph changes."""

    groups: list[tuple[dict[str, Tensor], dict[str, list[Tensor]]]]  # parameters and their optimizer states
    buffers: dict[str, Tensor]  # as the parameters by their names in a StepModule
    signature: tuple[Any, ...]  # of the optimizer at that time


def signature(optimizer: Any) -> tuple[Any, ...]:
    """Changes when a parameter or its state is replaced, frozen, added or removed."""
    return tuple(
        (parameter.data_ptr(), parameter.requires_grad, id(optimizer.state.get(parameter)))
        for group in optimizer.param_groups
        for parameter in group["params"]
    )


def collect_state(trainer: Any, module: StepModule, state_names: Any) -> GraphState | None:
    """The tensors that training changes; None before the first step, which creates the optimizer's states.

    Raises:
        NotCompilableError: a graph would train a parameter wrongly.
    """
    optimizer, groups = trainer.optimizers[0], []
    if trainer.global_step == 0 or (not optimizer.state and any(map(state_names, optimizer.param_groups))):
        return None
    name_of = {parameter: name for name, parameter in module.named_parameters()}
    for group in optimizer.param_groups:
        trained = [parameter for parameter in group["params"] if parameter.requires_grad]
        kept = state_names(group)
        for parameter in trained:
            _check(parameter, name_of.get(parameter), optimizer.state.get(parameter, {}), kept)
        states = {name: [optimizer.state[parameter][name] for parameter in trained] for name in kept}
        parameters = {name_of[parameter]: parameter.detach() for parameter in trained}
        groups.append((parameters, states))
        mark_static(chain(parameters.values(), *states.values()))
    buffers = dict(module.named_buffers())
    mark_static(buffers.values())
    optimizer.zero_grad()  # graphs leave no gradients, so none of an earlier step may stay
    optimizer._opt_called = True  # else schedulers warn that they step before the optimizer
    return GraphState(groups, buffers, signature(optimizer))


def mark_static(tensors: Iterable[Tensor]) -> None:
    """Marks tensors as static for CUDA graphs, which change them in place."""
    for tensor in tensors:
        if tensor.device.type == "cuda":
            torch._dynamo.mark_static_address(tensor, guard=False)


def _check(parameter: Any, name: str | None, state: dict[str, Any], kept: Any) -> None:
    """Raises NotCompilableError for a parameter that a graph would train wrongly."""
    if name is None:
        raise NotCompilableError("parameters that are not in the model")
    name = name.removeprefix("model.")
    if any(state.get(each) is None for each in kept):
        raise NotCompilableError(f"parameters without a gradient, such as {name}")
    if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
        raise NotCompilableError(f"hooks on parameters, such as {name}")
    if parameter.dtype == torch.float64:  # a graph's learning rates and step counts are float32
        raise NotCompilableError(f"parameters in double precision, such as {name}")


def why_not(trainer: Any, functional_optimizer: Any) -> str | None:
    """What makes a graph impossible, as far as model, optimizer and trainer show; None if nothing does."""
    optimizer = trainer.optimizers[0]
    if functional_optimizer is None:
        return f"{type(optimizer).__name__} with these options"
    if any(isinstance(module, Metric) for module in trainer.lightning_module.modules()):
        return "torchmetrics objects, whose state steps change"
    if trainer.gradient_clip_val:
        return "gradient_clip_val"
    hooks = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    all_hooks = (*hooks, hooked._global_optimizer_pre_hooks, hooked._global_optimizer_post_hooks)
    return "hooks on the optimizer" if any(all_hooks) else None


def count_hooks(model: nn.Module) -> list[int]:
    """The number of each module's hooks, which torch.compile does not check again once a graph exists."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [sum(len(getattr(module, kind)) for kind in kinds) for module in model.modules()]
