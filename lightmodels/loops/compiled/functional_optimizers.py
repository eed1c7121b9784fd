"""The updates of torch's optimizers as functions of tensors, so that one graph can take them in.

Each is torch's own function of the optimizer, told to keep its counts and its rate in tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.nadam import nadam
from torch.optim.optimizer import Optimizer
from torch.optim.sgd import sgd

from lightmodels.optim.fused import FusedNAdam, Tensors

States = Mapping[str, Tensors]
Options = Mapping[str, Any]
MIN_LR = 1e-30  # a rate that moves nothing; torch's Adam for tensors divides by it
GRAPH_OPTIONS: dict[str, Any] = {"foreach": False, "capturable": True}


@dataclass(frozen=True)
class FunctionalOptimizer:
    """How one optimizer updates the parameters of a group.

    Attributes:
        states: names of the tensors that the optimizer keeps of each parameter, given the group's options.
        update: changes parameters and states in place, given gradients, the rate and the options.
    """

    states: Callable[[Options], Sequence[str]]
    update: Callable[[Tensors, Tensors, States, Tensor, Options], None]


def for_optimizer(optimizer: Optimizer) -> FunctionalOptimizer | None:
    """The rule of an optimizer; none of a class that is not here, or options that a graph cannot take in."""
    groups: list[dict[str, Any]] = optimizer.param_groups
    if any(group.get("differentiable") or isinstance(group["lr"], Tensor) for group in groups):
        return None
    if type(optimizer) is torch.optim.SGD and any(g["weight_decay"] and not g["momentum"] for g in groups):
        return None  # whether a parameter takes part at all could not be told from its state
    return FUNCTIONAL_OPTIMIZERS.get(type(optimizer))


def _adam_states(options: Options) -> Sequence[str]:
    usual = ("exp_avg", "exp_avg_sq", "step")
    return (*usual, "max_exp_avg_sq") if options["amsgrad"] else usual


def _adam(params: Tensors, grads: Tensors, states: States, rate: Tensor, options: Options) -> None:
    adam(
        params, grads, states["exp_avg"], states["exp_avg_sq"],
        states["max_exp_avg_sq"] if options["amsgrad"] else [], states["step"],
        **GRAPH_OPTIONS, fused=False, differentiable=False, amsgrad=options["amsgrad"],
        beta1=options["betas"][0], beta2=options["betas"][1], lr=rate.clamp_min(MIN_LR),
        eps=options["eps"], weight_decay=options["weight_decay"], maximize=options["maximize"],
        decoupled_weight_decay=options["decoupled_weight_decay"],
    )  # fmt: skip


def _nadam(params: Tensors, grads: Tensors, states: States, rate: Tensor, options: Options) -> None:
    nadam(
        params, grads, states["exp_avg"], states["exp_avg_sq"], states["mu_product"], states["step"],
        **GRAPH_OPTIONS, beta1=options["betas"][0], beta2=options["betas"][1], lr=rate, eps=options["eps"],
        weight_decay=options["weight_decay"], momentum_decay=options["momentum_decay"],
        maximize=options["maximize"], decoupled_weight_decay=options["decoupled_weight_decay"],
    )  # fmt: skip


def _sgd(params: Tensors, grads: Tensors, states: States, rate: Tensor, options: Options) -> None:
    """With a rate of one on zeros, which gives the change that a rate, if it is a tensor, is then put to."""
    if decay := options["weight_decay"]:
        sign = -1 if options["maximize"] else 1
        grads = [grad.add(param, alpha=sign * decay) for grad, param in zip(grads, params, strict=True)]
    changes = [torch.zeros_like(param) for param in params]
    momenta: Any = states.get("momentum_buffer", [])
    sgd(
        changes, grads, momenta, foreach=False, fused=False, lr=1.0,
        weight_decay=0.0, momentum=options["momentum"], dampening=options["dampening"],
        nesterov=options["nesterov"], maximize=options["maximize"],
    )  # fmt: skip
    for param, change in zip(params, changes, strict=True):
        param.addcmul_(change, rate)


NADAM = FunctionalOptimizer(lambda options: ("exp_avg", "exp_avg_sq", "mu_product", "step"), _nadam)
FUNCTIONAL_OPTIMIZERS: dict[type[Optimizer], FunctionalOptimizer] = {
    torch.optim.Adam: FunctionalOptimizer(_adam_states, _adam),
    torch.optim.AdamW: FunctionalOptimizer(_adam_states, _adam),
    torch.optim.NAdam: NADAM,
    FusedNAdam: NADAM,
    torch.optim.SGD: FunctionalOptimizer(
        lambda options: ("momentum_buffer",) if options["momentum"] else (), _sgd
    ),
}
