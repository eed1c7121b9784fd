"""Bad labels, indices and losses of a model end in one clear line, in every stage in which they can occur."""

import pytest
import torch
from helpers.models import Classifier, points
from torch import nn
from torch.nn import functional as F

from lightmodels import LightModel, Trainer
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.utils.step_errors import explain_errors, require_gradient


def trainer():
    return Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)


WORDS, LABELS = torch.zeros(6, 2, dtype=torch.long), torch.zeros(6, dtype=torch.long)
LABEL_7 = r"LightModel.shared_step: Target 7 is out of bounds \(labels must be 0..C-1, .*\)"
WORD_5 = r"index out of range in self \(embedding indices must be 0..num_embeddings-1\)"


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_labels_and_indices_out_of_range(stage):
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))  # five words, three classes
    model = LightModel.from_net(net, loss=F.cross_entropy)
    function = "forward" if stage == "predict" else "shared_step"
    with pytest.raises(ValueError, match=f"^LightModel.{function}: {WORD_5}$"):
        getattr(trainer(), stage)(model, TensorLoader(WORDS + 5, LABELS, batch_size=6))
    if stage != "predict":  # which looks at no label
        with pytest.raises(ValueError, match=f"^{LABEL_7}$"):
            getattr(trainer(), stage)(model, TensorLoader(WORDS, LABELS + 7, batch_size=6))


def test_other_index_errors_are_not_changed():
    with pytest.raises(IndexError, match="list index out of range"):
        explain_errors(lambda: [][0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (torch.Tensor.detach, "'loss' of LightModel.shared_step has no gradient: compute it from the net"),
        (torch.Tensor.item, "'loss' of LightModel.shared_step must be a tensor, got float"),
        (None, "LightModel has nothing to train: none of its parameters requires a gradient"),
    ],
)
def test_a_loss_that_trains_nothing(change, message):
    loss = (lambda outputs, y: change(F.cross_entropy(outputs, y))) if change else F.cross_entropy
    model = LightModel.from_net(nn.Linear(2, 2).requires_grad_(change is not None), loss=loss)
    loader = TensorLoader(*points(10), batch_size=5)
    assert "val_loss" in trainer().validate(model, loader, verbose=False)[0]
    with pytest.raises(ValueError, match=message):
        trainer().fit(model, loader)


def test_manual_optimization_may_return_any_loss():
    model = Classifier()
    with pytest.raises(ValueError, match="has no gradient"):
        require_gradient(torch.ones(()), model)
    model.automatic_optimization = False
    require_gradient(torch.ones(()), model)
