"""Compiled training: whole steps as one graph, else the model's forward, else nothing; the same results."""

import warnings

import pytest
import pytorch_lightning as pl
import torch
from helpers.fits import assert_close, assert_equal, compiled_part, fitted, loaders, model_with, model_with_part
from helpers.models import Classifier, ManyMetrics, OneCycle
from torch import nn

from lightmodels import Trainer
from lightmodels.loops.compiled.train_step_graph import CompiledTrainStep

Nadam = model_with(OneCycle, configure_optimizers=lambda self: torch.optim.NAdam(self.parameters(), 0.01))
Rmsprop = model_with(OneCycle, configure_optimizers=lambda self: torch.optim.RMSprop(self.parameters(), 0.01))
Unused = model_with_part(lambda: nn.Linear(2, 2), lambda self, x: x)
Noisy = model_with_part(lambda: nn.Dropout(0.2), lambda self, x: self.part(x) + torch.rand_like(x))
Momentum = model_with(
    Classifier, configure_optimizers=lambda self: torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)
)


class TwoGroups(OneCycle):  # one has a frozen part, and each a learning rate and an option of its own
    def configure_optimizers(self):
        self.net[0].bias.requires_grad_(False)
        first = {"params": self.net[0].parameters(), "lr": 0.01, "weight_decay": 0.1}
        optimizer = torch.optim.AdamW([first, {"params": self.net[3].parameters()}], lr=0.05)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


class PlainSgd(OneCycle):  # its optimizer has no states
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class Normed(Classifier):  # batch norm keeps running means and a count
    def __init__(self):
        super().__init__()
        self.net[0] = nn.Linear(2, 8, bias=False)  # whose gradient would be rounding alone
        self.net.insert(1, nn.BatchNorm1d(8))


class Sized(Classifier):  # returns values of every kind, and the number of samples
    def shared_step(self, batch):
        values = super().shared_step(batch)
        hits = (values["acc"] * len(batch[0])).detach()
        return values | {"size": len(batch[0]), "one": 1.0, "hits": (hits, torch.tensor(2.0)), "pair": (1, 2)}


@pytest.mark.parametrize("model_class", [OneCycle, Nadam, TwoGroups, Momentum, Normed, Sized])
def test_compiled_steps_reach_the_results_of_eager_ones(model_class, eager_backend):
    compiled = fitted(model_class, compile=True)
    assert compiled_part(compiled) == "step"
    assert_close(compiled, fitted(model_class))


def test_compiled_steps_in_mixed_precision(eager_backend):
    compiled = fitted(OneCycle, compile=True, precision="bf16-mixed", max_epochs=1)
    assert compiled_part(compiled) == "step"
    assert_close(compiled, fitted(OneCycle, precision="bf16-mixed", max_epochs=1), rtol=2e-2, atol=2e-2)
    assert compiled.net[0].weight.dtype == torch.float32


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("validates", [{}, {"val_check_interval": 2}])
def test_an_interrupted_and_resumed_run_is_bit_identical(steps, validates, eager_backend):
    class Interrupts(pl.Callback):
        runs_every_step = False

        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            if trainer.global_step >= 8:
                raise RuntimeError("interrupted")

    options = {"compile": True, "steps_per_execution": steps, **validates}
    whole = fitted(OneCycle, **options)
    with pytest.raises(RuntimeError, match="interrupted"):
        fitted(OneCycle, callbacks=[Interrupts()], save_every_n_steps=1, run_dir="run", **options)
    path = "run/checkpoints/last.ckpt"
    assert torch.load(path, weights_only=True)["global_step"] in (5, 7)
    resumed = fitted(OneCycle, ckpt_path=path, **options)
    assert compiled_part(resumed) == "step"
    assert_equal(resumed, whole)


@pytest.fixture
def counts(monkeypatch):
    """How many steps were in each graph that ran; 0 for a step that was left to the caller."""
    counts, run = [], CompiledTrainStep.run

    def counted(self, batches, rates):
        losses = run(self, batches, rates)
        counts.append(len(batches) if losses else 0)
        return losses

    monkeypatch.setattr(CompiledTrainStep, "run", counted)
    return counts


@pytest.mark.parametrize(("between", "seen", "size"), [(True, 5, 2), (False, 3, 2), (None, 5, 1)])
def test_callbacks_say_whether_they_run_between_compiled_steps(between, seen, size, counts, eager_backend):
    class Watches(pl.Callback):
        runs_every_step = True

        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            if trainer.current_epoch == 2:  # of five batches
                losses.append(outputs["loss"])

    losses, watches = [], Watches()
    if between is not None:
        watches.runs_between_compiled_steps = between
    fitted(Classifier, callbacks=[watches], compile=True, steps_per_execution=2)
    assert (len(losses), max(counts)) == (seen, size)


def test_several_steps_in_one_graph_are_bit_identical_to_single_steps(counts):
    single = fitted(Noisy, compile=True)
    assert counts == [0, 1, 1, 1, 0, *[1, 1, 1, 1, 0] * 2]  # the very first, and each epoch's last
    counts.clear()
    many = fitted(Noisy, compile=True, steps_per_execution=2)
    assert counts == [0, 1, 2, 0, *[2, 2, 0] * 2]
    assert_equal(many, single)
    assert [row["lr"] for row in many.history] == [row["lr"] for row in single.history]
    assert_close(many, fitted(Noisy))


@pytest.mark.parametrize("model_class", [TwoGroups, PlainSgd])
def test_each_step_in_a_graph_has_its_own_learning_rate(model_class, eager_backend):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Detected call of `lr_scheduler.step")
        many = fitted(model_class, compile=True, steps_per_execution=2)
    assert_close(many, fitted(model_class))


class Hooked(Classifier):
    def configure_optimizers(self):
        optimizer, _ = super().configure_optimizers()
        optimizer[0].register_step_post_hook(lambda *_: None)
        return optimizer


class Branches(Classifier):  # branches on a value
    def shared_step(self, batch):
        values = super().shared_step(batch)
        return values | {"large": float(values["loss"] > 0.5) if values["acc"] > 0.5 else 0.0}


@pytest.mark.parametrize(
    ("model_class", "options", "reason"),
    [
        (ManyMetrics, {}, "torchmetrics objects, whose state steps change"),
        (OneCycle, {"gradient_clip_val": 0.1}, "gradient_clip_val"),
        (OneCycle, {"accumulate_grad_batches": 2}, "accumulate_grad_batches=2"),
        (Rmsprop, {}, "RMSprop with these options"),
        (Hooked, {}, "hooks on the optimizer"),
        (Unused, {}, "parameters without a gradient, such as part.weight"),
        (Branches, {}, "Data-dependent branching"),
    ],
)
@pytest.mark.usefixtures("eager_backend")
def test_forward_alone_is_compiled_where_a_whole_step_cannot_be(model_class, options, reason, capsys):
    compiled = fitted(model_class, compile=True, **options)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "compile" in line]
    assert line.startswith(f"only the model's forward is compiled, not the whole training step: {reason}")
    assert len(line) < 220
    assert compiled_part(compiled) == "forward"
    assert "forward" not in vars(compiled)
    assert_close(compiled, fitted(model_class, **options))


@pytest.mark.parametrize("model_class", [OneCycle, Rmsprop])
def test_training_runs_eagerly_where_compilation_fails(model_class, compile_with, capsys):
    def fails(graph, inputs):
        raise OSError("no C++ compiler here\nand more lines")

    compile_with(fails)
    model = fitted(model_class, compile=True)
    *_, line = [line for line in capsys.readouterr().out.splitlines() if "compile" in line]
    assert line == "torch.compile failed, training runs eagerly: OSError: no C++ compiler here"
    assert compiled_part(model) is None
    assert_equal(model, fitted(model_class))


def test_a_second_fit_continues_and_evaluation_is_not_compiled(eager_backend):
    pl.seed_everything(7, verbose=False)
    model, trainer = OneCycle(), Trainer(max_epochs=1, gpus=0, figures=False, logger=False, compile=True)
    trainer.fit(model, **loaders())
    trainer.fit(model, **loaders(), max_epochs=3)
    assert compiled_part(model) == "step"
    assert len(model.history) == 3
    assert "forward" not in vars(model)
