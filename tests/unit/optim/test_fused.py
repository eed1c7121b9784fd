"""FusedNAdam against torch's NAdam."""

import copy
import inspect

import pytest
import torch

from lightmodels import ReutersConv1D
from lightmodels.optim.fused import FusedNAdam, nadam_class

OPTIONS = [
    {},
    {"weight_decay": 0.1},
    {"weight_decay": 0.4, "decoupled_weight_decay": True},
    {"weight_decay": 0.1, "maximize": True, "betas": (0.5, 0.9), "eps": 1e-3},
    {"momentum_decay": 0.1, "betas": (0.0, 0.99)},
]


def parameters(dtype=torch.float32):
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in ((3, 2), (4,), (2, 3, 4))]


def pair(dtype=torch.float32, **options):
    """Our optimizer and torch's, of equal parameters."""
    return [kind(parameters(dtype), lr=0.1, **options) for kind in (FusedNAdam, torch.optim.NAdam)]


def make_step(seed, *optimizers, skipped=()):
    """A step on random gradients; the parameters with the skipped indices have none."""
    for optimizer in optimizers:
        torch.manual_seed(seed)
        for index, tensor in enumerate(optimizer.param_groups[0]["params"]):
            gradient = torch.randn_like(tensor)
            tensor.grad = None if index in skipped else gradient
        optimizer.step()


def assert_alike(mine, theirs, rtol):
    for a, b in zip(mine.param_groups[0]["params"], theirs.param_groups[0]["params"], strict=True):
        assert list(mine.state[a]) == list(theirs.state[b])
        torch.testing.assert_close((a, mine.state[a]), (b, theirs.state[b]), rtol=rtol, atol=rtol)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-7)])
def test_steps_equal_torchs(options, dtype, rtol):
    """The product of momenta is float32 in both."""
    mine, theirs = pair(dtype, **options)
    for step in range(30):
        for optimizer in (mine, theirs):
            optimizer.param_groups[0]["lr"] = 0.1 / step if step else 0.0
        make_step(step, mine, theirs)
    assert_alike(mine, theirs, rtol)


def test_a_parameter_may_have_no_gradient_in_some_steps():
    mine, theirs = pair()
    for step, skipped in enumerate([(2,), (), (0, 1), (0, 1, 2), ()]):
        make_step(step, mine, theirs, skipped=skipped)
    assert [state["step"].item() for state in mine.state.values()] == [3, 3, 3]
    assert_alike(mine, theirs, 1e-5)


def test_states_are_interchangeable_with_torchs():
    mine, theirs = pair()
    for step in range(6):
        make_step(step, mine, theirs)
        states = copy.deepcopy((mine.state_dict(), theirs.state_dict()))
        theirs.load_state_dict(states[0])
        mine.load_state_dict(states[1])
    assert_alike(mine, theirs, 1e-5)


def test_step_calls_the_closure_with_gradients_and_returns_its_loss():
    (tensor,) = ours = [torch.nn.Parameter(torch.ones(2))]
    optimizer = FusedNAdam(ours, lr=0.1)

    def closure():
        loss = (tensor**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert (tensor < 1).all()


def test_arguments_and_defaults_equal_torchs():
    ours, torchs = (inspect.signature(optimizer).parameters for optimizer in (FusedNAdam, torch.optim.NAdam))
    assert set(torchs) - set(ours) == {"foreach", "capturable", "differentiable"}
    assert {name: ours[name].default for name in ours} == {name: torchs[name].default for name in ours}


def test_it_is_used_on_the_cpu_only():
    model = ReutersConv1D(num_words=10, length=12)
    assert type(model.configure_optimizers()["optimizer"]) is nadam_class(model) is FusedNAdam
    assert nadam_class(model.to("meta")) is torch.optim.NAdam
