"""Weights of rows in the loss, in an epoch's values, and in what is drawn and predicted."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightmodels import LightModel, Trainer
from lightmodels.data.array_datamodule import ArrayDataModule
from lightmodels.metrics.weighted_loss import weighted_loss


class Weighted(LightModel):
    def __init__(self):
        super().__init__(nn.Linear(2, 3))

    def shared_step(self, batch):
        x, y, *weights = batch
        logits = self(x)
        losses = F.cross_entropy(logits, y, reduction="none")
        return {"loss": weighted_loss(losses, weights), "acc": ((logits.argmax(1) == y).sum(), len(x))}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def rows():
    torch.manual_seed(0)
    return torch.randn(10, 2), torch.randint(3, (10,)), torch.randint(1, 4, (10,)).float()


def test_a_whole_number_as_a_weight_repeats_a_row(rows):
    x, y, weights = rows
    net, repeated = nn.Linear(2, 3), torch.repeat_interleave(torch.arange(10), weights.long())
    weighted_loss(F.cross_entropy(net(x), y, reduction="none"), [weights]).backward()
    got = net.weight.grad.clone()
    net.zero_grad()
    (F.cross_entropy(net(x[repeated]), y[repeated], reduction="sum") / 10).backward()
    torch.testing.assert_close(got, net.weight.grad)


def test_losses_of_several_outputs_are_averaged_within_a_row():
    losses = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    assert weighted_loss(losses, [torch.tensor([2.0, 1.0])]) == (2 * 2 + 6) / 2
    assert weighted_loss(losses) == 4


def test_an_epochs_loss_is_the_weighted_mean_over_all_its_rows(rows):
    """Batches are of 4, 4 and 2 rows."""
    x, y, weights = rows
    model = Weighted()
    trainer = Trainer(max_epochs=1, run_dir="run")
    data = ArrayDataModule(rows, rows, rows, batch_size=4)
    history = trainer.fit(model, datamodule=data)
    with torch.no_grad():
        logits = model(x)
    expected = (weights * F.cross_entropy(logits, y, reduction="none")).sum() / 10
    assert history[-1]["val_loss"] == pytest.approx(float(expected), rel=1e-6)
    assert history[-1]["val_acc"] == pytest.approx(float((logits.argmax(1) == y).float().mean()))
    assert torch.equal(trainer.predict(model, datamodule=data), logits)
    assert set(model.figures(rows, logits)) == {"confusion_matrix"}  # of classes, not of weights
