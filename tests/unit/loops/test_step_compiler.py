"""Compiled training: whole steps as one graph, else the net, else nothing; with the usual results."""

import functools
import warnings

import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, ManyMetrics, OneCycle, points
from torch import nn

from lightmodels import Trainer
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.loops.compiled.train_step_graph import CompiledTrainStep

compile_with = torch.compile


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def quick(monkeypatch):
    """Graphs as torch.compile makes them, but run by PyTorch: the compiler proper takes seconds."""

    @functools.wraps(compile_with)
    def compiled(function, **options):
        options.pop("options", None)
        return compile_with(function, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", compiled)


def loaders():
    """Four batches of 25 rows and one of 20."""
    return {
        "train_dataloaders": TensorLoader(*points(120), batch_size=25, shuffle=True),
        "val_dataloaders": TensorLoader(*points(31, 1), batch_size=9),
    }


def fitted(model_class, data=loaders, **options):
    pl.seed_everything(7, verbose=False)
    model = model_class()
    trainer = Trainer(**({"max_epochs": 3, "gpus": 0, "figures": False, "logger": False} | options))
    trainer.fit(model, **data())
    return model


def way(model):
    """Whether whole steps are compiled, or the net."""
    compiled = model.trainer.fit_loop.epoch_loop.compiled
    return "whole" if compiled._whole else "net" if compiled._forward else "none"


def agree(one, other, **tolerance):
    for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, **tolerance)
    for row, expected in zip(one.history, other.history, strict=True):
        assert row.keys() == expected.keys()
        for name in {"train_loss", "train_acc", "train_alpha", "val_loss", "lr"} & row.keys():
            assert row[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name


class Nadam(OneCycle):
    def configure_optimizers(self):
        return torch.optim.NAdam(self.parameters(), lr=0.01, weight_decay=0.1)


class TwoGroups(OneCycle):
    """Of which one has a frozen part, and each a rate and an option of its own."""

    def configure_optimizers(self):
        self.net[0].bias.requires_grad_(False)
        first = {"params": self.net[0].parameters(), "lr": 0.01, "weight_decay": 0.1}
        optimizer = torch.optim.AdamW([first, {"params": self.net[3].parameters()}], lr=0.05)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


class Momentum(Classifier):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Normed(Classifier):
    """Its batch norm keeps running means and a count."""

    def __init__(self):
        super().__init__()
        self.net[0] = nn.Linear(2, 8, bias=False)  # whose gradient would be rounding alone
        self.net.insert(1, nn.BatchNorm1d(8))


class Descends(OneCycle):
    """By an optimizer without states."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Noisy(OneCycle):
    """Draws random numbers besides dropout's."""

    def shared_step(self, batch):
        x, y = batch
        return super().shared_step((x + torch.rand_like(x), y))


class Sized(Classifier):
    """Gives numbers of every kind, and the number of its samples."""

    def shared_step(self, batch):
        values = super().shared_step(batch)
        hits = (values["acc"] * len(batch[0])).detach()
        return values | {"size": len(batch[0]), "one": 1.0, "hits": (hits, torch.tensor(2.0)), "pair": (1, 2)}


@pytest.mark.parametrize("model_class", [OneCycle, Nadam, TwoGroups, Momentum, Normed, Sized])
def test_whole_steps_end_where_training_as_it_is_ends(model_class, quick):
    compiled = fitted(model_class, compile=True)
    assert way(compiled) == "whole"
    agree(compiled, fitted(model_class), rtol=1e-4, atol=1e-5)


def test_half_precision(quick):
    options = {"precision": "bf16-mixed", "max_epochs": 1}
    compiled, usual = fitted(OneCycle, compile=True, **options), fitted(OneCycle, **options)
    assert way(compiled) == "whole"
    agree(compiled, usual, rtol=2e-2, atol=2e-2)
    assert compiled.net[0].weight.dtype == torch.float32


@pytest.mark.parametrize("execution", [1, 2])
@pytest.mark.parametrize("validates", [{}, {"val_check_interval": 2}])
def test_a_run_that_is_stopped_and_resumed_ends_in_the_same_bits(execution, validates, quick):
    class Stops(pl.Callback):
        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            if trainer.global_step >= 8:
                raise RuntimeError("stopped")

    options = {"compile": True, "steps_per_execution": execution, **validates}
    whole = fitted(OneCycle, **options)
    with pytest.raises(RuntimeError, match="stopped"):
        fitted(OneCycle, callbacks=[Stops()], save_every_n_steps=1, run_dir="run", **options)
    saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] in (5, 7)
    resumed = OneCycle()
    trainer = Trainer(max_epochs=3, gpus=0, figures=False, logger=False, **options)
    trainer.fit(resumed, **loaders(), ckpt_path="run/checkpoints/last.ckpt")
    assert way(resumed) == "whole"
    for mine, theirs in zip(resumed.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_many_steps_as_one_graph_end_in_the_bits_of_steps_one_by_one(monkeypatch):
    counts = []
    make = CompiledTrainStep.make

    def counted(self, batches, rates):
        losses = make(self, batches, rates)
        counts.append(len(batches) if losses else 0)
        return losses

    monkeypatch.setattr(CompiledTrainStep, "make", counted)
    single = fitted(Noisy, compile=True)
    assert counts == [0, 1, 1, 1, 0, *[1, 1, 1, 1, 0] * 2]  # the first of all, and each epoch's last
    counts.clear()
    many = fitted(Noisy, compile=True, steps_per_execution=2)
    assert counts == [0, 1, 2, 0, *[2, 2, 0] * 2]
    for mine, theirs in zip(many.state_dict().values(), single.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    assert [row["lr"] for row in many.history] == [row["lr"] for row in single.history]
    agree(many, fitted(Noisy), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_class", [TwoGroups, Descends])
def test_many_steps_take_each_its_own_rate(model_class, quick):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Detected call of `lr_scheduler.step")
        many = fitted(model_class, compile=True, steps_per_execution=2)
    agree(many, fitted(model_class), rtol=1e-4, atol=1e-5)


class Leaves(Classifier):
    """Has a layer that takes no part, and so no state."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(2, 2)


class Rmsprop(Classifier):
    def configure_optimizers(self):
        return torch.optim.RMSprop(self.parameters(), lr=0.01)


class Hooked(Classifier):
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        optimizer.register_step_post_hook(lambda *_: None)
        return optimizer


class Branches(Classifier):
    """Does what a value decides."""

    def shared_step(self, batch):
        values = super().shared_step(batch)
        return values | {"large": float(values["loss"] > 0.5) if values["acc"] > 0.5 else 0.0}


@pytest.mark.parametrize(
    ("model_class", "options", "reason"),
    [
        (ManyMetrics, {}, "torchmetrics objects, which keep what a step gives them"),
        (OneCycle, {"gradient_clip_val": 0.1}, "gradient_clip_val"),
        (OneCycle, {"accumulate_grad_batches": 2}, "accumulate_grad_batches=2"),
        (Rmsprop, {}, "RMSprop with these options"),
        (Hooked, {}, "hooks of the optimizer"),
        (Leaves, {}, "parameters without a gradient, such as other.weight"),
        (Branches, {}, "Data-dependent branching"),
    ],
)
def test_where_no_graph_can_be_made_of_a_step_the_net_is_compiled(
    model_class, options, reason, quick, capsys
):
    compiled = fitted(model_class, compile=True, **options)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "compiled" in line]
    assert line.startswith(f"the net alone is compiled, not the whole step: {reason}")
    assert len(line) < 200
    assert way(compiled) == "net"
    assert "forward" not in vars(compiled)
    agree(compiled, fitted(model_class, **options), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_class", [OneCycle, Rmsprop])
def test_where_nothing_can_be_compiled_training_goes_on_as_it_is(model_class, monkeypatch, capsys):
    @functools.wraps(compile_with)
    def compiled(function, **options):
        def fails(graph, inputs):
            raise OSError("no C++ compiler here\nand more lines")

        options.pop("options", None)
        return compile_with(function, backend=fails, **options)

    monkeypatch.setattr(torch, "compile", compiled)
    model = fitted(model_class, compile=True)
    *_, line = [line for line in capsys.readouterr().out.splitlines() if "compiled" in line]
    assert line == "not compiled: OSError: no C++ compiler here"
    assert way(model) == "none"
    expected = fitted(model_class)
    for mine, theirs in zip(model.state_dict().values(), expected.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_loss_that_is_not_finite_is_told_at_its_step(quick):
    x, y = points()
    x[60] = float("nan")
    trainer = Trainer(max_epochs=1, gpus=0, run_dir="run", compile=True, figures=False)
    with pytest.raises(FloatingPointError, match="epoch 1, step 3: the features of row 60"):
        trainer.fit(OneCycle(), TensorLoader(x, y, batch_size=25))


def test_a_second_fit_goes_on_and_evaluation_is_not_compiled(quick):
    pl.seed_everything(7, verbose=False)
    model, trainer = OneCycle(), Trainer(max_epochs=1, gpus=0, figures=False, logger=False, compile=True)
    trainer.fit(model, **loaders())
    trainer.fit(model, **loaders(), max_epochs=3)
    assert way(model) == "whole"
    assert len(model.history) == 3
    assert "forward" not in vars(model)
