"""Figures of models with few inputs: points of the plane and their classes, and fitted lines."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightmodels import layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00")
MARKERS = ("o", "^")  # classes can be told apart without colours too
MOST_PANELS = 6


def classes_side_by_side(
    x: Tensor, true: Tensor, predicted: Tensor, names: Sequence[str], features: Sequence[str] = ("x1", "x2")
) -> "Figure":
    """The same points twice: in their true class's colour, and in that of the predicted one.

    Args:
        x: points of the plane, shape ``(N, 2)``.
        true: classes 0 and 1, shape ``(N,)``.
        predicted: classes 0 and 1, shape ``(N,)``.
        names: of the two classes.
        features: names of the two inputs.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 4.6))
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    x, true, predicted = x.float().cpu(), true.cpu(), predicted.cpu()
    for axes, classes, title in zip(panels, (true, predicted), ("true", "predicted"), strict=True):
        _scatter(axes, x, classes, names, COLOURS, alpha=0.7, linewidths=0)
        axes.set(title=title, xlabel=features[0], aspect="equal")
    wrong = x[true != predicted]
    style: dict[str, Any] = {"facecolors": "none", "edgecolors": "black", "linewidths": 0.8}
    panels[1].scatter(wrong[:, 0], wrong[:, 1], s=40, label="wrong", **style)
    panels[0].set(ylabel=features[1])
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    figure.suptitle(f"{len(wrong):,} of {len(x):,} points are in the wrong class")
    layout.fit(figure, legend=True)
    return figure


def _scatter(
    axes: "Axes", x: Tensor, classes: Tensor, names: Sequence[str], colours: Sequence[str], **style: Any
) -> None:
    for index, (colour, marker) in enumerate(zip(colours, MARKERS, strict=True)):
        points = x[classes == index]
        axes.scatter(points[:, 0], points[:, 1], s=14, c=colour, marker=marker, label=names[index], **style)


def grid_over(x: Tensor, steps: int = 100) -> Tensor:
    """Evenly spaced points of the rectangle that holds all of ``x``: shape ``(steps * steps, 2)``."""
    low, high = x.min(0).values, x.max(0).values
    margin = torch.where(high > low, 0.05 * (high - low), 0.5)
    sides = [
        torch.linspace(float(a), float(b), steps, device=x.device)
        for a, b in zip(low - margin, high + margin, strict=True)
    ]
    return torch.cartesian_prod(*sides).to(x.dtype)


def decision_boundary(
    grid: Tensor,
    probability: Tensor,
    x: Tensor,
    true: Tensor,
    names: Sequence[str],
    radius: float | None = None,
    features: Sequence[str] = ("x1", "x2"),
) -> "Figure":
    """The probability of class 1 over the plane, its line of one half, and the points.

    Args:
        grid: points as of ``grid_over``, shape ``(steps * steps, 2)``.
        probability: of class 1 there, shape ``(steps * steps,)``.
        x: points of the plane, shape ``(N, 2)``.
        true: their classes 0 and 1, shape ``(N,)``.
        names: of the two classes.
        radius: of the circle that is the best boundary there is, if one is.
        features: names of the two inputs.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 5.8))
    axes = figure.add_subplot()
    steps = math.isqrt(len(grid))
    first, second, level = (
        part.float().cpu().reshape(steps, steps).numpy() for part in (*grid.unbind(1), probability)
    )
    filled = axes.contourf(
        first, second, level, levels=[i / 10 for i in range(11)], cmap="cividis", vmin=0, vmax=1
    )
    layout.colour_bar(axes, filled, f"probability of {names[1]}")
    half = _draw_half(axes, first, second, level)
    _scatter(
        axes, x.float().cpu(), true.cpu(), names, ("white", "black"), edgecolors="#777777", linewidths=0.5
    )
    if radius is not None:
        _draw_circle(axes, radius)
    axes.set(xlabel=features[0], ylabel=features[1], title=f"Decision boundary{half}")
    sides = (grid.max(0).values - grid.min(0).values).tolist()
    axes.set_aspect("equal" if max(sides) < 3 * min(sides) else "auto")
    figure.legend(loc="lower center", ncols=4, frameon=False)
    layout.fit(figure, legend=True)
    return figure


def _draw_half(axes: "Axes", first: Any, second: Any, level: Any) -> str:
    """Draws the line where both classes are as likely; says so if there is none."""
    from matplotlib.patheffects import withStroke

    if not level.min() < 0.5 < level.max():
        return ": one class everywhere"
    line = axes.contour(first, second, level, levels=[0.5], colors="black", linewidths=1.5)
    line.set_path_effects([withStroke(linewidth=3, foreground="white")])
    axes.plot([], [], color="black", label="learnt")
    return ""


def _draw_circle(axes: "Axes", radius: float) -> None:
    angles = torch.linspace(0, 2 * math.pi, 200)
    label = f"best (r = {radius:g})"
    axes.plot(radius * angles.cos(), radius * angles.sin(), color="black", linestyle="--", label=label)


def fitted_lines(
    x: Tensor, y: Tensor, weights: Tensor, bias: float, features: Sequence[str], target: str
) -> "Figure":
    """One panel a feature: its line, and the rows as if all other features were at their mean.

    Args:
        x: inputs, shape ``(N, features)``.
        y: targets, shape ``(N,)``.
        weights: slopes of the features, shape ``(features,)``.
        bias: the prediction for inputs of zero.
        features: names of the inputs.
        target: name of the target.
    """
    from matplotlib.figure import Figure

    x, y, weights = x.float().cpu(), y.float().cpu(), weights.float().cpu()
    panels = min(len(features), MOST_PANELS)
    rows = -(-panels // 3)
    figure = Figure(figsize=(max(2.6 * min(panels, 3), 6.0), 0.4 + 3.4 * rows))
    for index in range(panels):
        axes = figure.add_subplot(rows, min(panels, 3), index + 1)
        others = (x - x.mean(0)) * weights
        others[:, index] = 0
        ends = torch.stack([x[:, index].min(), x[:, index].max()])
        at_mean = bias + float(x.mean(0) @ weights) + weights[index] * (ends - x[:, index].mean())
        axes.scatter(x[:, index], y - others.sum(1), s=12, alpha=0.5, color=COLOURS[0], linewidths=0)
        axes.plot(ends, at_mean, color=COLOURS[1], linewidth=2, label=f"slope {float(weights[index]):.3g}")
        axes.set(xlabel=features[index], ylabel=target if index % 3 == 0 else "")
        axes.legend()
    figure.suptitle("Fitted lines, other features at their mean" if len(features) > 1 else "Fitted line")
    layout.fit(figure)
    return figure


def weights_beside(learnt: Tensor, exact: Tensor, names: Sequence[str], title: str) -> "Figure":
    """Bars of what was learnt beside what is exact, with their values.

    Args:
        learnt: weights, shape ``(weights,)``.
        exact: the same, computed.
        names: of the weights.
        title: what the exact ones are.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2))
    axes = figure.add_subplot()
    places = torch.arange(len(names))
    for shift, values, colour, label in (
        (-0.2, learnt, COLOURS[0], "learnt"),
        (0.2, exact, COLOURS[1], title),
    ):
        bars = axes.bar(
            (places + shift).tolist(), values.float().tolist(), width=0.38, color=colour, label=label
        )
        if len(names) <= 8:
            axes.bar_label(bars, fmt="%.4g", padding=2, fontsize=9)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.margins(y=0.12)
    axes.set_xticks(places.tolist(), names)
    axes.set(ylabel="weight", title=f"Weights beside {title}")
    axes.legend()
    layout.fit(figure)
    return figure
