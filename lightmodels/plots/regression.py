"""Figures of a regression's predictions and weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightmodels.plots.style import COLOURS, new_figure, shorten, subsample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PANELS = 6
MAX_WEIGHTS = 18


def predicted_against_true(true: Tensor, predicted: Tensor, target: str = "target") -> "Figure":
    """Points that lie on the diagonal where the prediction is exact.

    Targets and predictions have the same shape, which may be any; ``target`` is the target's name.
    """
    error = float((predicted - true).float().square().mean().sqrt())
    title = f"Root mean squared error {error:.3g} ({true.numel():,} values)"
    figure, (axes,) = new_figure(title, (5.6, 5.4))
    true, predicted = subsample(true.flatten()), subsample(predicted.flatten())
    ends = [float(torch.minimum(true, predicted).min()), float(torch.maximum(true, predicted).max())]
    axes.scatter(true, predicted, s=12, alpha=0.5, color=COLOURS[0], linewidths=0)
    axes.plot(ends, ends, color=COLOURS[1], linestyle="--", label="predicted = true")
    axes.set(xlabel=f"true {shorten(target)}", ylabel=f"predicted {shorten(target)}", aspect="equal")
    axes.legend()
    return figure


def residuals(true: Tensor, predicted: Tensor, target: str = "target") -> "Figure":
    """The residuals over the predictions, and their histogram.

    Targets and predictions have the same shape, which may be any; ``target`` is the target's name.
    """
    error = (true - predicted).float()
    title = f"Residuals: mean {float(error.mean()):.3g}, standard deviation {float(error.std(correction=0)):.3g}"
    figure, (left, right) = new_figure(title, (7.2, 4.2), 2, 2, sharey=True, width_ratios=(2, 1))
    predicted, error = subsample(predicted.flatten()), subsample(error.flatten())
    left.scatter(predicted, error, s=12, alpha=0.5, color=COLOURS[0], linewidths=0)
    left.set(xlabel=f"predicted {shorten(target)}", ylabel="true - predicted")
    right.hist(error, bins=25, orientation="horizontal", color=COLOURS[0])
    right.set(xlabel="rows")
    for axes in (left, right):
        axes.axhline(0, color=COLOURS[1], linestyle="--")
    return figure


def fitted_lines(x: Tensor, y: Tensor, weights: Tensor, bias: float, features: Sequence[str], target: str) -> "Figure":
    """The line of each of up to six features, and the rows as if all other features were at their mean.

    Inputs ``x`` have shape ``(N, features)``, targets ``y`` ``(N,)``, and ``weights`` ``(features,)``; ``bias`` is the
    prediction for inputs of zero. ``features`` and ``target`` are names.
    """
    x, y, weights = x.float().cpu(), y.float().cpu(), weights.float().cpu()
    panels = min(len(features), MAX_PANELS)
    columns = min(panels, 3)
    size = max(2.7 * columns, 6.0), 0.6 + 3.2 * -(-panels // columns)
    figure, grid = new_figure("Fitted lines, other features at their mean", size, panels, columns)
    parts = (x - x.mean(0)) * weights
    at_mean = bias + float(x.mean(0) @ weights)
    for index, axes in enumerate(grid):
        others, ends = parts.sum(1) - parts[:, index], x[:, index].argsort()[[0, -1]]
        axes.scatter(x[:, index], y - others, s=12, alpha=0.5, color=COLOURS[0], linewidths=0)
        label = f"slope {float(weights[index]):.3g}"
        axes.plot(x[ends, index], at_mean + parts[ends, index], color=COLOURS[1], linewidth=2, label=label)
        axes.set(xlabel=shorten(features[index]), ylabel=shorten(target) if index % columns == 0 else "")
        axes.legend()
    return figure


def weight_comparison(learned: Tensor, reference: Tensor, names: Sequence[str], label: str) -> "Figure":
    """Bars of up to 18 learned weights beside those of a reference, both of shape ``(weights,)``, with their values.

    ``names`` are those of the weights; ``label`` says what the reference is.
    """
    shown = min(len(names), MAX_WEIGHTS)
    figure, (axes,) = new_figure("Learned weights", (6.4, 1.6 + 0.4 * shown))
    for shift, values, text in ((-0.2, learned, "learned"), (0.2, reference, label)):
        style: dict[str, Any] = {"height": 0.38, "color": COLOURS[shift > 0], "label": text}
        bars = axes.barh(torch.arange(shown) + shift, values[:shown].tolist(), **style)
        axes.bar_label(bars, fmt="%.3g", padding=2, fontsize=8)
    axes.margins(x=0.2)
    axes.set_yticks(range(shown), [shorten(name) for name in names[:shown]])
    axes.invert_yaxis()
    axes.set(xlabel="weight")
    axes.figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
