"""Where whole steps cannot be compiled, the model's forward is, else nothing; the same results."""

import copy
import pickle

import pytest
import pytorch_lightning as pl
import torch
from helpers.fits import assert_close, assert_equal, compiled_part, fitted, loaders, model_with, model_with_part
from helpers.models import Classifier, ManyMetrics, OneCycle, points
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightmodels import Trainer

Rmsprop = model_with(OneCycle, configure_optimizers=lambda self: torch.optim.RMSprop(self.parameters(), 0.01))
Late = model_with_part(lambda: nn.Linear(2, 2), lambda self, x: self.part(x) if self.current_epoch else x)
Outside = model_with_part(
    lambda: [nn.Parameter(torch.ones(2))],  # which is not a parameter of the model
    lambda self, x: x * self.part[0],
    configure_optimizers=lambda self: torch.optim.Adam([*self.parameters(), *self.part], lr=0.01),
)


class Hooked(Classifier):
    def configure_optimizers(self):
        optimizer, _ = super().configure_optimizers()
        optimizer[0].register_step_post_hook(lambda *_: None)
        return optimizer


class HookedWeight(Classifier):
    def __init__(self):
        super().__init__()
        self.net[0].weight.register_hook(lambda gradient: gradient * 0)


class Branches(Classifier):  # branches on a value
    def shared_step(self, batch):
        values = super().shared_step(batch)
        return values | {"large": float(values["loss"] > 0.5) if values["acc"] > 0.5 else 0.0}


class Checkpointed(Classifier):
    def shared_step(self, batch):
        x, y = batch
        return {"loss": nn.functional.cross_entropy(checkpoint(self.net, x, use_reentrant=False), y)}


class Cycles(Classifier):  # betas that change with the rate
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=20)
        return [optimizer], [{"scheduler": cycle, "interval": "step"}]


@pytest.mark.parametrize(
    ("model_class", "options", "reason"),
    [
        (ManyMetrics, {}, "torchmetrics objects, whose state steps change"),
        (OneCycle, {"gradient_clip_val": 0.1}, "gradient_clip_val"),
        (OneCycle, {"accumulate_grad_batches": 2}, "accumulate_grad_batches=2"),
        (Rmsprop, {}, "RMSprop with these options"),
        (Hooked, {}, "hooks on the optimizer"),
        (HookedWeight, {}, "hooks on parameters, such as net.0.weight"),
        (Outside, {}, "parameters that are not in the model"),
        (Late, {}, "parameters without a gradient, such as part.weight"),
        (Branches, {}, "Data-dependent branching"),
        (Checkpointed, {}, "activation checkpointing"),
        (Cycles, {"steps_per_execution": 2}, "too many kinds of batches or options, each of which needs a graph"),
    ],
)
@pytest.mark.usefixtures("eager_backend")
@torch._dynamo.config.patch(recompile_limit=3)
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
    def fails(graph, inputs, options):
        raise OSError("no C++ compiler here\nand more lines")

    compile_with(fails)
    model = fitted(model_class, compile=True)
    *_, line = [line for line in capsys.readouterr().out.splitlines() if "compile" in line]
    assert line == "torch.compile failed, training runs eagerly: OSError: no C++ compiler here"
    assert compiled_part(model) is None
    assert_equal(model, fitted(model_class))


def test_a_resumed_run_compiles_the_same_part(capsys, eager_backend):
    fitted(Late, compile=True, run_dir="run", max_epochs=2)
    assert "only the model's forward is compiled" in capsys.readouterr().out
    resumed = fitted(Late, compile=True, ckpt_path="run/checkpoints/last.ckpt")
    assert compiled_part(resumed) == "forward"
    assert_equal(resumed, fitted(Late, compile=True))


def test_a_copy_made_by_a_callback_computes_with_its_own_weights(eager_backend):
    copies = []

    class Copies(pl.Callback):
        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            copies[:] = [copy.deepcopy(model)]

    model = fitted(Classifier, callbacks=[Copies()], compile=True, gradient_clip_val=1.0)
    assert compiled_part(model) == "forward"
    for parameter in copies[0].parameters():
        parameter.data.zero_()
    assert not copies[0](points()[0]).any()
    pickle.loads(pickle.dumps(model.trainer.fit_loop.epoch_loop.compiler))


def test_a_second_fit_continues_and_evaluation_is_not_compiled(eager_backend):
    pl.seed_everything(7, verbose=False)
    model, trainer = OneCycle(), Trainer(max_epochs=1, gpus=0, figures=False, logger=False, compile=True)
    trainer.fit(model, **loaders())
    trainer.fit(model, **loaders(), max_epochs=3)
    assert compiled_part(model) == "step"
    assert len(model.history) == 3
    assert "forward" not in vars(model)
