"""Epoch values against hand computations."""

import pytest
import torch
from torchmetrics.classification import BinaryF1Score

from lightmodels.metrics.epoch_means import EpochMeans, pop_metric_state, set_metric_state


def test_scalars_count_by_their_batch():
    means = EpochMeans()
    means.update({"loss": torch.tensor(2.0)}, size=50)
    means.update({"loss": torch.tensor(5.0)}, size=3)
    assert means.compute() == {"loss": (2.0 * 50 + 5.0 * 3) / 53}
    assert means.samples == 53


def test_pairs_count_by_their_own_count():
    means = EpochMeans()
    means.update({"per_word": (torch.tensor(30.0), torch.tensor(10))}, size=2)
    means.update({"per_word": (torch.tensor(5), 1)}, size=2)
    assert means.compute() == {"per_word": 35 / 11}


def test_sums_stay_exact_where_float32_would_not():
    means = EpochMeans()
    for _ in range(3):
        means.update({"hits": (torch.tensor(2**24 + 1), 2**24 + 1), "loss": torch.tensor(0.1)}, size=2**24)
    assert means.compute() == {
        "hits": 1.0,
        "loss": pytest.approx(torch.tensor(0.1).double().item(), rel=1e-15),
    }


def test_a_metric_object_is_computed_over_the_epoch_and_reset():
    metric = BinaryF1Score()
    means = EpochMeans(lambda: [metric])
    prediction, target = torch.tensor([1, 1, 0, 1, 0]), torch.tensor([1, 0, 0, 1, 1])
    for rows in (slice(0, 3), slice(3, 5)):
        metric.update(prediction[rows], target[rows])
        means.update({"f1": metric}, size=2)
    assert means.compute()["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))  # 2 hits, 1 false alarm, 1 miss
    means.reset()
    assert not metric.update_called
    assert means.compute() == {}


def test_a_metric_can_be_lent_to_another_stage():
    metric = BinaryF1Score()
    metric.update(torch.tensor([1, 1]), torch.tensor([1, 0]))
    expected = metric.compute()
    state = pop_metric_state(metric)
    metric.update(torch.tensor([0, 0]), torch.tensor([1, 1]))
    set_metric_state(metric, state)
    assert metric.update_count == 1
    assert metric.compute() == expected


def test_an_empty_count_is_not_a_number():
    means = EpochMeans()
    means.update({"loss": (torch.tensor(0.0), 0)}, size=0)
    assert means.compute()["loss"] != means.compute()["loss"]


@pytest.mark.parametrize("value", [torch.ones(2), "0.5", (1, 2, 3), None])
def test_other_kinds_of_value_are_named(value):
    with pytest.raises(TypeError, match="'acc' must be a scalar tensor"):
        EpochMeans().update({"acc": value}, size=2)


def test_gradients_are_not_kept():
    weight = torch.ones((), requires_grad=True)
    means = EpochMeans()
    means.update({"loss": weight * 2}, size=1)
    assert not any(total.requires_grad for total in means._sums.values())
