"""LightClassifier and LightRegressor: scikit-learn's own checks, weights by hand, and everyday use."""

import importlib
import pickle
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from lightmodels import LightModel
from lightmodels.sklearn import LightClassifier, LightRegressor

SMALL = {"hidden": (16,), "max_epochs": 20, "lr": 0.02, "random_state": 0, "trainer_options": {"gpus": 0}}
ROUNDING = "results are equal up to float32's rounding, and this check allows less"
EXPECTED = {"check_sample_weight_equivalence_on_dense_data": ROUNDING, "check_methods_subset_invariance": ROUNDING}

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
LABELS = np.where(X[:, 0] > 0.4, "warm", np.where(X[:, 0] < -0.4, "cold", "mild"))
NUMBERS = 100 + 30 * X[:, 0] - 10 * X[:, 1]


@pytest.mark.parametrize("estimator", [LightClassifier, LightRegressor])
def test_scikit_learns_checks(estimator):
    options = {**SMALL, "max_epochs": 5, "lr": 0.1}  # it trains 60 times
    results = check_estimator(estimator(**options), expected_failed_checks=EXPECTED, on_skip=None)
    assert {each["check_name"] for each in results if each["status"] == "xfail"} <= set(EXPECTED)
    assert sum(each["status"] == "passed" for each in results) > 50


def linear(features, outputs):
    net = nn.Linear(features, outputs)
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    return net


def test_a_weight_is_a_weighted_mean_by_hand():
    """One full batch of gradient descent on a linear net that starts at 0."""
    weights = rng.uniform(0.5, 3, size=len(X))
    step = {"net": linear, "max_epochs": 1, "batch_size": 60, "lr": 0.1, "optimizer": "sgd"}
    regressor = LightRegressor(**step).fit(X, NUMBERS, weights)
    mean = np.average(NUMBERS, weights=weights)
    scale = np.sqrt(np.average((NUMBERS - mean) ** 2, weights=weights))
    target = (NUMBERS - mean) / scale
    slope = 0.1 * 2 * np.average(target[:, None] * X, axis=0, weights=weights)  # - lr * gradient of the mean square
    np.testing.assert_allclose(regressor.model_.net.weight.detach()[0], slope, rtol=1e-4)
    assert regressor.history_[0]["train_loss"] == pytest.approx(np.average(target**2, weights=weights), rel=1e-5)
    np.testing.assert_allclose(regressor.predict(X), mean + scale * (X @ slope), rtol=1e-5)


@pytest.mark.parametrize("estimator", [LightClassifier, LightRegressor])
def test_a_whole_weight_is_that_many_rows(estimator):
    counts = rng.integers(0, 4, size=len(X))
    y = LABELS if estimator is LightClassifier else NUMBERS
    options = {**SMALL, "batch_size": 500}
    weighted = estimator(**options).fit(X, y, counts)
    repeated = estimator(**options).fit(X.repeat(counts, axis=0), y.repeat(counts))
    method = "predict_proba" if estimator is LightClassifier else "predict"
    np.testing.assert_allclose(getattr(weighted, method)(X), getattr(repeated, method)(X), rtol=1e-4)
    assert weighted.history_[-1]["train_loss"] == pytest.approx(repeated.history_[-1]["train_loss"], rel=1e-4)


@pytest.mark.parametrize("class_weight", ["balanced", {"warm": 3.0, "mild": 1.0}], ids=["balanced", "dict"])
def test_class_weights_are_weights_of_rows(class_weight):
    classes = np.unique(LABELS)
    per_class = dict(zip(classes, compute_class_weight(class_weight, classes=classes, y=LABELS), strict=True))
    by_class = LightClassifier(**SMALL, class_weight=class_weight).fit(X, LABELS)
    by_row = LightClassifier(**SMALL).fit(X, LABELS, [per_class[label] for label in LABELS])
    np.testing.assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))


def test_weights_count_in_validation_too():
    options = {**SMALL, "net": linear, "max_epochs": 1, "lr": 0.0, "optimizer": "sgd", "val_fraction": 0.5}
    weights = np.where(LABELS == "warm", 5.0, 1.0)
    row = LightClassifier(**options).fit(X, LABELS, weights).history_[0]  # all outputs are 0: it says "cold"
    assert row["val_loss"] == pytest.approx(np.log(3), rel=1e-5)
    assert row["val_acc"] == pytest.approx(np.average(LABELS == "cold", weights=weights), abs=0.03)  # stratified


def test_partial_fit_goes_on_where_it_was_through_pickle_too():
    whole = LightClassifier(**SMALL)
    for _ in range(4):
        whole.partial_fit(X, LABELS, classes=np.unique(LABELS))
    parts = LightClassifier(**SMALL)
    for _ in range(4):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, LABELS, np.unique(LABELS))))
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))
    fitted = LightClassifier(**{**SMALL, "max_epochs": 4}).fit(X, LABELS)
    np.testing.assert_array_equal(whole.predict_proba(X), fitted.predict_proba(X))
    assert len(whole.history_) == 4
    assert whole.score(X, LABELS) > LightClassifier(**{**SMALL, "lr": 1e-9}).fit(X, LABELS).score(X, LABELS)


def test_partial_fit_continues_a_fit():
    regressor = LightRegressor(**SMALL).fit(X, NUMBERS)
    before = regressor.history_[-1]["train_loss"]
    for _ in range(20):
        regressor.partial_fit(X, NUMBERS)
    assert len(regressor.history_) == 40
    assert regressor.history_[-1]["train_loss"] < before


class Net(nn.Module):
    def __init__(self, features, outputs):
        super().__init__()
        self.layer, self.drop = nn.Linear(features, outputs), nn.Dropout(0.2)

    def forward(self, x):
        return self.layer(self.drop(x))


@pytest.mark.parametrize(
    "net", [Net, Net(3, 3), lambda features, outputs: nn.Linear(features, outputs)], ids=["class", "module", "function"]
)
def test_nets(net):
    before = torch.get_rng_state()
    state = [value.clone() for value in net.parameters()] if isinstance(net, Net) else []
    classifier = LightClassifier(net, **SMALL)
    first, second = (clone(classifier).fit(X, LABELS).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert all(torch.equal(*pair) for pair in zip(state, net.parameters() if state else [], strict=True))  # copied
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(classifier.fit(X, LABELS).model_, LightModel)


def test_a_net_of_images():
    images = rng.normal(size=(40, 1, 4, 4)).astype("float32")
    labels = (images.mean((1, 2, 3)) > 0).astype(int)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LazyLinear(2))
    assert LightClassifier(net, **SMALL).fit(images, labels).score(images, labels) > 0.8
    assert LightClassifier(**SMALL).fit(images, labels).predict(images[:3]).shape == (3,)


def test_losses_and_optimizers():
    options = {**SMALL, "loss": partial(nn.functional.huber_loss, delta=0.5, reduction="none")}
    regressor = LightRegressor(**options, optimizer=partial(torch.optim.AdamW, weight_decay=0.1))
    assert regressor.fit(X, NUMBERS).score(X, NUMBERS) > 0.8
    assert isinstance(regressor.model_.configure_optimizers(), torch.optim.AdamW)
    assert LightRegressor(**{**SMALL, "loss": "mae"}).fit(X, NUMBERS).score(X, NUMBERS) > 0.8
    several = np.stack([NUMBERS, -NUMBERS], axis=1)
    assert LightRegressor(**SMALL).fit(X, several).predict(X).shape == (60, 2)


def test_patience_restores_the_best_weights():
    """At this learning rate, the loss goes up and down."""
    options = {**SMALL, "lr": 0.5, "val_fraction": 0.4, "max_epochs": 60}
    classifier = LightClassifier(**options, patience=5).fit(X, LABELS)
    history = classifier.history_
    assert len(history) == history.best_epoch + 5 < 60
    short = LightClassifier(**{**options, "max_epochs": history.best_epoch}).fit(X, LABELS)
    np.testing.assert_array_equal(classifier.predict_proba(X), short.predict_proba(X))


def test_searches_pipelines_and_frames(capsys, tmp_path):
    frame, y = load_breast_cancer(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler(), LightClassifier(**{**SMALL, "max_epochs": 3}))
    search = GridSearchCV(pipeline, {"lightclassifier__hidden": [(4,), (16, 16)]}, cv=2).fit(frame, y)
    assert search.best_score_ > 0.93
    numbers, target = load_diabetes(return_X_y=True)
    assert cross_val_score(LightRegressor(**SMALL), numbers, target, cv=2).mean() > 0.35
    fitted = LightClassifier(**{**SMALL, "max_epochs": 1}).fit(frame, y)
    assert list(fitted.feature_names_in_) == list(frame.columns)
    assert not capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    LightClassifier(**SMALL, verbose=True).fit(pd.DataFrame(X), LABELS)
    assert capsys.readouterr().out.startswith("epoch")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 2}, "patience needs a val_fraction above 0"),
        ({"net": Net(3, 7)}, r"net must give shape \(32, 3\), got \(32, 7\)"),
        ({"loss": "mse"}, "loss must be a function or one of cross_entropy; got 'mse'"),
        ({"optimizer": "best"}, "optimizer must be a function or one of"),
    ],
    ids=["patience", "net", "loss", "optimizer"],
)
def test_bad_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        LightClassifier(**{**SMALL, **options}).fit(X, LABELS)


def test_bad_targets():
    with pytest.raises(ValueError, match="y must have at least two classes, got one class only: 'warm'"):
        LightClassifier().fit(X, ["warm"] * 60)
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows"):
        LightClassifier(class_weight="balanced").partial_fit(X, LABELS, np.unique(LABELS))
    classifier = LightClassifier(**SMALL).partial_fit(X, LABELS, np.unique(LABELS))
    with pytest.raises(ValueError, match=r"y has classes that were not named on the first call: \['hot'\]"):
        classifier.partial_fit(X, ["hot"] * 60)
    with pytest.raises(ValueError, match="y must have 1 values a row, as on the first call, got 2"):
        LightRegressor(**SMALL).partial_fit(X, NUMBERS).partial_fit(X, np.stack([NUMBERS, NUMBERS], axis=1))


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "lightmodels.sklearn")
    with pytest.raises(ImportError, match=r"^lightmodels.sklearn needs scikit-learn: pip install scikit-learn$"):
        importlib.import_module("lightmodels.sklearn")
