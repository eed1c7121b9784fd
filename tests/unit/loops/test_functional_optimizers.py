"""The functional optimizers, compared with the steps of torch's."""

import copy

import pytest
import torch

from lightmodels.loops.compiled import functional_optimizers
from lightmodels.optim.fused import FusedNAdam

OPTIMIZERS = [
    (torch.optim.Adam, {}),
    (torch.optim.Adam, {"amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    (torch.optim.AdamW, {"weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}),
    (torch.optim.NAdam, {"weight_decay": 0.1}),
    (torch.optim.NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.01}),
    (FusedNAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    (torch.optim.SGD, {}),
    (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1, "dampening": 0.3, "maximize": True}),
]


def gradients(step):
    torch.manual_seed(step)
    return [torch.randn(3, 2), torch.randn(4)]


@pytest.mark.parametrize(("optimizer_class", "options"), OPTIMIZERS)
def test_ten_updates_equal_those_of_the_optimizer(optimizer_class, options):
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(4))]
    optimizer = optimizer_class(parameters, lr=0.1, **options)
    for parameter, gradient in zip(parameters, gradients(0), strict=True):
        parameter.grad = gradient
    optimizer.step()  # creates the states
    ours, (group,) = copy.deepcopy([p.detach() for p in parameters]), optimizer.param_groups
    functional = functional_optimizers.for_optimizer(optimizer)
    kept = copy.deepcopy([optimizer.state[parameter] for parameter in parameters])
    states = {name: [state[name] for state in kept] for name in functional.state_names(group)}
    chosen = {name: value for name, value in group.items() if name in optimizer.defaults}
    graph = torch.compile(functional.update, backend="eager", fullgraph=True)
    for step in range(1, 11):
        group["lr"] = 0.1 / step
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = gradient
        optimizer.step()
        graph(ours, gradients(step), states, torch.tensor(0.1 / step), chosen)
    for mine, theirs in zip(ours, parameters, strict=True):
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-5, atol=1e-6)
    for name, tensors in states.items():
        for tensor, parameter in zip(tensors, parameters, strict=True):
            torch.testing.assert_close(tensor, optimizer.state[parameter][name], rtol=1e-5, atol=1e-6)


UNSUPPORTED = [
    (torch.optim.RMSprop, {}),
    (torch.optim.Adam, {"differentiable": True}),
    (torch.optim.Adam, {"lr": torch.tensor(0.1)}),
    (torch.optim.SGD, {"weight_decay": 0.1}),
    (type("Own", (torch.optim.Adam,), {}), {}),
]


@pytest.mark.parametrize(("optimizer_class", "options"), UNSUPPORTED)
def test_other_optimizers_and_options_are_not_supported(optimizer_class, options):
    optimizer = optimizer_class([torch.nn.Parameter(torch.ones(2))], **({"lr": 0.1} | options))
    assert functional_optimizers.for_optimizer(optimizer) is None
