"""summary: layers, shapes, counts and sizes; and a model that is as it was before."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import command
from helpers.tiny_files import accepted, write_reuters
from torch import nn

from datamodules.reuters import ReutersDataModule
from lightmodels import MNISTCNN, LightModel, LinearRegression, ReutersConv1D, RingDNN, summary

TASKS = [
    (LinearRegression, (2,), torch.float32, 3),
    (RingDNN, (2,), torch.float32, 61),
    (MNISTCNN, (1, 28, 28), torch.float32, 53_994),
    (ReutersConv1D, (300,), torch.long, 332_856),
]


@pytest.mark.parametrize(("model_class", "shape", "dtype", "parameters"), TASKS)
def test_the_four_models(capsys, model_class, shape, dtype, parameters):
    model = model_class()
    found = summary(model, input_shape=shape, dtype=dtype)
    assert (found.parameters, found.trainable, found.frozen) == (parameters, parameters, 0)
    assert sum(layer.parameters for layer in found.layers) == parameters
    assert found.parameter_bytes == 4 * parameters
    assert found.input_bytes == torch.zeros(shape, dtype=dtype).nbytes
    assert capsys.readouterr().out == f"{found}\n"
    assert f"parameters: {parameters:,} ({parameters:,} trainable, 0 frozen)" in str(found)


def test_rows_and_sizes_by_hand(capsys):
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 4, 5))
    net[0].requires_grad_(False)
    found = summary(LightModel(net), (3, 4, 4))
    rows = [(layer.name, layer.shape, layer.parameters) for layer in found.layers]
    assert rows == [
        ("net.0 (Conv2d)", "(B, 8, 2, 2)", 3 * 8 * 9 + 8),
        ("net.1 (BatchNorm2d)", "(B, 8, 2, 2)", 16),
        ("net.2 (Flatten)", "(B, 32)", 0),
        ("net.3 (Linear)", "(B, 5)", 32 * 5 + 5),
    ]
    assert (found.trainable, found.frozen) == (16 + 165, 224)
    assert (found.input_bytes, found.forward_bytes) == (3 * 16 * 4, (3 * 32 + 5) * 4)
    lines = str(found).splitlines()
    assert len({len(line) for line in lines[:7]}) == 1


class Twins(nn.Module):
    """Two inputs, a layer used twice, weights of its own, a module that is never called, a tuple out."""

    def __init__(self):
        super().__init__()
        self.shared, self.unused = nn.Linear(3, 2), nn.Linear(7, 7)
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, a, b):
        return self.shared(a) * self.scale, self.shared(b)


def test_shared_own_and_unused_parameters_are_counted_once_each(capsys):
    found = summary(Twins(), batch=(torch.ones(4, 3), torch.ones(4, 3), torch.ones(4)))
    assert [layer.parameters for layer in found.layers] == [8, 0, 2]
    assert found.layers[-1].shape == "(B, 2), (B, 2)"
    assert found.parameters == 8 + 2 + 56
    assert "(not in a layer that was called)" in str(found)


class Rough(LightModel):
    """Batch norm, dropout of every kind of random state, a part that is kept in evaluation mode."""

    def __init__(self):
        super().__init__(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)))
        self.net[1].eval()

    def forward(self, x):
        return self.net(x) + torch.rand(1) + float(np.random.rand())


def test_mode_weights_and_random_states_stay(capsys):
    model = Rough()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    summary(model, (2,))
    with pytest.raises(ValueError, match="does not fit"):
        summary(model, (3,))
    assert [module.training for module in model.modules()] == modes
    assert set(modes) == {True, False}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"input_shape": (3,)}, r"input_shape \(3,\) does not fit RingDNN: .*shapes cannot be multiplied"),
        ({"input_shape": (0,)}, r"input_shape must be whole numbers above 0, without the batch, got \(0,\)"),
        ({"input_shape": "2"}, "input_shape must be whole numbers above 0"),
        ({}, "input_shape or batch must be given, one of the two"),
        ({"input_shape": 2, "batch": torch.ones(2, 2)}, "one of the two"),
    ],
)
def test_bad_input_is_one_line(given, line):
    with pytest.raises(ValueError, match=line) as caught:
        summary(RingDNN(), **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "count"), [("linear", "3"), ("ring", "61"), ("mnist", "53,994"), ("reuters", "332,856")]
)
def test_the_command_shows_it_and_writes_nothing(capfd, tmp_path, monkeypatch, task, count):
    """Without the files of mnist and reuters, too: nothing is downloaded."""
    monkeypatch.chdir(tmp_path)
    ended = command(capfd, "train", "--task", task, "--summary")
    assert (ended.code, ended.err) == (0, "")
    assert f"parameters: {count} (" in ended.out
    assert list(Path().iterdir()) == []


def test_the_command_takes_the_sizes_of_files_that_are_there(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_reuters(Path("files"))
    monkeypatch.setattr(ReutersDataModule, "files", accepted(ReutersDataModule.files, Path("files")))
    ended = command(
        capfd, "train", "--task", "reuters", "--summary", "--data_dir", "files", "--data.max_length", 40
    )
    assert (ended.code, ended.err) == (0, "")
    assert "(B, 40, 7)" in ended.out
    assert "332,856" not in ended.out


def test_the_command_refuses_what_training_refuses(capfd):
    ended = command(capfd, "train", "--summary", "--model.lr", -1)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
