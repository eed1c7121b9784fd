"""Features of Lightning and PyTorch work with a LightModel; each is checked by a number or an effect."""

import csv
import gc
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, GetsWorse, Points, points
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.tuner import Tuner
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from datamodules.ring import RingDataModule
from lightmodels import LightModel, RingDNN, Trainer
from lightmodels.data.tensor_loader import TensorLoader


def quiet(**options):
    bare = {"max_epochs": 2, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    return Trainer(**bare | options)


def fitted(model_class=Classifier, **options):
    """A model trained with seed 0 on points in batches of 25, and its trainer."""
    pl.seed_everything(0, verbose=False)
    model, trainer = model_class(), quiet(**options)
    trainer.fit(model, datamodule=Points(batch_size=25))
    return model, trainer


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def mean(states):
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def close(state, other):
    return all(torch.allclose(state[name], other[name], atol=1e-6) for name in state)


def loss_of(model, x, y):
    """The mean loss over the rows, summed in float64."""
    model.eval()
    with torch.no_grad():
        return F.cross_entropy(model(x), y, reduction="none").double().mean().item()


class Still(Classifier):
    """Keeps its initial weights."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


# Batches


def test_dict_batches():
    class Named(Still):
        def shared_step(self, batch):
            return super().shared_step((batch["x"], batch["y"]))

    x, y = points(31)
    rows = [{"x": row, "y": label} for row, label in zip(x, y, strict=True)]
    model = Named()
    quiet().fit(model, DataLoader(rows, batch_size=9), DataLoader(rows, batch_size=25))
    expected = pytest.approx(loss_of(model, x, y), rel=1e-6)
    assert model.history[-1]["train_loss"] == expected
    assert model.history[-1]["val_loss"] == expected


def test_several_inputs():
    class Sum(LightModel):
        def shared_step(self, batch):
            left, right, y = batch
            return {"loss": F.mse_loss(self(left, right), y)}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    net, left, right = nn.Bilinear(2, 3, 1), torch.randn(20, 2), torch.randn(20, 3)
    loader = TensorLoader(left, right, net(left, right).detach() + 1, batch_size=20)
    model = Sum(net)
    quiet(max_epochs=1).fit(model, loader)
    assert model.history[0]["train_loss"] == pytest.approx(1.0, abs=1e-6)
    assert torch.allclose(quiet().predict(model, loader), net(left, right), atol=1e-6)


# Optimization


class TwoOptimizers(LightModel):
    """Two parameters, each with its own optimizer; one increases, the other decreases."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.up, self.down = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def shared_step(self, batch):
        return {"loss": self.down * batch[0].mean(), "rival_loss": -self.up * batch[0].mean()}

    def training_step(self, batch, batch_idx):
        values = self.shared_step(batch)
        names = ("loss", "rival_loss")
        for optimizer, name in zip(self.optimizers(), names, strict=True):
            optimizer.zero_grad()
            self.manual_backward(values[name])
            optimizer.step()
        self.log_batch(values, batch)
        return values["loss"]

    def configure_optimizers(self):
        return torch.optim.SGD([self.down], lr=0.5), torch.optim.SGD([self.up], lr=0.25)


def test_manual_optimization_with_two_optimizers():
    x, model = torch.tensor([1.0, 2.0, 3.0, 6.0, 7.0]), TwoOptimizers()
    quiet().fit(model, TensorLoader(x, batch_size=2), TensorLoader(x, batch_size=3))
    down, expected = 0.0, []
    for _ in range(2):
        total = 0.0
        for rows in ([1.0, 2.0], [3.0, 6.0], [7.0]):
            mean = sum(rows) / len(rows)
            total += down * mean * len(rows)
            down -= 0.5 * mean
        expected.append(total / 5)
    assert model.history["train_loss"] == pytest.approx(expected)
    assert model.history["train_rival_loss"] == pytest.approx([value / 2 for value in expected])
    assert model.history["lr"] == [0.5, 0.5]
    assert model.history[-1]["val_loss"] == pytest.approx(down * 3.8)
    assert model.up.item() == -down / 2


def test_manual_optimization_equals_automatic_optimization():
    class Manual(Classifier):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.optimizers().zero_grad()
            self.manual_backward(loss)
            self.optimizers().step()
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.05)

    class Automatic(Classifier):
        configure_optimizers = Manual.configure_optimizers

    (manual, _), (automatic, _) = fitted(Manual), fitted(Automatic)
    assert same(manual.state_dict(), automatic.state_dict())
    for name in ("train_loss", "train_acc", "val_loss", "lr"):
        assert manual.history[name] == automatic.history[name]


@pytest.mark.parametrize(
    ("options", "every", "limit"),
    [({"accumulate_grad_batches": 2}, 2, None), ({"gradient_clip_val": 0.1}, 1, 0.1)],
)
def test_gradient_accumulation_and_clipping(options, every, limit):
    model, _ = fitted(max_epochs=1, **options)
    pl.seed_everything(0, verbose=False)
    other, loader = Classifier(), Points(batch_size=25).train_dataloader()
    (optimizer,), _ = other.configure_optimizers()
    total = 0.0
    for step, batch in enumerate(loader, start=1):
        loss = other.shared_step(batch)["loss"]
        total += loss.item() * len(batch[0])
        (loss / every).backward()
        if step % every == 0 or step == len(loader):
            if limit:
                nn.utils.clip_grad_norm_(other.parameters(), limit)
            optimizer.step()
            optimizer.zero_grad()
    assert same(model.state_dict(), other.state_dict())
    assert model.history[0]["train_loss"] == pytest.approx(total / 103, rel=1e-6)
    assert not same(model.state_dict(), fitted(max_epochs=1)[0].state_dict())


def test_a_frozen_backbone_keeps_its_weights():
    class Transfer(Classifier):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Linear(2, 2).requires_grad_(False)

        def forward(self, x):
            return self.net(self.backbone(x))

        def configure_optimizers(self):
            return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=0.05)

    pl.seed_everything(0, verbose=False)
    before = Transfer()
    model, _ = fitted(Transfer, enable_checkpointing=True)
    assert same(model.backbone.state_dict(), before.backbone.state_dict())
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())
    assert not same(model.net.state_dict(), before.net.state_dict())


def test_bf16_mixed_precision():
    seen = set()

    class Records(Classifier):
        def forward(self, x):
            out = super().forward(x)
            seen.add(out.dtype)
            return out

    half, full = fitted(Records, precision="bf16-mixed")[0], fitted()[0]
    assert seen == {torch.bfloat16}
    assert {value.dtype for value in half.parameters()} == {torch.float32}
    assert half.history["val_loss"] == pytest.approx(full.history["val_loss"], rel=0.02)
    assert half.history["val_loss"] != full.history["val_loss"]


# torch.compile


def small_net():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))


def compiled_net():
    return torch.compile(small_net(), backend="eager")


class Wrapped(LightModel):
    """A ``Classifier`` whose net is passed to the constructor."""

    shared_step = Classifier.shared_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


def test_a_compiled_net_trains_as_the_original_and_its_checkpoint_loads():
    plain, _ = fitted(lambda: Wrapped(small_net()))
    model, trainer = fitted(lambda: Wrapped(compiled_net()), run_dir="run", enable_checkpointing=True)
    assert model.history["val_loss"] == pytest.approx(plain.history["val_loss"], rel=1e-5)
    again = Wrapped.load_from_checkpoint("run/checkpoints/last.ckpt", net=compiled_net())
    x = points(20, 2)[0]
    assert torch.allclose(again(x), model(x))
    assert torch.allclose(trainer.predict(again, TensorLoader(x, batch_size=7)), model(x), atol=1e-6)


def test_a_compiled_net_accepts_dict_batches():
    class Net(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    net, (x, y) = Net(2, 2), points(10)
    rows = [{"x": row, "y": label} for row, label in zip(x, y, strict=True)]
    predicted = quiet().predict(LightModel(torch.compile(net, backend="eager")), DataLoader(rows, 4))
    assert torch.allclose(predicted, net(x))


def test_a_compiled_model_trains_and_its_best_weights_are_validated():
    pl.seed_everything(0, verbose=False)
    model, data = GetsWorse(), Points(batch_size=103)  # each size of batches is traced
    compiled = torch.compile(model, backend="eager")
    trainer = Trainer(max_epochs=2, accelerator="cpu", run_dir="run")
    assert trainer.fit(compiled, data) is model.history
    val = data.val_dataloader()
    (best,) = trainer.validate(compiled, val, ckpt_path="best", verbose=False)
    assert best["val_loss"] == pytest.approx(model.history[0]["val_loss"], rel=1e-6)
    trainer.fit(compiled, data, max_epochs=3)
    assert model.history["epoch"] == [1, 2, 3]


# Shorter runs


def test_fast_dev_run_makes_one_step():
    model, trainer = fitted(fast_dev_run=True)
    assert (trainer.global_step, len(model.history)) == (1, 1)


def test_metrics_of_limited_batches_cover_exactly_their_rows():
    model, _ = fitted(Still, limit_train_batches=3, limit_val_batches=0.5)
    data = Points(batch_size=25)
    for epoch, row in enumerate(model.history):
        (x, y), order = data.splits.train, data.train_dataloader().order(epoch)[:75]
        assert row["train_loss"] == pytest.approx(loss_of(model, x[order], y[order]), rel=1e-6)
        x, y = data.splits.val
        assert row["val_loss"] == pytest.approx(loss_of(model, x[:25], y[:25]), rel=1e-6)


# Tuners


def test_the_learning_rate_finder_restores_everything():
    untouched, _ = fitted(max_epochs=50, limit_train_batches=4)
    pl.seed_everything(0, verbose=False)
    model, data, trainer = Classifier(), Points(batch_size=25), quiet(max_epochs=50, limit_train_batches=4)
    before = weights(model)
    found = Tuner(trainer).lr_find(model, data, num_training=60, update_attr=False)
    assert 1e-8 < found.suggestion() < 1
    assert len(found.results["lr"]) > 20
    assert same(before, model.state_dict())
    assert len(model.history) == 0
    trainer.fit(model, data)
    assert model.history["train_loss"] == untouched.history["train_loss"]
    assert same(untouched.state_dict(), model.state_dict())


def test_the_learning_rate_that_was_found_is_used():
    model, trainer = Classifier(), quiet(max_epochs=30)
    found = Tuner(trainer).lr_find(model, Points(batch_size=25), num_training=60)
    trainer.fit(model, Points(batch_size=25), max_epochs=31)
    assert model.history["lr"][0] == model.hparams.lr == found.suggestion()


def test_the_batch_size_that_was_found_is_used(request):
    gc.freeze()  # the finder collects garbage after each trial, and need not search all that was imported
    request.addfinalizer(gc.unfreeze)
    model, data, trainer = Classifier(), Points(batch_size=4), quiet()
    found = Tuner(trainer).scale_batch_size(model, datamodule=data, init_val=8, max_trials=3)
    assert found == data.batch_size == 32
    trainer.fit(model, data)
    assert trainer.num_training_batches == len(range(0, 103, 32))
    assert model.history["epoch"] == [1, 2]


# Callbacks


def test_lightnings_early_stopping():
    model, _ = fitted(max_epochs=50, callbacks=[pl.callbacks.EarlyStopping("val_loss", min_delta=0.05)])
    values = model.history["val_loss"]
    good = [step for step in range(1, len(values)) if min(values[:step]) - values[step] > 0.05]
    assert len(values) == (good[-1] if good else 0) + 1 + 3


def test_weight_averaging_validates_saves_and_resumes_the_average():
    def train(run_dir, epochs, **options):
        pl.seed_everything(0, verbose=False)
        steps = []
        collect = LambdaCallback(on_train_batch_end=lambda _, module, *__: steps.append(weights(module)))
        callbacks = [pl.callbacks.WeightAveraging(), collect]
        trainer = quiet(run_dir=run_dir, max_epochs=epochs, callbacks=callbacks, enable_checkpointing=True)
        model = Classifier(dropout=0.2)
        trainer.fit(model, datamodule=Points(batch_size=25), **options)
        return model, trainer, steps

    model, trainer, steps = train("whole", 3)
    assert close(mean(steps), model.state_dict())
    val_loss = loss_of(model, *points(31, 1))
    assert model.history[-1]["val_loss"] == pytest.approx(val_loss, rel=1e-5)
    (saved,) = trainer.validate(ckpt_path="last", verbose=False)
    assert saved["val_loss"] == pytest.approx(val_loss, rel=1e-5)

    train("half", 2)
    resumed, _, _ = train("half", 3, ckpt_path="half/checkpoints/last.ckpt")
    assert same(resumed.state_dict(), model.state_dict())
    assert resumed.history["val_loss"] == model.history["val_loss"]


def test_exponential_weight_averaging():
    averaging = pl.callbacks.EMAWeightAveraging(decay=0.0)  # the average is the newest weights
    model, plain = fitted(callbacks=[averaging])[0], fitted()[0]
    assert close(plain.state_dict(), model.state_dict())
    assert plain.history["val_loss"] == pytest.approx(model.history["val_loss"], rel=1e-5)
    slow, _ = fitted(callbacks=[pl.callbacks.EMAWeightAveraging(decay=0.9)])
    assert slow.history["train_loss"] == plain.history["train_loss"]
    assert slow.history[0]["val_loss"] > plain.history[0]["val_loss"]


def test_stochastic_weight_averaging():
    starts = []
    collect = LambdaCallback(on_train_epoch_start=lambda _, module: starts.append(weights(module)))
    averaging = pl.callbacks.StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)
    model, _ = fitted(max_epochs=3, callbacks=[averaging, collect])
    assert close(mean(starts), model.state_dict())
    assert len(model.history) == 3


# Loggers


def test_the_csv_logger_writes_the_history():
    logger = pl.loggers.CSVLogger("csv")
    model, _ = fitted(max_epochs=3, logger=logger, log_every_n_steps=1)
    with (Path(logger.log_dir) / "metrics.csv").open(newline="") as file:
        rows = [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    assert [row.pop("step") for row in rows] == model.history["epoch"]
    assert rows == [{k: v for k, v in row.items() if k != "epoch"} for row in model.history]


# Lightning's command line


def test_lightning_cli():
    flags = ["--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--trainer.run_dir=run"]
    flags += ["--model.lr=0.02", "--data.num_rows=400", "--data.test_rows=100"]
    cli = LightningCLI(RingDNN, RingDataModule, trainer_class=Trainer, args=["fit", *flags])
    assert cli.model.hparams["lr"] == 0.02
    assert cli.model.history["epoch"] == [1, 2]
    assert {path.name for path in Path("run/checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    again = RingDNN.load_from_checkpoint("run/checkpoints/last.ckpt")
    assert same(again.state_dict(), cli.model.state_dict())
    assert again.hparams["lr"] == 0.02
