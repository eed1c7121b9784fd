"""The report on a model's predictions, against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from lightmodels.metrics.report import evaluation_report

NAMES = ["low", "middle", "high"]


@pytest.fixture(params=[3, 2, 1], ids=["three classes", "two classes", "one logit"])
def classified(request):
    """Targets, logits, and predicted classes of an uneven problem."""
    generator = torch.Generator().manual_seed(0)
    y = torch.multinomial(torch.tensor([0.7, 0.3, 0.1])[: max(2, request.param)], 200, True, generator=generator)
    logits = (torch.randn(200, request.param, generator=generator) * 2).round() / 2  # with ties
    if request.param == 1:
        return y.float()[:, None], logits + y[:, None], (logits + y[:, None] > 0).long()[:, 0]
    logits = logits + 2 * torch.nn.functional.one_hot(y, request.param)
    return y, logits, logits.argmax(1)


def test_classes_have_the_figures_of_scikit_learn(classified):
    y, logits, predicted = classified
    names = NAMES[: max(2, logits.shape[1])]
    values = evaluation_report(y, logits, names).values
    true = y.flatten().long().numpy()
    expected = metrics.classification_report(true, predicted, target_names=names, output_dict=True)
    for name in names:
        row = expected[name]
        assert values["classes"][name] == pytest.approx(
            {"precision": row["precision"], "recall": row["recall"], "f1": row["f1-score"], "rows": row["support"]}
        )
    assert values["accuracy"] == pytest.approx(expected["accuracy"])
    assert values["macro_f1"] == pytest.approx(expected["macro avg"]["f1-score"])
    assert values["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(true, predicted))
    assert values["confusion_matrix"] == metrics.confusion_matrix(true, predicted).tolist()
    if len(names) == 2:
        score = logits.softmax(1)[:, 1] if logits.shape[1] == 2 else logits[:, 0].sigmoid()
        assert values["auroc"] == pytest.approx(metrics.roc_auc_score(true, score))
    else:
        assert "auroc" not in values


def test_classes_that_never_occur_or_are_never_predicted():
    y, logits = torch.tensor([0, 0, 1, -100]), torch.tensor([[2.0, 0, 1, 0]] * 4)
    values = evaluation_report(y, logits).values
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["balanced_accuracy"] == pytest.approx(0.5)  # classes 0 and 1
    assert values["macro_f1"] == pytest.approx(metrics.f1_score([0, 0, 1], [0, 0, 0], average="macro"))
    assert values["classes"]["3"] == {"precision": 0, "recall": 0, "f1": 0, "rows": 0}


def test_several_labels_a_row_have_the_figures_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    y, logits = (torch.rand(50, 3, generator=generator) < 0.4).float(), torch.randn(50, 3, generator=generator)
    values, predicted = evaluation_report(y, logits, NAMES).values, (logits > 0).numpy()
    expected = metrics.classification_report(
        y.numpy(), predicted, target_names=NAMES, output_dict=True, zero_division=0
    )
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(y.numpy(), predicted))
    assert values["macro_f1"] == pytest.approx(expected["macro avg"]["f1-score"])
    assert values["classes"]["high"]["recall"] == pytest.approx(expected["high"]["recall"])


@pytest.mark.parametrize("columns", [1, 2])
def test_a_regression_has_the_figures_of_scikit_learn(columns):
    generator = torch.Generator().manual_seed(0)
    y = 50 + 9 * torch.randn(40, columns, generator=generator)
    outputs = y + torch.randn(40, columns, generator=generator) + 1
    values = evaluation_report(y, outputs).values
    assert values["mse"] == pytest.approx(metrics.mean_squared_error(y, outputs), rel=1e-5)
    assert values["rmse"] == pytest.approx(values["mse"] ** 0.5)
    assert values["mae"] == pytest.approx(metrics.mean_absolute_error(y, outputs), rel=1e-5)
    assert values["r2"] == pytest.approx(metrics.r2_score(y, outputs), rel=1e-5)
    residuals = (outputs - y).double().numpy()
    assert (values["residual_mean"], values["residual_std"]) == pytest.approx((residuals.mean(), np.std(residuals)))
    assert evaluation_report(y[:, 0], outputs[:, 0]).values["mae"] > 0  # of shape (N,) too


def test_a_target_of_zeros_and_ones_can_be_a_number():
    y, outputs = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [1.0]])
    assert evaluation_report(y, outputs, is_regression=True).values["mae"] == 0.25
    assert "accuracy" in evaluation_report(y, outputs).values


def test_a_constant_target_has_no_r2():
    assert "r2" not in evaluation_report(torch.full((3, 1), 5.0), torch.ones(3, 1)).values


@pytest.mark.parametrize(
    ("y", "outputs"),
    [
        (torch.zeros(0, dtype=torch.long), torch.zeros(0, 3)),
        (torch.zeros(4, 2, dtype=torch.long), torch.zeros(4, 5, 2)),
        (torch.rand(4, 3), torch.zeros(4, 5)),
        (torch.tensor([-1, -1]), torch.zeros(2, 3)),
    ],
    ids=["no rows", "pixels", "shapes", "no class"],
)
def test_shapes_that_tell_nothing_have_no_report(y, outputs):
    assert evaluation_report(y, outputs) is None


def test_the_console_shows_the_most_common_classes_in_columns():
    y = torch.arange(12).repeat_interleave(torch.arange(1, 13))
    logits = 5.0 * torch.nn.functional.one_hot(y, 12)
    lines = evaluation_report(y, logits, [f"class {i}" for i in range(12)]).lines()
    assert lines[0] == "accuracy 1  balanced_accuracy 1  macro_f1 1"
    assert lines[1] == "class     precision     recall         f1       rows"
    assert lines[2] == "class 2       1.000      1.000      1.000          3"
    assert lines[-1] == "and 2 rarer classes, see metrics.json"
    assert len(lines) == 13
    markdown = evaluation_report(y, logits, ["a|b"] * 12).markdown()
    assert "| accuracy | 1 |" in markdown
    assert "| a/b | 1.000 | 1.000 | 1.000 | 12 |" in markdown
