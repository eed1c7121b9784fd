"""Numbers that people's own data, losses and monitors must give, against scikit-learn, torch and hand computations."""

import re

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, points
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression as LeastSquares
from sklearn.preprocessing import scale
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics import MeanSquaredError
from torchmetrics.classification import BinaryAccuracy
from torchmetrics.regression import R2Score

from lightmodels import LightModel, Trainer

OPTIONS = {"gpus": 0, "logger": False, "enable_checkpointing": False, "figures": False}


def one_batch(*tensors):
    return DataLoader([tensors], batch_size=None)


def own_mse(output, target):
    return (output - target).square().mean()


def diabetes():
    """Ten standardized features, shape ``(442, 10)``, and a standardized target, shape ``(442,)``."""
    x, y = load_diabetes(return_X_y=True)
    return scale(x).astype(np.float32), scale(y).astype(np.float32)


@pytest.mark.parametrize("loss", [F.mse_loss, own_mse, nn.HuberLoss(delta=100.0)])
def test_a_column_as_target_reaches_least_squares(loss):
    x, y = diabetes()
    net = nn.Linear(10, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    model = LightModel.from_net(net, loss=loss, metrics={"r2": R2Score(), "mse": own_mse}, optimizer=optimizer)
    trainer = Trainer(max_epochs=150, **OPTIONS)
    trainer.fit(model, train_data=(x, y), batch_size=442)
    best = LeastSquares().fit(x, y).score(x, y)  # 0.52
    values = trainer.evaluate(model, (x, y), batch_size=442)
    assert values["test_r2"] == pytest.approx(best, abs=5e-3)
    assert values["test_mse"] == pytest.approx(1 - best, abs=5e-3)  # of a target with variance 1


@pytest.mark.parametrize(("output", "target"), [((5, 1), (5,)), ((5,), (5, 1)), ((5, 3, 1), (5, 3))])
def test_a_trailing_dimension_of_one_is_aligned(output, target):
    class Net(nn.Module):
        def forward(self, x):
            return x.reshape(output)

    x, y = torch.arange(float(np.prod(output))), torch.rand(target)
    net = Net()
    net.register_parameter("unused", nn.Parameter(torch.zeros(())))
    metrics = {"own": own_mse, "mse": MeanSquaredError()}
    model = LightModel.from_net(net, loss=F.mse_loss, metrics=metrics)
    values = model.test_on_batch((x.reshape(output), y))
    expected = float((x.flatten() - y.flatten()).square().mean())
    assert values == pytest.approx({"loss": expected, "own": expected, "mse": expected})


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_binary_cross_entropy_takes_a_column_of_labels(dtype):
    x, y = points(40)
    logits = nn.Linear(2, 1)
    model = LightModel.from_net(logits, loss=F.binary_cross_entropy_with_logits, metrics={"acc": BinaryAccuracy()})
    values = model.train_on_batch((x, y.to(dtype)))
    model.reset_metrics()
    with torch.no_grad():
        expected = F.binary_cross_entropy_with_logits(logits(x)[:, 0], y.float())
    assert model.test_on_batch((x, y.to(dtype)))["loss"] == pytest.approx(float(expected))
    assert values["acc"] <= 1


@pytest.mark.parametrize(("output", "target"), [((4, 4), (4,)), ((4, 1), (4, 3)), ((4, 3), (1, 3)), ((4, 3), (4, 1))])
@pytest.mark.parametrize("loss", [F.mse_loss, own_mse])
def test_shapes_that_only_broadcasting_makes_fit_are_refused(output, target, loss):
    model = LightModel.from_net(nn.Linear(2, output[1]), loss=loss)
    batch = torch.ones(output[0], 2), torch.ones(target)
    message = rf"output .*{re.escape(str(output))}.*target .*{re.escape(str(target))}"
    with pytest.raises(ValueError, match=message) as error:
        model.train_on_batch(batch)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=message):
        Trainer(max_epochs=1, **OPTIONS).fit(model, one_batch(*batch))


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 6)])
def test_class_labels_keep_their_shape(shape):
    logits, labels = torch.randn(shape), torch.randint(0, 5, (shape[0], *shape[2:]))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return x + self.shift

    model = LightModel.from_net(Net(), loss=F.cross_entropy)
    assert model.test_on_batch((logits, labels))["loss"] == pytest.approx(float(F.cross_entropy(logits, labels)))


class Broadcasts(Classifier):
    def shared_step(self, batch):
        x, y = batch
        return {"loss": F.mse_loss(self(x)[:, :1], y.float())}


def test_a_step_that_broadcasts_in_its_loss_is_named():
    x, y = points(20)
    for train in (
        lambda model: model.train_on_batch((x, y)),
        lambda model: Trainer(max_epochs=1, **OPTIONS).fit(model, one_batch(x, y)),
        lambda model: Trainer(max_epochs=1, **OPTIONS).validate(model, one_batch(x, y)),
        lambda model: pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False).fit(model, one_batch(x, y)),
    ):
        with pytest.raises(ValueError, match=r"Broadcasts\.shared_step: .*\[20\].*\[20, 1\]") as error:
            train(Broadcasts())
        assert "\n" not in str(error.value)


class Unreduced(Classifier):
    def shared_step(self, batch):
        x, y = batch
        return {"loss": F.cross_entropy(self(x), y, reduction="none")}


def test_a_loss_that_is_not_scalar_is_named():
    batch = points(20)
    for train in (
        lambda model: model.train_on_batch(batch),
        lambda model: Trainer(max_epochs=1, **OPTIONS).fit(model, one_batch(*batch)),
    ):
        with pytest.raises(ValueError, match=r"Unreduced\.shared_step.*\(20,\)"):
            train(Unreduced())
