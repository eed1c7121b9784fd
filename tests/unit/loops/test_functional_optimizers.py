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


def tensors(seed):
    torch.manual_seed(seed)
    return [torch.randn(3, 2), torch.randn(4)]


def make_step(optimizer, gradients):
    for parameter, gradient in zip(optimizer.param_groups[0]["params"], gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()


@pytest.mark.parametrize(("optimizer_class", "options"), OPTIMIZERS)
def test_ten_updates_equal_those_of_the_optimizer(optimizer_class, options):
    parameters = [torch.nn.Parameter(tensor) for tensor in tensors(0)]
    optimizer = optimizer_class(parameters, lr=0.1, **options)
    make_step(optimizer, tensors(0))  # creates the states
    functional, (group,) = functional_optimizers.for_optimizer(optimizer), optimizer.param_groups
    names = functional.state_names(group)
    states = {name: [optimizer.state[parameter][name] for parameter in parameters] for name in names}
    theirs = ([parameter.detach() for parameter in parameters], states)  # which the optimizer changes in place
    ours, our_states = copy.deepcopy(theirs)
    chosen = {name: value for name, value in group.items() if name in optimizer.defaults}
    graph = torch.compile(functional.update, backend="eager", fullgraph=True)
    for step in range(1, 11):
        group["lr"] = 0.1 / step
        make_step(optimizer, tensors(step))
        graph(ours, tensors(step), our_states, torch.tensor(0.1 / step), chosen)
    torch.testing.assert_close((ours, our_states), theirs, rtol=1e-5, atol=1e-6)


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
