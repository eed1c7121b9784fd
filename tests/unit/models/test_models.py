"""The first four models: sizes, shapes, losses, overfitting one batch, and what they reach."""

import math

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.linear_model import LinearRegression as LeastSquares
from torch import nn

from datamodules.linear import LinearDataModule
from datamodules.ring import RingDataModule
from lightmodels import MNISTCNN, LinearRegression, ReutersConv1D, RingDNN, Trainer
from lightmodels.optim.lr_schedules import one_cycle_factor


def example(model_class, rows=16):
    """A batch of random inputs and labels for a model."""
    torch.manual_seed(0)
    if model_class is LinearRegression:
        x = torch.randn(rows, 2)
        return x, x.sum(1, keepdim=True)
    if model_class is RingDNN:
        return torch.randn(rows, 2) * 5, (torch.arange(rows) % 2).float()[:, None]
    if model_class is MNISTCNN:
        return torch.rand(rows, 1, 28, 28), torch.arange(rows) % 10
    return torch.randint(3, 30_982, (rows, 300)), torch.arange(rows) % 46


@pytest.mark.parametrize(
    ("model_class", "parameters", "outputs", "steps", "lr", "rows"),
    [
        (LinearRegression, 3, 1, 300, 0.1, 16),
        (RingDNN, 61, 1, 3000, 0.03, 4),
        (MNISTCNN, 53_994, 10, 150, 0.005, 16),
        (ReutersConv1D, 332_856, 46, 60, 0.01, 16),
    ],
)
def test_a_model_has_its_size_and_learns_one_batch_to_zero_loss(model_class, parameters, outputs, steps, lr, rows):
    pl.seed_everything(1, verbose=False)
    model, batch = model_class(), example(model_class, rows)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(batch[0]).shape == (rows, outputs)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        model.eval().shared_step(batch)["loss"].backward()
        optimizer.step()
    assert model.shared_step(batch)["loss"].item() < 0.01


@pytest.mark.parametrize("model_class", [RingDNN, MNISTCNN, ReutersConv1D])
def test_losses_stay_finite_for_huge_logits(model_class):
    model = model_class()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(100)
    batch = example(model_class)
    assert model(batch[0]).abs().max() > 100
    loss = model.shared_step(batch)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_values_of_shared_step_by_hand():
    model = LinearRegression().eval()
    x, y = example(LinearRegression)
    step, error = model.shared_step((x, y)), (model(x) - y).detach().double().numpy()
    assert step["loss"].item() == pytest.approx((error**2).mean())
    assert step["mae"][0].item() / step["mae"][1] == pytest.approx(np.abs(error).mean())
    assert step["mape"][0].item() / step["mape"][1] == pytest.approx(np.abs(error / y.numpy()).mean())


def test_accuracies_by_hand():
    model, (x, y) = ReutersConv1D().eval(), example(ReutersConv1D)
    step, ranks = model.shared_step((x, y)), model(x).argsort(dim=1, descending=True).tolist()
    assert step["acc"] == (sum(row[0] == label for row, label in zip(ranks, y, strict=True)), 16)
    assert step["top5_acc"] == (sum(label in row[:5] for row, label in zip(ranks, y.tolist(), strict=True)), 16)


def test_reuters_masks_words_and_smooths_labels_only_in_training():
    model, batch, seen = ReutersConv1D(masking=0.5, label_smoothing=0.3), example(ReutersConv1D), []
    model.net[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    train, evaluated = model.train().shared_step(batch)["loss"], model.eval().shared_step(batch)["loss"]
    assert (seen[0] == 2).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(seen[1], batch[0])
    assert evaluated.item() == pytest.approx(nn.functional.cross_entropy(model(batch[0]), batch[1]).item())
    assert train != evaluated


def test_reuters_is_initialized_like_keras():
    embedding, *layers = [layer for layer in ReutersConv1D().net if list(layer.parameters())]
    assert embedding.weight.abs().max() <= 0.05
    for layer in layers:
        inputs, outputs = (n * layer.weight[0][0].numel() for n in (layer.weight.shape[1], layer.weight.shape[0]))
        limit = math.sqrt(6 / (inputs + outputs))
        assert 0.98 * limit < layer.weight.abs().max() <= limit
        assert not layer.bias.any()


def test_reuters_pooling_before_relu_is_bit_identical_to_relu_first():
    net, (x, y) = ReutersConv1D().net, example(ReutersConv1D)
    x[:, :200] = 0  # padding: rows of equal numbers, so that pooling has to choose
    relu_first = nn.Sequential(*(net[n] for n in (0, 1, 2, 4, 3, 5, 7, 6, 8, 9)))
    found = []
    for order in (net, relu_first):
        net.zero_grad()
        logits = order(x)
        nn.functional.cross_entropy(logits, y).backward()
        found.append([logits, *(parameter.grad.clone() for parameter in net.parameters())])
    assert [type(layer) for layer in net[3:5]] == [nn.MaxPool2d, nn.ReLU]
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LinearRegression(lr=-1), "^lr must be a finite number above 0, got -1"),
        (lambda: RingDNN(lr=math.nan), "^lr must be"),
        (lambda: RingDNN(lr=math.inf), "^lr must be"),
        (lambda: RingDNN(num_features=0), "^num_features must be"),
        (lambda: MNISTCNN(weight_decay=-0.1), "^weight_decay must be a finite number of at least 0"),
        (lambda: MNISTCNN(dropout=1.0), "^dropout must be at least 0 and below 1"),
        (lambda: ReutersConv1D(masking=-0.1), "^masking must be"),
        (lambda: ReutersConv1D(label_smoothing=2), "^label_smoothing must be"),
        (lambda: ReutersConv1D(length=8), "^length must be at least"),
    ],
)
def test_invalid_hyper_parameters_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_one_cycle_rises_and_falls_above_zero(steps):
    factors = [one_cycle_factor(step, steps, warmup=0.3) for step in range(steps)]
    peak = factors.index(max(factors))
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert one_cycle_factor(steps + 5, steps, 0.3) == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_linear_regression_reaches_least_squares(seed):
    pl.seed_everything(seed, verbose=False)
    model, data = LinearRegression(), LinearDataModule(seed=seed)
    Trainer(max_epochs=model.max_epochs, run_dir="run", gpus=0).fit(model, data)
    (x, y), (x_val, y_val) = data.splits.train, data.splits.val
    best = LeastSquares().fit(x.double(), y.double())
    assert model.net.weight.tolist()[0] == pytest.approx(best.coef_[0].tolist(), rel=0.02)
    assert model.net.bias.item() == pytest.approx(best.intercept_[0], rel=0.02)
    val_mse = ((best.predict(x_val.double()) - y_val.double().numpy()) ** 2).mean()
    assert model.history[-1]["val_loss"] == pytest.approx(val_mse, rel=0.02)


def test_ring_comes_near_the_bayes_limit():
    pl.seed_everything(0, verbose=False)
    model, data = RingDNN(), RingDataModule()
    trainer = Trainer(max_epochs=model.max_epochs, run_dir="run", gpus=0)
    trainer.fit(model, data)
    assert max(model.history["val_acc"]) >= 0.925
    (tested,) = trainer.test(model, data, verbose=False)
    assert tested["test_acc"] >= 0.9332 - 0.015
