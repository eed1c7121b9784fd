"""Epoch values against hand computations."""

import math

import pytest
import torch
from torchmetrics.classification import BinaryF1Score

from lightmodels.metrics.epoch_means import EpochMeans, pop_metric_state, set_metric_state


def test_scalars_are_weighted_by_the_batch_size():
    means = EpochMeans()
    means.update({"loss": torch.tensor(2.0), "plain": 1}, size=50)
    means.update({"loss": torch.tensor([5.0], requires_grad=True), "plain": 2.0}, size=3)
    assert means.compute() == {"loss": (2.0 * 50 + 5.0 * 3) / 53, "plain": (50 + 2 * 3) / 53}
    assert means.samples == 53


def test_values_of_other_devices_are_added_there():
    """The device ``meta`` has no values: asking for one, which would wait for a GPU, is an error."""
    means = EpochMeans()
    for loss in (torch.tensor(2.0, device="meta", requires_grad=True), torch.ones(1, dtype=torch.int64, device="meta")):
        means.update({"loss": loss, "pair": (loss, torch.tensor(3, device="meta"))}, size=0.5)
    for total in (*means._sums.values(), means._counts["pair"]):
        assert (total.device.type, total.dtype, total.shape, total.requires_grad) == ("meta", torch.float64, (), False)


def test_pairs_are_weighted_by_their_own_count():
    means = EpochMeans()
    means.update({"per_word": (torch.tensor(30.0), torch.tensor(10)), "none": (0, 0)}, size=2)
    means.update({"per_word": (torch.tensor(5), 1)}, size=2)
    values = means.compute()
    assert values["per_word"] == 35 / 11
    assert math.isnan(values["none"])


def test_sums_are_exact_beyond_float32():
    means = EpochMeans()
    for _ in range(3):
        means.update({"hits": (torch.tensor(2**24 + 1), 2**24 + 1), "loss": torch.tensor(0.1)}, size=2**24)
    loss = torch.tensor(0.1).double().item()
    assert means.compute() == {"hits": 1.0, "loss": pytest.approx(loss, rel=1e-15)}


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


def test_the_values_of_all_processes_are_summed_though_one_has_no_rows():
    metrics, own = [BinaryF1Score() for _ in range(3)], []
    processes = [EpochMeans(lambda metric=metric: [metric]) for metric in metrics]
    for process, metric, size in zip(processes[:2], metrics, (3, 1), strict=False):
        process.update({"loss": torch.tensor(float(size)), "f1": metric}, size)
    for process, metric in zip(processes, metrics, strict=True):
        metric.update(torch.tensor([1]), torch.tensor([1]))
        process.compute(lambda mine: own.append(mine) or [mine])
    for process, metric in zip(processes, metrics, strict=True):
        assert process.compute(lambda _: own) == {"loss": (3 * 3 + 1) / 4, "f1": 1.0}
        process.reset()
        assert not metric.update_called


def test_the_state_of_a_metric_can_be_saved_and_restored():
    metric = BinaryF1Score()
    metric.update(torch.tensor([1, 1]), torch.tensor([1, 0]))
    expected = metric.compute()
    state = pop_metric_state(metric)
    metric.update(torch.tensor([0, 0]), torch.tensor([1, 1]))
    set_metric_state(metric, state)
    assert metric.update_count == 1
    assert metric.compute() == expected


@pytest.mark.parametrize("value", [torch.ones(2), "0.5", (1, 2, 3), ("a", 1), None])
def test_other_types_are_refused(value):
    with pytest.raises(TypeError, match="'acc' must be a scalar tensor"):
        EpochMeans().update({"acc": value}, size=2)
