"""Figures of a binary classifier's probabilities: ROC, precision and recall, calibration, scores by class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightmodels.plots.style import COLOURS, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 10  # of the calibration
DIAGONAL: dict[str, Any] = {"color": "#777777", "linestyle": "--"}


def roc_and_precision_recall(true: Tensor, probability: Tensor) -> "Figure":
    """The ROC curve with its area, and precision over recall with the average precision.

    Classes 0 and 1 have shape ``(N,)``, the probabilities of class 1 too. Both classes must occur.
    """
    true_rate, false_rate, precision = curves(true, probability)
    area = float(torch.trapezoid(true_rate, false_rate))
    average = float((true_rate.diff() * precision[1:]).sum())
    share = float(true.float().mean())
    figure, (left, right) = new_figure(f"{len(true):,} rows", (8.0, 4.4), 2, 2)
    left.plot(false_rate, true_rate, color=COLOURS[0])
    left.plot([0, 1], [0, 1], **DIAGONAL)
    left.set(title=f"ROC, area {area:.4f}", xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    right.step(true_rate[1:], precision[1:], where="pre", color=COLOURS[0])
    right.axhline(share, **DIAGONAL)
    right.set(title=f"average precision {average:.4f}", xlabel="recall", ylabel="precision", ylim=(-0.02, 1.02))
    return figure


def curves(true: Tensor, probability: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """True positive rate (recall), false positive rate and precision at each threshold, from the highest down.

    The first of each belongs to a threshold that no row reaches; rows of equal probability share one.
    """
    probability, order = probability.double().cpu().sort(descending=True)
    positive = true.cpu()[order].double()
    last = torch.cat([probability.diff() != 0, torch.tensor([True])])  # of the rows that share a threshold
    zero, one = torch.zeros(1, dtype=torch.double), torch.ones(1, dtype=torch.double)
    hits = torch.cat([zero, positive.cumsum(0)[last]])
    false_alarms = torch.cat([zero, (1 - positive).cumsum(0)[last]])
    precision = torch.cat([one, hits[1:] / (hits[1:] + false_alarms[1:])])
    return hits / hits[-1], false_alarms / false_alarms[-1], precision


def calibration(true: Tensor, probability: Tensor) -> "Figure":
    """How often class 1 occurs among rows of about the same predicted probability, in ten bins, and their rows.

    Classes 0 and 1 have shape ``(N,)``, the probabilities of class 1 too.
    """
    true, probability = true.float().cpu(), probability.float().cpu()
    index = (probability * BINS).long().clamp(0, BINS - 1)
    rows = torch.bincount(index, minlength=BINS)
    mean, share = (torch.bincount(index, values, BINS) / rows for values in (probability, true))
    error = float((rows * (mean - share).abs()).nansum() / len(true))
    figure, (top, bottom) = new_figure(
        f"Calibration error {error:.3f} ({len(true):,} rows)", (5.4, 6.0), 2, 1, sharex=True, height_ratios=(3, 1)
    )
    top.plot([0, 1], [0, 1], **DIAGONAL)
    top.plot(mean[rows > 0], share[rows > 0], color=COLOURS[0], marker="o")
    top.set(ylabel="share of class 1", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    bottom.bar((torch.arange(BINS) + 0.5) / BINS, rows, width=0.9 / BINS, color=COLOURS[0])
    bottom.set(xlabel="predicted probability of class 1", ylabel="rows")
    return figure


def scores_by_class(true: Tensor, probability: Tensor, names: Sequence[str]) -> "Figure":
    """Histograms of the probability of class 1 of the rows of either class, whose names are given."""
    true, probability = true.cpu(), probability.float().cpu()
    figure, (axes,) = new_figure("Predicted probabilities by class", (6.6, 4.4))
    for index, (name, colour) in enumerate(zip(names, COLOURS[::-1], strict=True)):
        values = probability[true == index]
        label = f"{shorten(name)} ({len(values):,})"
        axes.hist(values, bins=25, range=(0, 1), color=colour, alpha=0.6, label=label)
    axes.set(xlabel=f"probability of {shorten(names[1])}", ylabel="rows")
    axes.figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
