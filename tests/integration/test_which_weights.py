"""One rule for weights and data, in ``test``, ``validate``, ``evaluate`` and ``predict``."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.fits import loaders
from helpers.models import Classifier, GetsWorse, Points, points
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import Trainer

X, Y = points(31, 1)
DATA = {
    "tensors": lambda: (X, Y),
    "arrays": lambda: (X.numpy(), Y.numpy()),
    "Dataset": lambda: TensorDataset(X, Y),
    "DataLoader": lambda: DataLoader(TensorDataset(X, Y), batch_size=9),
    "data module": Points,
}


@pytest.fixture
def trained():
    """A trainer and a model whose first epoch is the best, with the weights of both epochs."""
    pl.seed_everything(0, verbose=False)
    trainer, model = Trainer(gpus=0, max_epochs=3, logger=False, figures=False, run_dir="run"), GetsWorse()
    trainer.fit(model, **loaders())
    assert trainer.best_epoch == 1
    return trainer, model


def loss_of(weights):
    model = Classifier()
    model.load_state_dict(weights)
    return model.test_on_batch((X, Y))["loss"]


def ask(trainer, method, data, *model, **options):
    """The loss, or the logits' mean, that a method gives."""
    if method == "evaluate":
        return trainer.evaluate(*(model or [None]), data, **options)["test_loss"]
    if method == "predict":
        return float(trainer.predict(*(model or [None]), data, **options).mean())
    (values,) = getattr(trainer, method)(*(model or [None]), data, verbose=False, **options)
    return values["val_loss" if method == "validate" else "test_loss"]


@pytest.mark.parametrize("method", ["test", "validate", "evaluate", "predict"])
def test_a_model_that_is_passed_has_its_own_weights_and_else_the_best_count(trained, method):
    trainer, model = trained
    last = {name: value.clone() for name, value in model.state_dict().items()}
    best = torch.load("run/checkpoints/best.ckpt", weights_only=True)["state_dict"]

    def expected(weights):
        if method != "predict":
            return pytest.approx(loss_of(weights))
        other = Classifier()
        other.load_state_dict(weights)
        return pytest.approx(float(other.predict_on_batch(X).mean()), rel=1e-4)

    for data in DATA.values():
        assert ask(trainer, method, data(), model) == expected(last)
        assert ask(trainer, method, data()) == expected(best)
        assert ask(trainer, method, data(), model, ckpt_path="best") == expected(best)
        assert ask(trainer, method, data(), model, ckpt_path="last") == expected(last)
        assert ask(trainer, method, data(), model, ckpt_path="run/checkpoints/best.ckpt") == expected(best)
        assert all(map(torch.equal, model.state_dict().values(), last.values()))  # it keeps its own
    assert ask(trainer, method, DATA["tensors"](), model, batch_size=31) == expected(last)


def test_a_model_that_is_not_the_fitted_one_has_its_own_weights(trained):
    trainer, _ = trained
    other = Classifier()
    assert ask(trainer, "test", (X, Y), other) == pytest.approx(loss_of(other.state_dict()))


@pytest.mark.parametrize("method", ["test", "validate", "evaluate", "predict"])
def test_without_checkpoints_the_model_must_be_passed(method):
    trainer, model = Trainer(gpus=0, max_epochs=1, logger=False, enable_checkpointing=False), Classifier()
    trainer.fit(model, **loaders())
    with pytest.raises(ValueError, match="no best checkpoint was kept: pass the model"):
        ask(trainer, method, (X, Y))
    assert np.isfinite(ask(trainer, method, (X, Y), model))


def test_the_best_weights_can_be_restored_after_the_fit():
    options = {"gpus": 0, "max_epochs": 3, "logger": False, "figures": False}
    model = GetsWorse()
    Trainer(run_dir="run", restore_best_weights=True, **options).fit(model, **loaders())
    best = torch.load("run/checkpoints/best.ckpt", weights_only=True)
    assert best["epoch"] == 0
    assert all(map(torch.equal, model.state_dict().values(), best["state_dict"].values()))
    with pytest.raises(ValueError, match="restore_best_weights needs checkpoints"):
        Trainer(restore_best_weights=True, enable_checkpointing=False, **options)


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("argument", ["train_dataloaders", "train_data"])
def test_a_fit_takes_the_same_kinds_of_data(kind, argument):
    steps = []

    class Counts(Classifier):
        def training_step(self, batch, batch_idx):
            steps.append(len(batch[0]))
            return super().training_step(batch, batch_idx)

    trainer = Trainer(gpus=0, max_epochs=1, logger=False, enable_checkpointing=False)
    trainer.fit(Counts(), **{argument: DATA[kind]()}, batch_size=9)
    if kind == "data module":
        assert steps == [32, 32, 32, 7]
    else:
        assert steps == [9, 9, 9, 4]
