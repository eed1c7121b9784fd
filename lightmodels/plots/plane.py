"""Figures of points in the plane: the classes of a binary classifier, or values."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightmodels.plots.classification import accuracy_title
from lightmodels.plots.style import COLOURS, new_figure, shorten, subsample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "^")  # tell the classes apart without colours too
STEPS = 100  # of the grid along either side


def classes_side_by_side(
    x: Tensor, true: Tensor, predicted: Tensor, names: Sequence[str], features: Sequence[str] = ("x1", "x2")
) -> "Figure":
    """The same points twice: in the colours of their true classes and of the predicted ones.

    The points ``x`` have shape ``(N, 2)``, the classes 0 and 1 shape ``(N,)``; ``names`` are those of the two
    classes, ``features`` those of the two inputs.
    """
    x, true, predicted = x.float().cpu(), true.cpu(), predicted.cpu()
    title = accuracy_title(true, predicted, "points")
    figure, panels = new_figure(title, (8.0, 4.8), 2, 2, sharex=True, sharey=True)
    for axes, classes, label in zip(panels, (true, predicted), ("true class", "predicted class"), strict=True):
        _scatter_classes(axes, x, classes, names, COLOURS, alpha=0.7, linewidths=0)
        axes.set(title=label, xlabel=shorten(features[0]), aspect=_aspect(x))
    wrong = x[true != predicted]
    circles: dict[str, Any] = {"s": 40, "facecolors": "none", "edgecolors": "black", "linewidths": 0.8}
    axes.scatter(*wrong.T, label=f"{len(wrong):,} misclassified", **circles)
    panels[0].set(ylabel=shorten(features[1]))
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _scatter_classes(
    axes: "Axes", x: Tensor, classes: Tensor, names: Sequence[str], colours: Sequence[str], **style: Any
) -> None:
    for index, (colour, marker) in enumerate(zip(colours, MARKERS, strict=True)):
        points, label = x[classes == index], shorten(names[index])
        axes.scatter(points[:, 0], points[:, 1], s=14, c=colour, marker=marker, label=label, **style)


def _aspect(x: Tensor) -> str:
    """Equal scales, unless one of the two would then be a narrow strip."""
    sides = (x.max(0).values - x.min(0).values).tolist()
    return "equal" if max(sides) < 2 * min(sides) else "auto"


def decision_boundary(
    predict: Callable[[Tensor], Tensor],
    x: Tensor,
    true: Tensor,
    names: Sequence[str],
    features: Sequence[str] = ("x1", "x2"),
    radius: float | None = None,
) -> "Figure":
    """The probability of class 1 over the plane, the line where it is one half, and the points.

    ``predict`` gives that probability for points of shape ``(M, 2)``. The points ``x`` have shape ``(N, 2)``, their
    classes 0 and 1 ``(N,)``. If the optimal boundary is a circle around the origin, ``radius`` is its radius.
    """
    from matplotlib.patheffects import withStroke

    low, high = x.min(0).values, x.max(0).values
    margin = torch.where(high > low, 0.05 * (high - low), 0.5)
    ends = torch.stack([low - margin, high + margin], 1).tolist()
    sides = [torch.linspace(first, last, STEPS) for first, last in ends]
    grid = torch.cartesian_prod(*sides)
    probability = predict(grid.to(x)).detach().float().cpu().reshape(STEPS, STEPS).T
    has_boundary = bool(probability.min() < 0.5 < probability.max())
    figure, (axes,) = new_figure("Decision boundary" if has_boundary else "One class everywhere", (7.0, 6.2))
    filled = axes.contourf(*sides, probability, [i / 10 for i in range(11)], cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(filled, ax=axes, label=f"probability of {shorten(names[1])}")
    if has_boundary:
        line = axes.contour(*sides, probability, levels=[0.5], colors="black", linewidths=1.5)
        line.set_path_effects([withStroke(linewidth=3, foreground="white")])
        axes.plot([], [], color="black", label="learned")
    if radius is not None:
        circle = radius * torch.polar(torch.ones(200), torch.linspace(0, 2 * math.pi, 200))
        axes.plot(circle.real, circle.imag, color="black", linestyle="--", label=f"optimal (r = {radius:g})")
    x, true = x.float().cpu(), true.cpu()
    _scatter_classes(axes, x, true, names, ("white", "black"), edgecolors="#777777", linewidths=0.5)
    axes.set(xlabel=shorten(features[0]), ylabel=shorten(features[1]), aspect=_aspect(grid))
    axes.figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def values_in_plane(x: Tensor, values: Tensor, features: Sequence[str], label: str) -> "Figure":
    """Points in the colour of a value around zero, such as errors on a map.

    The points ``x`` have shape ``(N, 2)``, ``values`` ``(N,)``; ``features`` are the names of the two inputs. The
    colours end at the 98th percentile of the absolute values.
    """
    x, values = subsample(x), subsample(values)
    limit = max(float(values.abs().quantile(0.98)), 1e-12)
    figure, (axes,) = new_figure(f"Mean {float(values.mean()):.3g} ({len(x):,} points)", (7.0, 5.8))
    points = axes.scatter(x[:, 0], x[:, 1], c=values, s=10, cmap="RdBu_r", vmin=-limit, vmax=limit, linewidths=0)
    figure.colorbar(points, ax=axes, label=shorten(label, 40), extend="both")
    axes.set(xlabel=shorten(features[0]), ylabel=shorten(features[1]), aspect=_aspect(x))
    return figure
