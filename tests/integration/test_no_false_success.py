"""A training that has not worked does not end as if it had, and one that has does not fail."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.fits import loaders
from helpers.models import Classifier, points
from pytorch_lightning.demos.boring_classes import BoringModel
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import Trainer

NAN = float("nan")
OPTIONS = {"gpus": 0, "logger": False, "figures": False}


def fit(model, val=None, **options):
    trainer = Trainer(**{"max_epochs": 2, "run_dir": "run", **OPTIONS, **options})
    data = loaders()
    trainer.fit(model, data["train_dataloaders"], data["val_dataloaders"] if val is None else val)
    return trainer


class Manual(Classifier):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        values = self.shared_step((batch[0] * (NAN if batch_idx == 2 else 1), batch[1]))
        optimizer.zero_grad()
        self.manual_backward(values["loss"])
        self.log_batch(values, batch)


class BadWeight(Classifier):
    """A weight that the loss does not show becomes NaN in the very last step."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(2))

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.trainer.global_step == 10:
            self.unused.data[0] = NAN


class BadBuffer(Classifier):
    value, name = NAN, "running_var"

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("mask", torch.zeros(2))

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.get_buffer("mask" if self.name == "mask" else f"norm.{self.name}")[0] = self.value


class Infinite(BadBuffer):
    value = float("inf")


class Mask(Infinite):
    name = "mask"


class BadMetric(Classifier):
    def shared_step(self, batch):
        return super().shared_step(batch) | {"auc": torch.tensor(0.5 if self.training else NAN)}


class BadTrainMetric(Classifier):
    def shared_step(self, batch):
        return super().shared_step(batch) | {"auc": torch.tensor(NAN)}


OWN = lambda: {"callbacks": [pl.callbacks.ModelCheckpoint("own", monitor="val_loss", save_last=True)]}  # noqa: E731
CHECKPOINTS = {"ours": dict, "none": lambda: {"enable_checkpointing": False}, "own": OWN}


@pytest.mark.parametrize("checkpoints", CHECKPOINTS)
@pytest.mark.parametrize(
    ("model_class", "message"),
    [
        (Manual, "train_loss is nan in epoch 1"),
        (BadWeight, r"weight unused is not finite"),
        (BadBuffer, r"weight norm.running_var is not finite"),
        (Infinite, r"weight norm.running_var is not finite"),
    ],
)
def test_what_is_not_finite_ends_a_run(model_class, message, checkpoints):
    with pytest.raises(FloatingPointError, match=message):
        fit(model_class(), **CHECKPOINTS[checkpoints]())
    for path in Path().rglob("*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(value.isfinite().all() for value in state.values())


def test_an_infinite_mask_is_no_fault():
    fit(Mask())


@pytest.mark.parametrize(
    ("model_class", "options", "message"),
    [
        (BadMetric, {"monitor": "val_auc"}, "val_auc is nan in epoch 1"),
        (BadMetric, {"callbacks": [pl.callbacks.ModelCheckpoint(monitor="val_auc")]}, "val_auc is nan in epoch 1"),
        (BadTrainMetric, {"monitor": "train_auc"}, "train_auc is nan in epoch 1"),
    ],
)
def test_a_monitored_metric_that_is_not_a_number_ends_a_run(model_class, options, message):
    with pytest.raises(FloatingPointError, match=message):
        fit(model_class(), **options)


def test_a_metric_that_nobody_monitors_may_be_no_number():
    assert len(fit(BadMetric()).lightning_module.history) == 2


def test_an_empty_validation_loader_is_named():
    empty = DataLoader(TensorDataset(torch.zeros(0, 2), torch.zeros(0).long()))
    with pytest.raises(ValueError, match="the validation dataloader is empty; leave it out"):
        fit(Classifier(), val=empty)
    assert len(fit(Classifier(), run_dir="none", limit_val_batches=0).lightning_module.history) == 2
    fit(Classifier(), run_dir="other", check_val_every_n_epoch=2)


def test_steps_that_never_return_a_loss_are_named():
    class Silent(Classifier):
        skips = 5

        def training_step(self, batch, batch_idx):
            return None if batch_idx < self.skips else super().training_step(batch, batch_idx)

    with pytest.raises(ValueError, match="no training_step of Silent has returned a loss in epoch 1"):
        fit(Silent())
    some = Silent()
    some.skips = 2
    assert len(fit(some, run_dir="some").lightning_module.history) == 2


class OtherName(BoringModel):
    def validation_step(self, batch, batch_idx):
        self.log("score", self(batch).sum())


def test_other_modules_are_tested_after_a_fit_with_their_last_weights():
    model, trainer = OtherName(), Trainer(max_epochs=1, run_dir="run", **OPTIONS)
    trainer.fit(model)
    assert trainer.test(verbose=False) == trainer.test(model, verbose=False)


def test_a_fast_dev_run_is_tested_too():
    trainer = Trainer(fast_dev_run=True, **OPTIONS)
    trainer.fit(Classifier(), **loaders())
    assert trainer.test(dataloaders=points(9), verbose=False)[0]["test_loss"] > 0
