"""Trainer.fit, train_on_batch and a Fabric loop train the same model on the same data to the same bits."""

import fabric_loop
import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, ManyMetrics, OneCycle, Points, points
from lightning_fabric import Fabric

from lightmodels import LightModel, Trainer
from lightmodels.data.tensor_loader import TensorLoader

EPOCHS = 3
CLOCK = {"seconds", "samples_per_second"}


class Stepwise(ManyMetrics):
    """A schedule that steps once an epoch."""

    def configure_optimizers(self):
        return Classifier.configure_optimizers(self)


class Plateau(ManyMetrics):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
        return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_loss"}


def by_trainer(model, data):
    Trainer(max_epochs=EPOCHS, logger=False, enable_checkpointing=False, accelerator="cpu").fit(model, data)


def by_batches(model, data):
    data.setup()
    train, val = data.train_dataloader(), data.val_dataloader()
    model.total_steps = EPOCHS * len(train)
    for _ in range(EPOCHS):
        for batch in train:
            model.train_on_batch(batch)
        for batch in val:
            model.test_on_batch(batch)
        model.reset_metrics()


def by_fabric(model, data):
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    fabric_loop.train(model, data, EPOCHS, fabric)


def trained(way, model_class):
    pl.seed_everything(0, verbose=False)
    model = model_class()
    way(model, Points(batch_size=25))
    return model


def rows(model, without=CLOCK):
    return [{name: value for name, value in row.items() if name not in without} for row in model.history]


def assert_equal_weights(ours, expected):
    torch.testing.assert_close(ours.state_dict(), expected.state_dict(), rtol=0, atol=0)


class EveryThirdStep(ManyMetrics):
    """Lightning counts the steps of a schedule's frequency from each epoch's start."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
        config = {"scheduler": scheduler, "interval": "step", "frequency": 3}
        return {"optimizer": optimizer, "lr_scheduler": config}


class Frozen(ManyMetrics):
    """A layer that its owner has put in evaluation mode stays so."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.BatchNorm1d(2).eval(), self.net)


@pytest.mark.parametrize("model_class", [ManyMetrics, Stepwise, Plateau, EveryThirdStep, Frozen])
def test_batch_by_batch_is_what_the_trainer_does(model_class):
    fitted, ours = trained(by_trainer, model_class), trained(by_batches, model_class)
    assert rows(ours) == rows(fitted)
    assert list(ours.history[0]) == list(fitted.history[0])
    assert len({row["lr"] for row in ours.history}) > 1
    if model_class is Frozen:
        assert ours.net[0].running_mean.tolist() == [0, 0]
    assert_equal_weights(ours, fitted)


def test_a_fabric_loop_is_what_the_trainer_does():
    fitted, ours = (trained(way, OneCycle) for way in (by_trainer, by_fabric))
    assert rows(ours) == rows(fitted, CLOCK | {"lr"})
    assert_equal_weights(ours, fitted)


def test_means_run_over_the_epoch_and_begin_anew():
    model, (x, y) = Classifier(lr=0.0), points(103)
    batches = list(TensorLoader(x, y, batch_size=50))
    for _ in range(2):
        values = [model.train_on_batch(batch) for batch in batches]
        hits = model(x).argmax(1) == y
        for value, count in zip(values, (50, 100, 103), strict=True):
            assert value["acc"] == pytest.approx(hits[:count].double().mean().item(), rel=1e-6)
        model.reset_metrics()
    assert [row["epoch"] for row in model.history] == [1, 2]
    assert all(type(number) is float for number in values[0].values())


def test_the_rate_can_be_changed_in_the_middle_of_training():
    model, reference = Classifier(), Classifier()
    reference.load_state_dict(model.state_dict())
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.05)
    batch = points(50)
    for step in range(4):
        if step == 2:
            model.optimizers().param_groups[0]["lr"] /= 2
            optimizer.param_groups[0]["lr"] = 0.025
        model.train_on_batch(batch)
        optimizer.zero_grad()
        reference.shared_step(batch)["loss"].backward()
        optimizer.step()
    model.reset_metrics()
    assert model.history["lr"] == [0.025]
    assert_equal_weights(model, reference)


def test_predictions_leave_dropout_out_and_need_no_target():
    model, (x, y) = Classifier(dropout=0.5), points(10)
    expected = model.eval()(x)
    model.train()
    assert torch.equal(model.predict_on_batch(x), expected)
    assert torch.equal(model.predict_on_batch((x, y)), expected)
    assert not model.predict_on_batch(x).requires_grad
    model.test_on_batch((x, y))
    assert all(module.training for module in model.modules())


def test_what_needs_a_trainer_says_so():
    class Own(Classifier):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx)

    class Two(Classifier):
        def configure_optimizers(self):
            return [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(2)]

    class Clips(Classifier):
        def configure_gradient_clipping(self, *args, **options):
            super().configure_gradient_clipping(*args, **options)

    cases = (Own(), "training_step of"), (Clips(), "configure_gradient_clipping of"), (Two(), "2 optimizers")
    for model, message in cases:
        with pytest.raises(ValueError, match=f"{message}.*Trainer"):
            model.train_on_batch(points(5))
    with pytest.raises(NotImplementedError, match="configure_optimizers"):
        LightModel(torch.nn.Linear(2, 2)).train_on_batch(points(5))


def test_a_loss_that_is_not_finite_ends_training():
    model, (x, y) = Classifier(), points(5)
    with pytest.raises(FloatingPointError, match="loss is nan in epoch 1"):
        model.train_on_batch((x * float("nan"), y))
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_loss_that_cannot_be_trained_is_named():
    class Detached(Classifier):
        def shared_step(self, batch):
            return {"loss": super().shared_step(batch)["loss"].detach()}

    class PerRow(Classifier):
        def shared_step(self, batch):
            return {"loss": super().shared_step(batch)["loss"].expand(5)}

    with pytest.raises(ValueError, match="has no gradient"):
        Detached().train_on_batch(points(5))
    with pytest.raises(ValueError, match=r"'loss' of PerRow\.shared_step must be a scalar.*shape \(5,\)"):
        PerRow().train_on_batch(points(5))


def test_a_plateau_wants_its_value():
    class Blind(Plateau):
        def configure_optimizers(self):
            return super().configure_optimizers() | {"monitor": "val_auc"}

    model = Blind()
    model.train_on_batch(points(5))
    with pytest.raises(ValueError, match="monitor 'val_auc' is not among the values: epoch, train_loss"):
        model.reset_metrics()


def test_a_test_in_the_middle_of_an_epoch_does_not_disturb_it():
    data, model, undisturbed = Points(batch_size=25), ManyMetrics(), ManyMetrics()
    undisturbed.load_state_dict(model.state_dict())
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    for each in (model, undisturbed):
        pl.seed_everything(1, verbose=False)
        for index, batch in enumerate(data.train_dataloader()):
            each.train_on_batch(batch)
            if each is model and index == 2:
                trainer.test(model, data, verbose=False)
        each.reset_metrics()
    assert rows(model) == rows(undisturbed)


def test_after_a_fit_the_optimizer_is_that_of_the_batches():
    model = Classifier()
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.fit(model, Points(batch_size=25))
    before = model.net[0].weight.clone()
    model.train_on_batch(points(5))
    after = model.net[0].weight.clone()
    assert not torch.equal(before, after)
    model.optimizers().param_groups[0]["lr"] = 0.0
    model.train_on_batch(points(5))
    assert torch.equal(model.net[0].weight, after)
