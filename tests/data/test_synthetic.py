"""The synthetic data sets: their distributions, splits and seeds."""

import pytest
import torch

from datamodules import LinearDataModule, RingDataModule, TensorDataModule
from lightmodels.utils.data_error import DataError


def test_the_distribution_of_linear_rows():
    data = LinearDataModule(num_rows=100_000, test_rows=10)
    x, y = (torch.cat(parts) for parts in zip(data.splits.train, data.splits.val, strict=True))
    assert (x.shape, y.shape) == ((100_000, 2), (100_000, 1))
    assert x.min() >= -5
    assert x.max() <= 5
    residual = y - (2 * x[:, :1] - 3 * x[:, 1:] + 10)
    assert residual.mean().item() == pytest.approx(0, abs=0.03)
    assert residual.std().item() == pytest.approx(2, rel=0.01)
    assert x.var(dim=0).tolist() == pytest.approx([100 / 12] * 2, rel=0.02)


def test_the_distribution_of_ring_points():
    data = RingDataModule(test_rows=100_000)
    x, y = data.splits.test
    assert y.mean().item() == 0.5
    assert data.info["classes"] == ["outer ring", "inner ring"]  # by label
    radius, angle = x.norm(dim=1), torch.atan2(x[:, 1], x[:, 0])
    for label, mean in ((1, 5), (0, 8)):
        of_class = radius[y[:, 0] == label]
        assert of_class.mean().item() == pytest.approx(mean, abs=0.02)
        assert of_class.std().item() == pytest.approx(1, rel=0.02)
    assert angle.mean().item() == pytest.approx(0, abs=0.03)
    bayes = ((radius < 6.5) == (y[:, 0] == 1)).float().mean().item()
    assert bayes == pytest.approx(0.9332, abs=0.003)  # Φ(1.5)


@pytest.mark.parametrize(
    ("data_class", "counts"),
    [(LinearDataModule, (280, 120, 10_000)), (RingDataModule, (2_800, 1_200, 20_000))],
)
def test_splits_follow_the_seed(data_class, counts):
    splits = data_class(seed=3).splits
    assert tuple(len(part[0]) for part in splits) == counts
    again, other = data_class(seed=3).splits, data_class(seed=4).splits
    assert torch.equal(splits.train[0], again.train[0])
    assert not torch.equal(splits.train[0], other.train[0])


def test_only_training_rows_are_shuffled():
    data = RingDataModule()
    assert torch.equal(torch.cat([x for x, _ in data.val_dataloader()]), data.splits.val[0])
    assert not torch.equal(next(iter(data.train_dataloader()))[0], data.splits.train[0][:100])
    assert torch.equal(next(iter(data.predict_dataloader()))[0], data.splits.test[0][:100])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "^batch_size must be at least 1, got 0"),
        ({"seed": -1}, "^seed must be at least 0, got -1"),
        ({"num_rows": 0}, "^num_rows must be at least 1"),
        ({"test_rows": 0}, "^test_rows must be at least 1"),
        *(({"val_fraction": value}, "^val_fraction must") for value in (0, 1, -0.1, 1.5, float("nan"), 0.0001)),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        RingDataModule(**options).setup()


@pytest.mark.parametrize("counts", [(0, 3, 3), (3, 0, 3), (3, 3, 0)])
def test_an_empty_split_is_named_with_counts(counts):
    class Empty(TensorDataModule):
        def load(self):
            return tuple((torch.ones(count, 2),) for count in counts)

    with pytest.raises(DataError, match="Empty has an empty split: {} train, {} val, {} test rows".format(*counts)):
        Empty().setup()


def test_a_data_module_must_define_load():
    with pytest.raises(NotImplementedError, match=r"TensorDataModule must define load\(\)"):
        TensorDataModule().setup()
