"""Figures of a classifier's and of a regression's answers: tensors in, matplotlib figures out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightmodels import layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito's, told apart by the colour-blind
MOST_CLASSES = 12  # rows of a confusion matrix whose counts can still be read
MOST_BARS = 20
MOST_POINTS = 2_000  # more only cover each other


def confusion_matrix(true: Tensor, predicted: Tensor, names: Sequence[str]) -> "Figure":
    """Counts of predicted classes for each true class; of many classes, the commonest and all others.

    Args:
        true: classes, shape ``(N,)``.
        predicted: classes, shape ``(N,)``.
        names: one for each class.
    """
    from matplotlib.colors import PowerNorm

    true, predicted = true.cpu(), predicted.cpu()
    shown, labels = _shown_classes(true, names)
    place = torch.full((len(names),), len(shown)).scatter(0, shown, torch.arange(len(shown)))
    size = len(labels)
    counts = torch.bincount(place[true] * size + place[predicted], minlength=size**2).reshape(size, size)
    figure, axes = new_figure(6.6, 5.6)
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    # Of the root, as mistakes are rare and what one looks for.
    image = axes.imshow(shares.numpy(), cmap="cividis", norm=PowerNorm(0.5, 0, 1))
    layout.colour_bar(axes, image, "share of the true class")
    _write_counts(axes, counts, shares)
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(size), labels, **(slanted if sum(map(len, labels)) > 50 else {}))
    axes.set_yticks(range(size), labels)
    right = float((true == predicted).float().mean())
    axes.set(xlabel="predicted", ylabel="true", title=f"{right:.1%} of {len(true):,} rows are right")
    layout.fit(figure)
    return figure


def _shown_classes(true: Tensor, names: Sequence[str]) -> tuple[Tensor, list[str]]:
    """The classes that get a row, in their own order, and the labels of all rows."""
    if len(names) <= MOST_CLASSES + 1:
        return torch.arange(len(names)), [short(name) for name in names]
    shown = commonest(true, len(names), MOST_CLASSES).sort().values
    return shown, [*(short(names[index]) for index in shown.tolist()), f"{len(names) - len(shown)} others"]


def _write_counts(axes: "Axes", counts: Tensor, shares: Tensor) -> None:
    size = len(counts)
    for row, column in torch.cartesian_prod(torch.arange(size), torch.arange(size)).tolist():
        count = int(counts[row, column])
        if count or size <= 3:
            dark = shares[row, column] < 0.25  # of a root below one half
            style: dict[str, Any] = {"color": "white" if dark else "black", "fontsize": 12 if size < 5 else 8}
            axes.text(column, row, f"{count}", ha="center", va="center", **style)


def class_accuracy(true: Tensor, predicted: Tensor, names: Sequence[str]) -> "Figure":
    """Bars of the share that is right of each class, the commonest classes on top.

    Args:
        true: classes, shape ``(N,)``.
        predicted: classes, shape ``(N,)``.
        names: one for each class.
    """
    true, predicted = true.cpu(), predicted.cpu()
    counts = torch.bincount(true, minlength=len(names))
    shown = [i for i in commonest(true, len(names), MOST_BARS).tolist() if counts[i]]
    right = torch.bincount(true[true == predicted], minlength=len(names)) / counts.clamp_min(1)
    overall = float((true == predicted).float().mean())
    figure, axes = new_figure(6.6, 1.6 + 0.2 * len(shown))
    axes.barh(range(len(shown)), right[shown].tolist(), color=COLOURS[0])
    axes.axvline(overall, color=COLOURS[1], linestyle="--", label=f"all rows: {overall:.1%}")
    axes.set_yticks(range(len(shown)), [f"{short(names[i])} ({counts[i]})" for i in shown])
    axes.invert_yaxis()
    of = "" if len(shown) == len(names) else f", {len(shown)} commonest of {len(names)}"
    axes.set(xlim=(0, 1), xlabel="share that is right", title=f"Accuracy of each class (rows){of}")
    figure.legend(loc="lower right", frameon=False)
    layout.fit(figure, legend=True)
    return figure


def predicted_against_true(true: Tensor, predicted: Tensor, target: str = "target") -> "Figure":
    """Points that lie on the diagonal where the prediction is right.

    Args:
        true: numbers, of any shape.
        predicted: numbers, of the same shape.
        target: what they are.
    """
    figure, axes = new_figure(5.6, 5.2)
    error = float((predicted - true).float().square().mean().sqrt())
    true, predicted = thinned(true.flatten()), thinned(predicted.flatten())
    both = torch.cat([true, predicted])
    ends = [float(both.min()), float(both.max())]
    axes.scatter(true.numpy(), predicted.numpy(), s=12, alpha=0.5, color=COLOURS[0], linewidths=0)
    axes.plot(ends, ends, color=COLOURS[1], linestyle="--", label="predicted = true")
    axes.set(xlabel=f"true {short(target)}", ylabel=f"predicted {short(target)}")
    axes.set(title=f"Root mean squared error {error:.3g}", aspect="equal")
    axes.legend()
    layout.fit(figure)
    return figure


def residuals(true: Tensor, predicted: Tensor, target: str = "target") -> "Figure":
    """The errors over the predictions, and how often each size of error comes up.

    Args:
        true: numbers, of any shape.
        predicted: numbers, of the same shape.
        target: what they are.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.0))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    predicted, error = thinned(predicted.flatten()), thinned((true - predicted).flatten())
    left.scatter(predicted.numpy(), error.numpy(), s=12, alpha=0.5, color=COLOURS[0], linewidths=0)
    left.set(xlabel=f"predicted {short(target)}", ylabel=f"true - predicted {short(target)}")
    right.hist(error.numpy(), bins=25, orientation="horizontal", color=COLOURS[0])
    right.set(xlabel="rows")
    for axes in (left, right):
        axes.axhline(0, color=COLOURS[1], linestyle="--")
    mean, deviation = float(error.mean()), float(error.std(correction=0))
    figure.suptitle(f"Residuals: mean {mean:.3g}, standard deviation {deviation:.3g}")
    layout.fit(figure)
    return figure


def new_figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """A figure of so many inches, a hundred pixels each, with one pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()


def commonest(true: Tensor, classes: int, most: int) -> Tensor:
    """Up to ``most`` classes, those with most rows first."""
    counts = torch.bincount(true, minlength=classes)
    return counts.argsort(descending=True, stable=True)[:most]


def thinned(values: Tensor) -> Tensor:
    """Some of many rows, evenly spread, as float32 on the CPU."""
    step = max(1, -(-len(values) // MOST_POINTS))
    return values.detach()[::step].float().cpu()


def short(name: str) -> str:
    """A name that fits beside an axis, in which a dollar sign is no start of a formula."""
    name = " ".join(str(name).split())
    return (name if len(name) <= 16 else f"{name[:15]}…").replace("$", r"\$")
