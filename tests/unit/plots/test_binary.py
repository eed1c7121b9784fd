"""Figures of binary classifiers: their curves and numbers against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.calibration import calibration_curve

from lightmodels.plots import binary

GENERATOR = torch.Generator().manual_seed(0)
TRUE = (torch.rand(700, generator=GENERATOR) < 0.3).long()
PROBABILITY = (0.6 * TRUE + torch.randn(700, generator=GENERATOR)).sigmoid()
TIED = (PROBABILITY * 20).round() / 20


@pytest.mark.parametrize("probability", [PROBABILITY, TIED], ids=["distinct", "tied"])
def test_curves_and_areas_are_scikit_learns(probability):
    true_rate, false_rate, precision = binary.curves(TRUE, probability)
    fpr, tpr, _ = metrics.roc_curve(TRUE, probability, drop_intermediate=False)
    assert np.allclose(true_rate, tpr)
    assert np.allclose(false_rate, fpr)
    wanted, recall, _ = metrics.precision_recall_curve(TRUE, probability)
    assert np.allclose(precision.flip(0)[-len(wanted) :], wanted)
    assert np.allclose(true_rate.flip(0)[-len(recall) :], recall)
    left, right = binary.roc_and_precision_recall(TRUE, probability).subfigs[0].axes
    assert left.get_title() == f"ROC, area {metrics.roc_auc_score(TRUE, probability):.4f}"
    assert right.get_title() == f"average precision {metrics.average_precision_score(TRUE, probability):.4f}"


def test_calibration_is_scikit_learns():
    axes = binary.calibration(TRUE, PROBABILITY).subfigs[0].axes[0]
    share, mean = calibration_curve(TRUE, PROBABILITY, n_bins=10)
    found = axes.lines[1].get_xydata()
    assert np.allclose(found, np.stack([mean, share], 1), atol=1e-6)


def test_a_perfect_classifier_has_no_calibration_error():
    figure = binary.calibration(TRUE, TRUE.float())
    assert figure.get_suptitle() == "Calibration error 0.000 (700 rows)"


def test_scores_count_the_rows_of_each_class():
    figure = binary.scores_by_class(TRUE, PROBABILITY, ["no", "yes"])
    counts = [sum(patch.get_height() for patch in each) for each in figure.subfigs[0].axes[0].containers]
    assert counts == [int((TRUE == 0).sum()), int(TRUE.sum())]
