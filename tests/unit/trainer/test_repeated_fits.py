"""cross_validate and fit_seeds, against scikit-learn and against single fits."""

import statistics

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, Points, points
from sklearn.linear_model import LinearRegression as LeastSquares
from torch import nn
from torch.nn import functional as F

from datamodules.ring import RingDataModule
from lightmodels import LightModel, RingDNN, Trainer, cross_validate, fit_seeds
from lightmodels.trainer.repeated_fits import RepeatedFits

QUIET = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu"}


def linear_model():
    """Linear regression that converges to the least-squares solution in a few epochs of LBFGS."""
    return LightModel.from_net(
        nn.Linear(2, 1), loss=F.mse_loss, optimizer=lambda weights: torch.optim.LBFGS(weights, lr=0.5)
    )


def test_folds_equal_least_squares_on_the_same_rows():
    x = torch.randn(53, 2, generator=torch.Generator().manual_seed(0))
    y = x @ torch.tensor([[2.0], [-3.0]]) + torch.randn(53, 1, generator=torch.Generator().manual_seed(1))
    result = cross_validate(linear_model, (x, y), k=5, batch_size=53, max_epochs=10, accelerator="cpu")
    folds = torch.randperm(53, generator=torch.Generator().manual_seed(0)).tensor_split(5)
    assert sorted(len(fold) for fold in folds) == [10, 10, 11, 11, 11]
    expected = []
    for fold in folds:
        rest = np.setdiff1d(np.arange(53), fold.numpy())
        fitted = LeastSquares().fit(x[rest], y[rest])
        expected.append(float(((fitted.predict(x[fold]) - y[fold].numpy()) ** 2).mean()))
    assert [values["val_loss"] for values in result.values] == pytest.approx(expected, rel=1e-3)
    assert result.mean["val_loss"] == pytest.approx(np.mean(expected), rel=1e-3)
    assert result.std["val_loss"] == pytest.approx(np.std(expected, ddof=1), rel=1e-2)
    assert [len(history) for history in result.histories] == [10] * 5
    assert str(result).startswith("val_loss ")


def test_cross_validation_uses_all_rows_of_a_data_module_except_the_test_set():
    seen = []

    class Records(Classifier):
        def on_fit_end(self):
            loaders = (self.trainer.train_dataloader, self.trainer.val_dataloaders)
            seen.append([loader.num_rows for loader in loaders])

    result = cross_validate(Records, Points(batch_size=50), k=4, max_epochs=1, accelerator="cpu")
    assert seen == [[100, 34], [100, 34], [101, 33], [101, 33]]
    assert set(result.mean) == {"val_loss", "val_acc"}


def test_rows_are_changed_at_random_in_each_fold_as_in_a_training():
    changed = []

    class Changed(RingDataModule):
        augment = True

        def augment_batch(self, inputs):
            changed.append(len(inputs))
            return inputs

    cross_validate(RingDNN, Changed(40, 10), k=4, max_epochs=1, **QUIET)
    assert sum(changed) == 3 * 40  # validation rows are not


def test_weights_of_training_rows_only_cannot_be_cross_validated():
    data = RingDataModule(40, 10)
    train = data.splits.train
    data._splits = data.splits._replace(train=(*train, torch.ones(len(train[0]))))
    with pytest.raises(ValueError, match=r"^data cannot be cross-validated with weights of training rows only"):
        cross_validate(RingDNN, data, k=4, max_epochs=1, **QUIET)


def test_seeds_equal_single_fits():
    result = fit_seeds(Classifier, Points(batch_size=25), [3, 4], max_epochs=2, accelerator="cpu")
    singles = []
    for seed in (3, 4):
        pl.seed_everything(seed, verbose=False)
        data = Points(batch_size=25)
        data.seed = seed
        singles.append(Trainer(max_epochs=2, **QUIET).fit(Classifier(), data)[-1]["val_loss"])
    assert [values["val_loss"] for values in result.values] == singles
    assert singles[0] != singles[1]
    assert result.std["val_loss"] == pytest.approx(statistics.stdev(singles))


def test_arrays_are_split_for_validation():
    result = fit_seeds(
        Classifier, points(103), [0, 1], validation_split=0.3, batch_size=50, max_epochs=1, accelerator="cpu"
    )
    assert set(result.mean) == {"val_loss", "val_acc"}


def test_a_single_fit_has_no_deviation():
    assert str(RepeatedFits([{"val_loss": 0.25}], [])) == "val_loss 0.2500 ± 0.0000"


@pytest.mark.parametrize("k", [1, 6])
def test_each_fold_needs_a_row(k):
    with pytest.raises(ValueError, match="k must be between 2 and the number of rows, 5"):
        cross_validate(Classifier, points(5), k=k)


def test_unsuitable_data_are_refused():
    with pytest.raises(ValueError, match="data must be arrays or a TensorDataModule, got list"):
        cross_validate(Classifier, [points(5)], k=2)
    with pytest.raises(ValueError, match="seeds must hold at least one"):
        fit_seeds(Classifier, points(5), [])


def test_callbacks_carry_no_state_from_fit_to_fit():
    def one(k, **options):
        return cross_validate(Classifier, points(103), k=k, max_epochs=8, accelerator="cpu", **options)

    stops = pl.callbacks.EarlyStopping("val_loss", patience=1, min_delta=0.02)
    together = [len(history) for history in one(3, callbacks=[stops]).histories]
    assert together == [len(history) for history in one(3, callbacks=[stops]).histories]
    assert min(together) > 2  # with the best value of an earlier fold, later ones would stop at once
    assert stops.stopped_epoch == 0


def test_the_seed_of_the_data_module_decides_its_rows():
    alone, data = Points(batch_size=25, seed=5), RingDataModule(seed=5, num_rows=100, test_rows=10)
    expected = RingDataModule(seed=5, num_rows=100, test_rows=10).splits.train[0]
    fit_seeds(RingDNN, data, [7], max_epochs=1, accelerator="cpu")
    assert data.seed == 5
    assert torch.equal(data.splits.train[0], expected)
    results = [
        fit_seeds(Classifier, alone, seeds, max_epochs=1, accelerator="cpu").values[-1] for seeds in ([1, 2], [2])
    ]
    assert results[0] == results[1]
