"""Unusual models, data and callbacks: compiled training reaches the results of eager training."""

import copy
import math
import pickle

import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, OneCycle, points
from test_step_compiler import (  # noqa: F401
    assert_close,
    assert_equal,
    compiled_part,
    eager_backend,
    fitted,
    in_an_empty_directory,
    loaders,
)
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, IterableDataset

from lightmodels import Trainer
from lightmodels.data.tensor_loader import TensorLoader

pytestmark = pytest.mark.usefixtures("eager_backend")


class StopsLearning(Classifier):
    """A group with a learning rate of zero, with rows that no batch uses."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 2)

    def shared_step(self, batch):
        x, y = batch
        return super().shared_step((x + self.table(torch.zeros_like(y)), y))

    def configure_optimizers(self):
        groups = [{"params": self.net.parameters()}, {"params": self.table.parameters(), "lr": 0.0}]
        return torch.optim.AdamW(groups, lr=0.01)


class HookedWeight(Classifier):
    def __init__(self):
        super().__init__()
        self.net[0].weight.register_hook(lambda gradient: gradient * 0)


class Cycles(Classifier):
    """Betas that change with the rate."""

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=20)
        return [optimizer], [{"scheduler": cycle, "interval": "step"}]


class OwnSchedule(OneCycle):
    def lr_scheduler_step(self, scheduler, metric):
        scheduler.step()
        for group in self.optimizers().param_groups:
            group["lr"] = 0.05 / (1 + self.global_step)


class Reassigns(Classifier):
    """A running mean that is a new tensor after each step."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))

    def shared_step(self, batch):
        x, y = batch
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
        return super().shared_step((x - self.mean, y))


class GivesParameter(Classifier):
    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(1.0))

    def shared_step(self, batch):
        x, y = batch
        return super().shared_step((x * self.alpha, y)) | {"alpha": self.alpha}


class Outside(Classifier):
    """Trains a parameter that is not the model's."""

    def configure_optimizers(self):
        self.others = [nn.Parameter(torch.ones(2))]
        return torch.optim.Adam([*self.parameters(), *self.others], lr=0.01)

    def shared_step(self, batch):
        x, y = batch
        return super().shared_step((x * self.others[0], y))


class Late(Classifier):
    """Uses a layer from the second epoch on."""

    def __init__(self):
        super().__init__()
        self.later = nn.Linear(2, 2)

    def shared_step(self, batch):
        x, y = batch
        return super().shared_step((self.later(x) if self.current_epoch else x, y))


@pytest.mark.parametrize(
    ("model_class", "expected", "execution"),
    [
        (StopsLearning, "step", 1), (HookedWeight, "forward", 1), (Cycles, None, 2), (OwnSchedule, "step", 2),
        (Reassigns, "step", 2), (GivesParameter, "step", 2), (Outside, "forward", 1), (Late, "forward", 1),
    ],
)  # fmt: skip
def test_unusual_models(model_class, expected, execution):
    compiled = fitted(model_class, compile=True, steps_per_execution=execution)
    assert compiled_part(compiled) == expected or expected is None
    assert_close(compiled, fitted(model_class))


class AtStep(pl.Callback):
    """Acts after a step in the middle of the second epoch."""

    runs_every_step = True

    def __init__(self, what):
        self.what = what

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        if trainer.global_step == 7:
            self.what(trainer, model)


def replaces(trainer, model):
    model.net[0].weight.data = model.net[0].weight.data.clamp(-0.1, 0.1)


def freezes(trainer, model):
    model.net[0].requires_grad_(False)


def forgets(trainer, model):
    trainer.optimizers[0].state.clear()


def adds(trainer, model):
    model.extra = nn.Linear(1, 1)
    trainer.optimizers[0].add_param_group({"params": model.extra.parameters()})


@pytest.mark.parametrize("what", [replaces, freezes, forgets, adds])
def test_callbacks_may_change_what_is_trained(what):
    compiled = fitted(Classifier, callbacks=[AtStep(what)], compile=True)
    eager = fitted(Classifier, callbacks=[AtStep(what)])
    assert_close(compiled, eager)


def clips(trainer, model):
    trainer.gradient_clip_val = 0.001


def counts_forwards(trainer, model):
    model.net[0].register_forward_hook(lambda module, args, output: output * 0.5)


@pytest.mark.parametrize("what", [clips, counts_forwards])
def test_hooks_and_clipping_may_begin_in_a_later_epoch(what):
    class Begins(pl.Callback):
        def on_train_epoch_start(self, trainer, model):
            if trainer.current_epoch == 2:
                what(trainer, model)

    compiled = fitted(Classifier, callbacks=[Begins()], compile=True)
    assert compiled_part(compiled) == "forward"
    assert_close(compiled, fitted(Classifier, callbacks=[Begins()]))


class Rows(IterableDataset):
    def __iter__(self):
        x, y = points(120)
        return zip(x, y, strict=True)


class Short:
    """Has seven batches, but a length of twelve."""

    batch_size = 20

    def __len__(self):
        return 12

    def __iter__(self):
        x, y = points(140)
        return iter(zip(x.split(20), y.split(20), strict=True))


@pytest.mark.parametrize(
    "loader", [lambda: DataLoader(Rows(), batch_size=20), Short], ids=["unsized", "short"]
)
def test_no_batch_is_lost_where_a_loader_ends_inside_an_execution(loader):
    def data():
        return {"train_dataloaders": loader(), "val_dataloaders": TensorLoader(*points(31, 1), batch_size=9)}

    eager = fitted(Classifier, data)
    compiled = fitted(Classifier, data, compile=True, steps_per_execution=4)
    assert compiled.trainer.global_step == eager.trainer.global_step
    assert_close(compiled, eager)


def test_batches_of_another_size_than_the_loader_says_are_compiled_too():
    def data():
        loader = Short()
        loader.batch_size = 30
        return {"train_dataloaders": loader, "val_dataloaders": TensorLoader(*points(31, 1), batch_size=9)}

    compiled = fitted(Classifier, data, compile=True)
    assert compiled_part(compiled) == "step"
    assert_close(compiled, fitted(Classifier, data))


def test_activation_checkpointing_trains_and_so_does_the_next_fit():
    class Checkpointed(Classifier):
        def shared_step(self, batch):
            x, y = batch
            logits = checkpoint(self.net, x, use_reentrant=False)
            return {
                "loss": nn.functional.cross_entropy(logits, y),
                "acc": (logits.argmax(1) == y).float().mean(),
            }

    assert_close(fitted(Checkpointed, compile=True), fitted(Checkpointed))


def test_a_copy_made_by_a_callback_computes_with_its_own_weights():
    copies = []

    class Copies(pl.Callback):
        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            copies[:] = [copy.deepcopy(model)]

    model = fitted(Classifier, callbacks=[Copies()], compile=True, gradient_clip_val=1.0)
    assert compiled_part(model) == "forward"
    x = points()[0]
    for parameter in copies[0].parameters():
        parameter.data.zero_()
    assert not copies[0](x).any()
    pickle.loads(pickle.dumps(model.trainer.fit_loop.epoch_loop.compiler))


def test_a_resumed_run_compiles_the_same_part(capsys):
    fitted(Late, compile=True, run_dir="run", max_epochs=2)
    assert "only the model's forward is compiled" in capsys.readouterr().out
    resumed = Late()
    trainer = Trainer(max_epochs=3, gpus=0, figures=False, logger=False, compile=True)
    trainer.fit(resumed, **loaders(), ckpt_path="run/checkpoints/last.ckpt")
    assert compiled_part(resumed) == "forward"
    whole = fitted(Late, compile=True)
    assert_equal(resumed, whole)


def test_a_label_out_of_range_is_explained_as_without_a_graph():
    x, y = points()
    y[60] = 7
    with pytest.raises(Exception, match=r"Classifier\.shared_step: Target 7 is out of bounds"):
        fitted(Classifier, lambda: {"train_dataloaders": TensorLoader(x, y, batch_size=25)}, compile=True)
    assert math.isfinite(fitted(Classifier, max_epochs=1).history[-1]["train_loss"])
