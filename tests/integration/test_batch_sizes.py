"""Each sample counts once, however a batch is made and however often a step is evaluated."""

from collections import namedtuple

import pytest
import torch
from helpers.models import Classifier, ManyMetrics, points
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader

from lightmodels import LightModel, Trainer
from lightmodels.utils.batch import batch_size

OPTIONS = {"gpus": 0, "logger": False, "enable_checkpointing": False, "figures": False}
Pair = namedtuple("Pair", "x y")
X, Y = points(6)


class Weighted(Classifier):
    """Returns a batch's value and size as they are in the batch."""

    def shared_step(self, batch):
        value, size = batch["value"], batch["size"]
        return {"loss": value + 0 * self.net[0].weight.sum(), "size": size}


@pytest.mark.parametrize("size", [int, float, torch.tensor])
def test_a_size_that_is_returned_decides(size):
    batches = [{"value": torch.tensor(float(v)), "size": size(n), "x": torch.ones(7)} for v, n in ((1, 1), (4, 2))]
    model = Weighted()
    Trainer(max_epochs=1, **OPTIONS).fit(model, DataLoader(batches, batch_size=None, shuffle=False))
    assert model.history[-1]["train_loss"] == pytest.approx(3.0)


def test_a_fractional_size_is_kept():
    batches = [{"value": torch.tensor(float(v)), "size": n} for v, n in ((1.0, 0.5), (4.0, 0.25))]
    model = Weighted()
    Trainer(max_epochs=1, **OPTIONS).fit(model, DataLoader(batches, batch_size=None))
    assert model.history[-1]["train_loss"] == pytest.approx((0.5 + 1.0) / 0.75)


@pytest.mark.parametrize(
    "batch",
    [
        X,
        (X, Y),
        [X, Y],
        Pair(X, Y),
        {"x": X, "y": Y},
        [[X, X], Y],
        (X, {"y": Y, "temperature": torch.tensor(1.0)}, ["a"] * 6, 3, None),
        [{"x": X}, Y],
    ],
)
def test_the_size_is_the_first_dimension_that_all_tensors_share(batch):
    assert batch_size(batch) == 6


@pytest.mark.parametrize(
    "batch",
    [
        (torch.ones(9, 6, 2), Y),  # time first
        {"x": torch.ones(20, 3), "edges": torch.ones(2, 50)},  # a graph
        [(X[0], Y[0]), (X[1], Y[1])],  # samples, not collated
        [{"image": torch.ones(3, 8, 8)}, {"image": torch.ones(3, 8, 8)}],
        ((torch.ones(3, 8, 8),), ({"boxes": torch.ones(3, 4)},)),  # a detector's
        pack_sequence([torch.ones(3), torch.ones(2)]),
        (pack_sequence([torch.ones(3), torch.ones(2)]), torch.ones(2)),
        (object(), Y),
        "text",
    ],
)
def test_a_batch_whose_size_is_not_clear_asks_for_it(batch):
    class Model(Classifier):
        def shared_step(self, batch):
            return {"loss": self.net[0].weight.sum()}

    with pytest.raises(ValueError, match=r"cannot infer the number of samples .*return it as 'size'") as error:
        Model().train_on_batch(batch)
    assert "\n" not in str(error.value)


class LBFGS(ManyMetrics):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=7)


def first_values(model, batches):
    """The values of the first evaluation of each step, by a hand-written loop."""
    optimizer, kept = model.configure_optimizers(), []
    for batch in batches:
        evaluations = []

        def closure(batch=batch, evaluations=evaluations):
            optimizer.zero_grad()
            logits = model.net(batch[0])
            loss = F.cross_entropy(logits, batch[1])
            evaluations.append((loss.detach(), logits.detach()))
            loss.backward()
            return loss

        optimizer.step(closure)
        assert len(evaluations) > 1
        kept.append(evaluations[0])
    return kept


@pytest.mark.parametrize("way", ["fit", "batches"])
def test_an_optimizer_that_evaluates_the_loss_several_times_counts_each_row_once(way):
    data, labels = points(50)
    batches = [(data[:20], labels[:20]), (data[20:40], labels[20:40]), (data[40:], labels[40:])]
    model, other = LBFGS(), LBFGS()
    model.net[2].p = other.net[2].p = 0.0  # no dropout
    other.load_state_dict(model.state_dict())
    values = first_values(other, batches)
    if way == "fit":
        Trainer(max_epochs=1, **OPTIONS).fit(model, DataLoader(batches, batch_size=None))
    else:
        for batch in batches:
            model.train_on_batch(batch)
        model.reset_metrics()
    row = model.history[-1]
    sizes = [len(batch[1]) for batch in batches]
    mean = sum(float(loss) * size for (loss, _), size in zip(values, sizes, strict=True)) / 50
    hits = torch.cat([logits.argmax(1) for _, logits in values])
    positive = (hits == 1) & (labels == 1)
    f1 = 2 * int(positive.sum()) / (int((hits == 1).sum()) + int((labels == 1).sum()))
    assert row["train_loss"] == pytest.approx(mean)
    assert row["train_hits"] == pytest.approx(float((hits == labels).float().mean()))
    assert row["train_f1"] == pytest.approx(f1)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_from_net_trains_by_lbfgs():
    x, y = points(50)
    optimizer = torch.optim.LBFGS
    model = LightModel.from_net(nn.Linear(2, 2), loss=F.cross_entropy, optimizer=optimizer)
    Trainer(max_epochs=5, **OPTIONS).fit(model, train_data=(x, y), batch_size=50)
    assert model.history[-1]["train_loss"] < 0.1 < model.history[0]["train_loss"]
