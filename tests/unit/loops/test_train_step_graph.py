"""Unusual models, data and callbacks: compiled training reaches the results of eager training."""

import copy
import math
import pickle

import pytest
import pytorch_lightning as pl
import torch
from helpers.fits import Rows, assert_close, assert_equal, compiled_part, fitted, loaders, model_with
from helpers.models import Classifier, OneCycle, points
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader

from lightmodels.data.tensor_loader import TensorLoader

pytestmark = pytest.mark.usefixtures("eager_backend")


def model_with_part(make, inputs, **attributes):
    class Own(Classifier):
        def __init__(self):
            super().__init__()
            self.part = make()

        def shared_step(self, batch):
            return super().shared_step((inputs(self, batch[0]), batch[1]))

    return model_with(Own, **attributes)


FrozenByRate = model_with_part(
    lambda: nn.Embedding(10, 2),  # with rows that no batch uses
    lambda self, x: x + self.part(torch.zeros(len(x), dtype=torch.long)),
    configure_optimizers=lambda self: torch.optim.AdamW(
        [{"params": self.net.parameters(), "lr": 0.01}, {"params": self.part.parameters(), "lr": 0.0}]
    ),
)
Outside = model_with_part(
    lambda: [nn.Parameter(torch.ones(2))],  # which is not a parameter of the model
    lambda self, x: x * self.part[0],
    configure_optimizers=lambda self: torch.optim.Adam([*self.parameters(), *self.part], lr=0.01),
)
Late = model_with_part(lambda: nn.Linear(2, 2), lambda self, x: self.part(x) if self.current_epoch else x)


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


@pytest.mark.parametrize(
    ("model_class", "expected", "execution"),
    [
        (FrozenByRate, "step", 1), (HookedWeight, "forward", 1), (Cycles, None, 2), (OwnSchedule, "step", 2),
        (Reassigns, "step", 2), (GivesParameter, "step", 2), (Outside, "forward", 1), (Late, "forward", 1),
    ],
)  # fmt: skip
def test_unusual_models(model_class, expected, execution):
    compiled = fitted(model_class, compile=True, steps_per_execution=execution)
    assert compiled_part(compiled) == expected or expected is None
    assert_close(compiled, fitted(model_class))


CHANGES = {
    "replaces": lambda trainer, model: setattr(model.net[0].weight, "data", torch.ones(8, 2)),
    "freezes": lambda trainer, model: model.net[0].requires_grad_(False),
    "forgets": lambda trainer, model: trainer.optimizers[0].state.clear(),
    "adds": lambda trainer, model: trainer.optimizers[0].add_param_group({"params": [model.extra]}),
    "clips": lambda trainer, model: setattr(trainer, "gradient_clip_val", 0.001),
    "hooks": lambda trainer, model: model.net[0].register_forward_hook(lambda module, args, out: out * 0.5),
}


@pytest.mark.parametrize("change", CHANGES)
def test_callbacks_may_change_what_is_trained(change):
    class Extra(Classifier):
        def __init__(self):
            super().__init__()
            self.extra = torch.zeros(2, requires_grad=True)

    class Changes(pl.Callback):
        """In the middle of the second epoch, or after its last step where a new epoch has to begin."""

        runs_every_step = True

        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            if trainer.global_step == (10 if change in ("clips", "hooks") else 7):
                CHANGES[change](trainer, model)

    compiled = fitted(Extra, callbacks=[Changes()], compile=True)
    assert_close(compiled, fitted(Extra, callbacks=[Changes()]))
    assert compiled_part(compiled) == ("step" if change in ("replaces", "freezes", "forgets") else "forward")


class Short:
    """Has seven batches of 20 rows, but a length of twelve."""

    def __init__(self, batch_size=20):
        self.batch_size = batch_size

    def __len__(self):
        return 12

    def __iter__(self):
        x, y = points(140)
        return iter(zip(x.split(20), y.split(20), strict=True))


@pytest.mark.parametrize("loader", [lambda: DataLoader(Rows(), 20), Short, lambda: Short(30)])
def test_no_batch_is_lost_where_loaders_are_not_what_they_say(loader):
    def data():
        return loaders() | {"train_dataloaders": loader()}

    eager = fitted(Classifier, data)
    compiled = fitted(Classifier, data, compile=True, steps_per_execution=4)
    assert compiled_part(compiled) == "step"
    assert compiled.trainer.global_step == eager.trainer.global_step
    assert_close(compiled, eager)


def test_activation_checkpointing_trains_and_so_does_the_next_fit():
    class Checkpointed(Classifier):
        def shared_step(self, batch):
            x, y = batch
            logits = checkpoint(self.net, x, use_reentrant=False)
            return {"loss": nn.functional.cross_entropy(logits, y)}

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
    resumed = fitted(Late, compile=True, ckpt_path="run/checkpoints/last.ckpt")
    assert compiled_part(resumed) == "forward"
    assert_equal(resumed, fitted(Late, compile=True))


def test_a_label_out_of_range_is_explained_as_without_a_graph():
    x, y = points()
    y[60] = 7
    with pytest.raises(Exception, match=r"Classifier\.shared_step: Target 7 is out of bounds"):
        fitted(Classifier, lambda: {"train_dataloaders": TensorLoader(x, y, batch_size=25)}, compile=True)
    assert math.isfinite(fitted(Classifier, max_epochs=1).history[-1]["train_loss"])
