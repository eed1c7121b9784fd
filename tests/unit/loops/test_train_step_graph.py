"""Steps in a graph reach the results of eager ones, whatever the model, its callbacks and its data."""

import functools

import pytest
import pytorch_lightning as pl
import torch
from helpers.fits import Rows, assert_close, assert_equal, compiled_part, fitted, loaders, model_with, model_with_part
from helpers.models import Classifier, OneCycle, points
from torch import nn
from torch.utils.data import DataLoader

from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.loops.compiled.train_step_graph import CompiledTrainStep

Nadam = model_with(OneCycle, configure_optimizers=lambda self: torch.optim.NAdam(self.parameters(), 0.01))
Momentum = model_with(
    Classifier, configure_optimizers=lambda self: torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)
)
Noisy = model_with_part(lambda: nn.Dropout(0.2), lambda self, x: self.part(x) + torch.rand_like(x))
FrozenByRate = model_with_part(
    lambda: nn.Embedding(10, 2),  # with rows that no batch uses
    lambda self, x: x + self.part(torch.zeros(len(x), dtype=torch.long)),
    configure_optimizers=lambda self: torch.optim.AdamW(
        [{"params": self.net.parameters(), "lr": 0.01}, {"params": self.part.parameters(), "lr": 0.0}]
    ),
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


class OwnSchedule(OneCycle):
    def lr_scheduler_step(self, scheduler, metric):
        scheduler.step()
        for group in self.optimizers().param_groups:
            group["lr"] = 0.05 / (1 + self.global_step)


class Buffers(Classifier):  # of batch norm, and a running mean that is a new tensor after each step
    def __init__(self):
        super().__init__()
        self.net[0] = nn.Linear(2, 8, bias=False)  # whose gradient would be rounding alone
        self.net.insert(1, nn.BatchNorm1d(8))
        self.register_buffer("mean", torch.zeros(2))

    def shared_step(self, batch):
        x, y = batch
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
        return super().shared_step((x - self.mean, y))


class Values(Classifier):  # of every kind, among them a parameter and the number of samples
    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(1.0))

    def shared_step(self, batch):
        x, y = batch
        values = super().shared_step((x * self.alpha, y)) | {"alpha": self.alpha, "size": len(x), "one": 1.0}
        return values | {"hits": ((values["acc"] * len(x)).detach(), torch.tensor(2.0)), "pair": (1, 2)}


MODELS = [OneCycle, Nadam, Momentum, FrozenByRate, TwoGroups, PlainSgd, OwnSchedule, Buffers, Values]


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.filterwarnings("error:Detected call of `lr_scheduler.step")
def test_compiled_steps_reach_the_results_of_eager_ones(model_class, eager_backend):
    """In graphs of two steps, and of one in the first epoch."""
    compiled = fitted(model_class, compile=True, steps_per_execution=2)
    assert compiled_part(compiled) == "step"
    assert_close(compiled, fitted(model_class))


@torch._dynamo.config.patch(recompile_limit=2)
def test_models_that_were_compiled_before_do_not_count_towards_the_limit(eager_backend):
    for width in (3, 4, 5, 6):
        model = model_with_part(lambda width=width: nn.Linear(2, width), lambda self, x: x * self.part(x).mean())
        assert compiled_part(fitted(model, compile=True)) == "step"


def test_compiled_steps_in_mixed_precision(eager_backend):
    compiled = fitted(OneCycle, compile=True, precision="bf16-mixed", max_epochs=1)
    assert compiled_part(compiled) == "step"
    assert_close(compiled, fitted(OneCycle, precision="bf16-mixed", max_epochs=1), rtol=2e-2, atol=2e-2)
    assert compiled.net[0].weight.dtype == torch.float32


@functools.cache
def never_interrupted():
    return fitted(OneCycle, compile=True)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("validates", [{}, {"val_check_interval": 2}])
def test_an_interrupted_and_resumed_run_is_bit_identical(steps, validates, eager_backend):
    class Interrupts(pl.Callback):
        runs_every_step = False

        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            if trainer.global_step >= 8:
                raise RuntimeError("interrupted")

    options = {"compile": True, "steps_per_execution": steps, **validates}
    with pytest.raises(RuntimeError, match="interrupted"):
        fitted(OneCycle, callbacks=[Interrupts()], save_every_n_steps=1, run_dir="run", **options)
    path = "run/checkpoints/last.ckpt"
    assert torch.load(path, weights_only=True)["global_step"] in (5, 7)
    resumed = fitted(OneCycle, ckpt_path=path, **options)
    assert compiled_part(resumed) == "step"
    assert_equal(resumed, never_interrupted())


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

    losses = []
    if between is not None:
        Watches.runs_between_compiled_steps = between
    fitted(PlainSgd, callbacks=[Watches()], compile=True, steps_per_execution=2)
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


def outside():
    return torch.zeros(2, requires_grad=True)


CHANGES = {  # after which step, by a callback, and what is compiled from then on
    "replaces": (7, lambda trainer, model: setattr(model.net[0].weight, "data", torch.ones(8, 2)), "step"),
    "freezes": (7, lambda trainer, model: model.net[0].requires_grad_(False), "step"),
    "forgets": (7, lambda trainer, model: trainer.optimizers[0].state.clear(), "step"),
    "adds": (7, lambda trainer, model: trainer.optimizers[0].add_param_group({"params": [outside()]}), "forward"),
    "clips": (10, lambda trainer, model: setattr(trainer, "gradient_clip_val", 0.001), "forward"),
    "hooks": (10, lambda trainer, model: model.net[0].register_forward_hook(lambda *args: args[-1] * 0.5), "forward"),
}


@pytest.mark.parametrize(("step", "change", "part"), CHANGES.values(), ids=CHANGES)
def test_callbacks_may_change_what_is_trained(step, change, part, eager_backend):
    """In the middle of the second epoch, or after its last step where a new epoch has to begin."""

    class Changes(pl.Callback):
        runs_every_step = True

        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            if trainer.global_step == step:
                change(trainer, model)

    compiled = fitted(Classifier, callbacks=[Changes()], compile=True)
    assert_close(compiled, fitted(Classifier, callbacks=[Changes()]))
    assert compiled_part(compiled) == part


class Short:
    """Has three batches of 20 rows, but a length of twelve."""

    def __init__(self, batch_size=20):
        self.batch_size = batch_size

    def __len__(self):
        return 12

    def __iter__(self):
        return zip(*(part.split(20) for part in points(60)), strict=True)


@pytest.mark.parametrize("loader", [lambda: DataLoader(Rows(), 20), Short, lambda: Short(30)])
def test_no_batch_is_lost_where_loaders_are_not_what_they_say(loader, eager_backend):
    def data():
        return loaders() | {"train_dataloaders": loader()}

    eager = fitted(PlainSgd, data)
    compiled = fitted(PlainSgd, data, compile=True, steps_per_execution=2)
    assert compiled_part(compiled) == "step"
    assert compiled.trainer.global_step == eager.trainer.global_step
    assert_close(compiled, eager)


def test_a_label_out_of_range_is_explained_as_without_a_graph(eager_backend):
    x, y = points()
    y[60] = 7
    with pytest.raises(Exception, match=r"Classifier\.shared_step: Target 7 is out of bounds"):
        fitted(Classifier, lambda: {"train_dataloaders": TensorLoader(x, y, batch_size=25)}, compile=True)
    fitted(Classifier, max_epochs=1)  # the next one is not disturbed
