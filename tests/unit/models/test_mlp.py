"""MLP: sizes, penalty, standardization, values and what it reaches."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import mean_squared_error, r2_score
from sklearn.preprocessing import StandardScaler
from torch import nn

from datamodules.housing import HousingDataModule
from datamodules.mnist import MNISTDataModule
from lightmodels import MLP, Trainer
from lightmodels.cli.tasks import TASKS
from lightmodels.data.array_datamodule import ArrayDataModule
from lightmodels.optim.fused import FusedNAdam

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 9) + 5
Y = 100_000 * (X[:, :1] + 3)
MOMENTS = {"feature_mean": X.mean(0).tolist(), "feature_std": X.std(0, correction=0).tolist()}


def model_of(task, **sizes):
    """The model of a task with the defaults of its flags."""
    options = {name.removeprefix("model."): value for name, value in TASKS[task].defaults.items() if "model." in name}
    return MLP(**options | sizes)


def regressor(**options):
    return model_of("housing", num_features=8, num_classes=0, target_scale=100_000.0, **options)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_sizes():
    assert count(model_of("mnist_mlp")) == 567_434
    assert count(model_of("mnist_mlp", num_classes=3)) == 566_531
    assert count(regressor(**MOMENTS)) == 301
    assert MLP()(torch.rand(5, 1, 28, 28)).shape == (5, 10)
    assert regressor()(X).shape == (64, 1)
    assert count(MLP(8, 3, hidden="4,5")) == 8 * 4 + 4 + 4 * 5 + 5 + 5 * 3 + 3
    assert count(MLP(8, 3, hidden=[])) == 27


def test_it_computes_on_standardized_features_in_the_targets_unit():
    model = regressor(**MOMENTS).eval()
    scaled = torch.from_numpy(StandardScaler().fit_transform(X.double().numpy())).float()
    expected = model.net(scaled) * 100_000
    torch.testing.assert_close(model(X), expected, rtol=1e-4, atol=1.0)
    still = regressor(feature_mean=[1.0] * 8, feature_std=[0.0] * 8)
    assert torch.equal(still(torch.ones(1, 8)), still.net(torch.zeros(1, 8)) * 100_000)


def test_values_by_hand_and_the_penalty_is_in_the_training_loss_only():
    model = regressor(**MOMENTS)
    predicted = model(X).detach().double().numpy() / 1e5
    true = Y.double().numpy() / 1e5
    weights = [layer.weight.detach().double().numpy() for layer in model.net if isinstance(layer, nn.Linear)]
    penalty = 0.05 * sum((weight**2).sum() for weight in weights)
    trained, evaluated = model.train().shared_step((X, Y)), model.eval().shared_step((X, Y))
    mse = ((predicted - true) ** 2).mean()
    assert trained["loss"].item() == pytest.approx(mse + penalty, rel=1e-5)
    assert evaluated["loss"].item() == trained["mse"].item() == pytest.approx(mse, rel=1e-5)
    assert trained["mae"][0].item() / 64 == pytest.approx(np.abs(predicted - true).mean(), rel=1e-5)
    assert model.r2.compute().item() == pytest.approx(r2_score(true, predicted), rel=1e-4)


def test_classes_by_hand():
    model, y = MLP(8, 4, hidden=[6], activation="relu", l2=0.1, dropout=0.5), torch.arange(64) % 4
    values = model.eval().shared_step((X, y))
    assert values["loss"].item() == pytest.approx(nn.functional.cross_entropy(model(X), y).item())
    assert values["acc"] == ((model(X).argmax(1) == y).sum(), 64)
    assert [type(layer).__name__ for layer in model.net] == ["Linear", "ReLU", "Dropout", "Linear"]


def test_a_target_is_standardized_for_the_net_and_reported_in_its_unit():
    """The loss is the mean squared error of the standardized target, as scikit-learn's scaler standardizes it."""
    scaler = StandardScaler().fit(Y.double().numpy())
    model = MLP(8, 0, target_mean=float(scaler.mean_[0]), target_std=float(scaler.scale_[0])).eval()
    values, predicted = model.shared_step((X, Y)), model(X).detach().double().numpy()
    assert values["loss"].item() == pytest.approx(
        mean_squared_error(scaler.transform(Y.double().numpy()), scaler.transform(predicted)), rel=1e-4
    )
    assert values["mse"].item() == pytest.approx(mean_squared_error(Y, predicted), rel=1e-4)
    assert np.abs(predicted - Y.double().numpy().mean()).max() < 3 * Y.std()


def test_weights_are_in_the_loss_only_and_exact_over_uneven_batches():
    y, weights = torch.arange(64) % 4, torch.arange(64) / 10
    model = MLP(8, 4, hidden=[6]).eval()
    losses = nn.functional.cross_entropy(model(X), y, reduction="none")
    data = ArrayDataModule((X, y), val=(X, y, weights), batch_size=50)
    values = Trainer(gpus=0, logger=False, enable_checkpointing=False).validate(model, data, verbose=False)[0]
    assert values["val_loss"] == pytest.approx((losses * weights).mean().item(), rel=1e-5)
    assert values["val_acc"] == pytest.approx((model(X).argmax(1) == y).float().mean().item())


def test_categories_are_embedded():
    """Each category has its vector, which follows the numbers; unknown ones begin with zeros."""
    model = MLP(4, 2, hidden=[5], cardinalities=[3, 10]).eval()
    x = torch.tensor([[0.5, -1.0, 2, 9], [0.5, -1.0, 0, 0]])
    colors, cities = (table.weight for table in model.category_embeddings.tables)
    assert (colors.shape, cities.shape) == ((3, 3), (10, 6))
    expected = torch.stack([torch.cat([x[0, :2], colors[2], cities[9]]), torch.cat([x[1, :2], torch.zeros(9)])])
    assert torch.equal(model(x), model.net(expected))
    model.shared_step((x, torch.tensor([0, 1])))["loss"].backward()
    assert [row.abs().sum() > 0 for row in cities.grad] == [True, *[False] * 8, True]
    only = MLP(1, 0, cardinalities=[4])
    assert only(torch.tensor([[3.0]])).shape == (1, 1)


def test_he_normal_and_the_optimizers():
    torch.manual_seed(0)
    first = MLP(1000, 10, hidden=[1000], initializer="he_normal").net[0].weight
    assert first.std().item() == pytest.approx((2 / 1000) ** 0.5, rel=0.01)
    assert type(regressor().configure_optimizers()) is FusedNAdam
    scheduled = MLP(8, 2, schedule="one_cycle").configure_optimizers()
    assert (type(scheduled["optimizer"]), scheduled["lr_scheduler"]["interval"]) == (torch.optim.Adam, "step")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": "12,x"}, "hidden must be whole numbers, such as 512,256, got '12,x'"),
        ({"hidden": [12, 0]}, "hidden must be at least 1, got 0"),
        ({"l2": -1}, "l2 must be a finite number of at least 0, got -1"),
        ({"dropout": 1}, "dropout must be at least 0 and below 1, got 1"),
        ({"feature_mean": [1.0]}, "feature_mean must have 784 numbers, got 1"),
        ({"num_features": 1, "cardinalities": [2, 3]}, "cardinalities must be at most 1 numbers, got 2"),
        ({"cardinalities": [0]}, "cardinalities must be at least 1, got 0"),
        ({"target_std": 0}, "target_std must be a finite number above 0, got 0"),
        ({"target_scale": 0}, "target_scale must be a finite number above 0, got 0"),
    ],
)
def test_invalid_options_are_named(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        MLP(**options)


@torch.no_grad()
def test_figures_suit_the_data():
    model = regressor(**MOMENTS).eval()
    model.data_info = {"features": [*"abcdef", "latitude", "longitude"], "target": "value"}
    assert set(model.figures((X, Y), model(X))) == {"predicted_against_true", "residuals", "error_by_place"}
    model.data_info["kind"] = "frame"  # whose inputs are no longer degrees
    assert set(model.figures((X, Y, X[:, 0]), model(X))) == {"predicted_against_true", "residuals"}
    model.data_info = {}
    assert set(model.figures((X, Y), model(X))) == {"predicted_against_true", "residuals"}
    digits, x = MLP(), torch.rand(30, 1, 28, 28)
    names = set(digits.figures((x, torch.arange(30) % 10), digits(x)))
    assert names == {"confusion_matrix", "worst_images", "first_layer_weights"}


def train_some(data, model, **options):
    pl.seed_everything(0, verbose=False)
    trainer = Trainer(gpus=0, logger=False, enable_checkpointing=False, figures=False, **options)
    trainer.fit(model, data)
    return trainer.validate(model, data, verbose=False)[0]


@pytest.mark.real_data
def test_housing_reaches_least_squares(data_dir):
    data = HousingDataModule(data_dir)
    pl.seed_everything(0, verbose=False)
    assert train_some(data, model_of("housing", **data.sizes), max_epochs=3)["val_mse"] < 0.6


@pytest.mark.real_data
def test_three_digits_are_told_apart(data_dir):
    data = MNISTDataModule(data_dir, batch_size=32, classes="0,1,2")
    assert train_some(data, model_of("mnist_mlp", **data.sizes), max_epochs=1)["val_acc"] > 0.97
