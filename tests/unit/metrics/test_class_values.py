"""Loss and accuracy of classes, by hand and by scikit-learn."""

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch.nn import functional as F

from lightmodels.metrics.class_values import class_values, probability_of_second


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_loss_and_accuracy_are_those_of_scikit_learn(classes):
    torch.manual_seed(0)
    logits, y = torch.randn(40, classes).double(), torch.randint(max(classes, 2), (40,))
    weights = torch.rand(40)
    p = torch.cat([-logits, logits], 1).sigmoid() if classes == 1 else logits.softmax(1)
    names = list(range(p.shape[1]))
    plain, weighted = class_values(logits, y), class_values(logits, y, [weights])
    assert plain["loss"].item() == pytest.approx(log_loss(y, p, labels=names), rel=1e-5)
    # scikit-learn divides by the sum of the weights, Keras and we by the number of rows.
    expected = log_loss(y, p, labels=names, sample_weight=weights) * weights.sum() / 40
    assert weighted["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    for values in (plain, weighted):
        assert int(values["acc"][0]) / values["acc"][1] == pytest.approx(accuracy_score(y, p.argmax(1)))


def test_integer_labels_give_the_loss_of_floats_and_two_logits_that_of_their_difference():
    torch.manual_seed(0)
    logits, y = torch.randn(9, 1), torch.randint(2, (9,))
    as_floats = class_values(logits, y[:, None].float())
    assert torch.equal(class_values(logits, y)["loss"], as_floats["loss"])
    assert torch.equal(as_floats["loss"], F.binary_cross_entropy_with_logits(logits, y[:, None].float()))
    two = torch.cat([torch.zeros_like(logits) + 3, logits + 3], 1)
    assert class_values(two, y)["loss"].item() == pytest.approx(as_floats["loss"].item(), rel=1e-5)
    torch.testing.assert_close(probability_of_second(two), probability_of_second(logits))
    torch.testing.assert_close(probability_of_second(two)[:, 0], two.softmax(1)[:, 1])


def test_label_smoothing_by_hand():
    logits, y = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([2])
    share = torch.tensor([0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3])
    expected = -(share * logits[0].log_softmax(0)).sum()
    for weights in ([], [torch.tensor([2.0])]):
        loss = class_values(logits, y, weights, label_smoothing=0.1)["loss"]
        assert loss.item() == pytest.approx(expected.item() * (2 if weights else 1))


def test_several_labels_a_row_by_hand():
    """Binary cross-entropy; rows of which all labels are right, and single labels."""
    torch.manual_seed(0)
    logits, y, weights = torch.randn(64, 3), (torch.rand(64, 3) < 0.4).float(), torch.rand(64)
    true, p = y.double(), logits.double().sigmoid()
    losses = -(true * p.log() + (1 - true) * (1 - p).log()).mean(1)
    plain, weighted = class_values(logits, y), class_values(logits, y, [weights])
    assert plain["loss"].item() == pytest.approx(losses.mean().item(), rel=1e-5)
    assert weighted["loss"].item() == pytest.approx((weights * losses).mean().item(), rel=1e-5)
    for values in (plain, weighted):
        assert int(values["acc"][0]) / values["acc"][1] == pytest.approx(accuracy_score(y, p > 0.5))
        correct, count = values["label_acc"]
        assert correct.item() / count == pytest.approx(((p > 0.5) == true).double().mean().item())
