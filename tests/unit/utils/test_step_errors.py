"""Bad input of a model ends in one clear line, in every stage in which it can come up."""

import pytest
import torch
from helpers.models import Classifier, points
from torch import nn
from torch.nn import functional as F

from lightmodels import LightModel, Trainer
from lightmodels.bad_input import explained, require_gradient
from lightmodels.data.tensor_loader import TensorLoader


def trainer():
    return Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)


class Words(LightModel):
    """Five words, three classes."""

    def __init__(self):
        super().__init__(nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3)))

    def shared_step(self, batch):
        return {"loss": F.cross_entropy(self(batch[0]), batch[1])}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


X, Y = torch.randint(5, (6, 2)), torch.randint(3, (6,))


def changed(tensor, place, value):
    tensor = tensor.clone()
    tensor[place] = value
    return tensor


LABELS = "labels must be 0..2"
WORDS = "embedding indices must be 0..4"


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, changed(Y, 4, 7), f"Words.shared_step: label 7 in row 4 of the batch is out of range: {LABELS}"),
        (
            X,
            changed(Y, 0, -1),
            f"Words.shared_step: label -1 in row 0 of the batch is out of range: {LABELS}",
        ),
        (changed(X, (3, 1), 5), Y, f"embedding index 5 in row 3 of the batch is out of range: {WORDS}"),
        (changed(X, (5, 0), -2), Y, f"embedding index -2 in row 5 of the batch is out of range: {WORDS}"),
    ],
)
def test_values_out_of_range(stage, x, y, message):
    if stage == "predict":
        if "label" in message:
            return  # no label is looked at
        message = f"Words.forward: {message}"
    with pytest.raises(ValueError, match=message) as caught:
        getattr(trainer(), stage)(Words(), TensorLoader(x, y, batch_size=6))
    assert len(str(caught.value).splitlines()) == 1


def test_ignored_labels_and_a_single_row_are_looked_at_rightly():
    with pytest.raises(ValueError, match="label 9 in row 2 of the batch"):
        explained(F.cross_entropy, torch.randn(3, 4), torch.tensor([-100, 0, 9]))
    with pytest.raises(ValueError, match="label 9 is out of range: labels must be"):
        explained(F.cross_entropy, torch.randn(4), torch.tensor(9))


def test_other_index_errors_stay_as_they_are():
    with pytest.raises(IndexError, match="list index out of range"):
        explained(lambda: [][0])


class WithoutGradient(Classifier):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def shared_step(self, batch):
        values = super().shared_step(batch)
        return {**values, "loss": self.change(values["loss"])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            torch.Tensor.detach,
            "'loss' of WithoutGradient.shared_step has no gradient: compute it from the net",
        ),
        (torch.Tensor.item, "'loss' of WithoutGradient.shared_step must be a tensor, got float"),
    ],
)
def test_a_loss_that_trains_nothing(change, message):
    model, loader = WithoutGradient(change), TensorLoader(*points(10), batch_size=5)
    assert "val_loss" in trainer().validate(model, loader, verbose=False)[0]
    with pytest.raises(ValueError, match=message):
        trainer().fit(model, loader)


def test_a_model_that_is_frozen_as_a_whole():
    model = Classifier().requires_grad_(False)
    with pytest.raises(ValueError, match="Classifier has nothing to train: none of its parameters requires"):
        trainer().fit(model, TensorLoader(*points(10), batch_size=5))


def test_who_optimizes_by_hand_may_return_any_loss():
    model = Classifier()
    with pytest.raises(ValueError, match="has no gradient"):
        require_gradient(torch.ones(()), model)
    model.automatic_optimization = False
    require_gradient(torch.ones(()), model)
