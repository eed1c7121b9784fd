"""The updates of torch's optimizers as functions of tensors, to be part of a compiled graph."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.nadam import nadam
from torch.optim.optimizer import Optimizer

from lightmodels.optim.fused import FusedNAdam, Tensors

States = Mapping[str, Tensors]
Options = Mapping[str, Any]
MIN_LR = 1e-30  # changes no parameter, and torch's Adam can divide by it


class FunctionalOptimizer(NamedTuple):
    """How an optimizer updates the parameters of a group, in place."""

    state_names: Callable[[Options], Sequence[str]]  # of the tensors that it keeps for each parameter
    update: Callable[[Tensors, Tensors, States, Tensor, Options], None]  # takes gradients and learning rate


def for_optimizer(optimizer: Optimizer) -> FunctionalOptimizer | None:
    """The updates of an optimizer; None if its class or its options are not supported."""
    groups: list[dict[str, Any]] = optimizer.param_groups
    if any(group.get("differentiable") or isinstance(group["lr"], Tensor) for group in groups):
        return None
    if type(optimizer) is torch.optim.SGD and any(g["weight_decay"] and not g["momentum"] for g in groups):
        return None  # it would decay parameters without a gradient, which no state tells from others
    return FUNCTIONAL_OPTIMIZERS.get(type(optimizer))


def _common(options: Options) -> dict[str, Any]:
    """The arguments that Adam and NAdam share; ``capturable`` keeps counts and learning rates in tensors."""
    names = ("eps", "weight_decay", "maximize", "decoupled_weight_decay")
    common, (beta1, beta2) = {name: options[name] for name in names}, options["betas"]
    return common | {"beta1": beta1, "beta2": beta2, "foreach": False, "capturable": True}


def _adam(params: Tensors, grads: Tensors, states: States, lr: Tensor, options: Options) -> None:
    adam(
        params, grads, states["exp_avg"], states["exp_avg_sq"], states.get("max_exp_avg_sq", []),
        states["step"], lr=lr.clamp_min(MIN_LR), amsgrad=options["amsgrad"], fused=False,
        differentiable=False, **_common(options),
    )  # fmt: skip


def _nadam(params: Tensors, grads: Tensors, states: States, lr: Tensor, options: Options) -> None:
    nadam(
        params, grads, states["exp_avg"], states["exp_avg_sq"], states["mu_product"], states["step"],
        lr=lr, momentum_decay=options["momentum_decay"], **_common(options),
    )  # fmt: skip


def _sgd(params: Tensors, grads: Tensors, states: States, lr: Tensor, options: Options) -> None:
    """As torch's function, which takes no learning rate in a tensor."""
    for index, (param, grad) in enumerate(zip(params, grads, strict=True)):
        change = -grad if options["maximize"] else grad
        if options["weight_decay"]:
            change = change.add(param, alpha=options["weight_decay"])
        if momentum := options["momentum"]:
            buffer = states["momentum_buffer"][index]
            buffer.mul_(momentum).add_(change, alpha=1 - options["dampening"])
            change = change.add(buffer, alpha=momentum) if options["nesterov"] else buffer
        param.addcmul_(change, lr, value=-1)


def _adam_states(options: Options) -> Sequence[str]:
    return ("exp_avg", "exp_avg_sq", "step", *(["max_exp_avg_sq"] if options["amsgrad"] else []))


ADAM = FunctionalOptimizer(_adam_states, _adam)
NADAM = FunctionalOptimizer(lambda options: ("exp_avg", "exp_avg_sq", "mu_product", "step"), _nadam)
SGD = FunctionalOptimizer(lambda options: ("momentum_buffer",) if options["momentum"] else (), _sgd)
FUNCTIONAL_OPTIMIZERS: dict[type[Optimizer], FunctionalOptimizer] = {
    torch.optim.Adam: ADAM, torch.optim.AdamW: ADAM, torch.optim.SGD: SGD,
    torch.optim.NAdam: NADAM, FusedNAdam: NADAM,
}  # fmt: skip
