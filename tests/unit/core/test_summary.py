"""summary: layers, sizes and counts, of any module, which stays as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import command
from helpers.tiny_files import accepted, write_reuters
from torch import nn

from datamodules.reuters import ReutersDataModule
from lightmodels import LightModel, RingDNN, summary


def rows_of(table):
    return [*zip(table.layer_names, table.in_sizes, table.out_sizes, table.param_nums, strict=True)]


def test_sizes_and_counts_by_hand(capsys):
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 4, 5))
    net[0].requires_grad_(False)
    table = summary(LightModel(net), (3, 4, 4))
    assert rows_of(table)[1:] == [
        ("net.0", [2, 3, 4, 4], [2, 8, 2, 2], 3 * 8 * 9 + 8),
        ("net.1", [2, 8, 2, 2], [2, 8, 2, 2], 16),
        ("net.2", [2, 8, 2, 2], [2, 32], 0),
        ("net.3", [2, 32], [2, 5], 32 * 5 + 5),
    ]
    assert (table.total_parameters, table.trainable_parameters) == (224 + 16 + 165, 16 + 165)
    multiplications = 2 * (3 * 9 * 8 * 4 + 32 * 5)  # of two rows
    assert table.total_flops == 2 * multiplications
    assert sum(sum(counts.values()) for counts in table.flop_counts.values()) == 2 * table.total_flops  # net, too
    assert capsys.readouterr().out == f"{table}\nparameters: 405 (181 trainable, 224 frozen)\n"


class Twins(nn.Module):
    """Two inputs, a layer used twice, weights of its own, an unused layer, a tuple of outputs."""

    def __init__(self):
        super().__init__()
        self.shared, self.unused = nn.Linear(3, 2), nn.Linear(7, 7)
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, a, b):
        return self.shared(a) * self.scale, self.shared(b)


@pytest.mark.parametrize("kind", [tuple, dict])
def test_several_inputs_and_parameters_outside_layers(kind, capsys):
    inputs = (torch.ones(4, 3), torch.ones(4, 3), torch.ones(4))
    table = summary(Twins(), batch=inputs if kind is tuple else dict(zip("aby", inputs, strict=True)))
    assert rows_of(table) == [("shared", [4, 3], [4, 2], 8), ("unused", "?", "?", 56)]
    assert table.total_parameters == 8 + 56 + 2
    assert "other params" in str(table)


def test_a_model_stays_as_it_was(capsys):
    class Rough(LightModel):
        """Batch norm, dropout, every kind of random state, and a layer kept in evaluation mode."""

        def forward(self, x):
            return self.net(x) + torch.rand(1) + float(np.random.rand())

    model = Rough(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)))
    model.net[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    summary(model, (2,))
    with pytest.raises(ValueError, match="does not fit") as _:  # keeps the frames of the error alive
        summary(model, (3,))
    assert [module.training for module in model.modules()] == modes
    assert model.example_input_array is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


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
    with pytest.raises(ValueError, match=f"{line}[^\n]*$"):
        summary(RingDNN(), **given)


@pytest.mark.parametrize(
    ("task", "count"), [("linear", "3"), ("ring", "61"), ("mnist", "53,994"), ("reuters", "332,856")]
)
def test_the_command_writes_nothing_and_needs_no_files(capfd, task, count):
    ended = command(capfd, "train", "--task", task, "--summary")
    assert (ended.code, ended.err) == (0, "")
    assert f"parameters: {count} ({count} trainable, 0 frozen)" in ended.out
    assert list(Path().iterdir()) == []


def test_the_command_uses_the_sizes_of_files_that_are_there(capfd, monkeypatch):
    write_reuters(Path("files"))
    monkeypatch.setattr(ReutersDataModule, "files", accepted(ReutersDataModule.files, Path("files")))
    flags = ("--task", "reuters", "--data_dir", "files", "--data.max_length", 40)
    ended = command(capfd, "train", "--summary", *flags)
    assert (ended.code, ended.err) == (0, "")
    assert "[2, 40, 7]" in ended.out
    assert "332,856" not in ended.out


def test_the_command_refuses_what_training_refuses(capfd):
    ended = command(capfd, "train", "--summary", "--model.lr", -1)
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
