"""Figures of a classifier's predictions: confusion matrix and accuracy of each class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightmodels.plots.style import COLOURS, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_CLASSES = 12  # rows of a confusion matrix in which counts can still be read
MAX_BARS = 20


def confusion_matrix(true: Tensor, predicted: Tensor, names: Sequence[str]) -> "Figure":
    """Counts of predicted classes for each true class; with more than 13 classes, rare ones share a row.

    True and predicted classes have shape ``(N,)``; ``names`` has one name for each class.
    """
    from matplotlib.colors import PowerNorm

    true, predicted = true.cpu(), predicted.cpu()
    classes, labels = _matrix_rows(true, names)
    size = len(labels)
    row_of = torch.full((len(names),), len(classes)).scatter(0, classes, torch.arange(len(classes)))
    counts = torch.bincount(row_of[true] * size + row_of[predicted], minlength=size**2).reshape(size, size)
    fractions = counts / counts.sum(1, keepdim=True).clamp_min(1)
    figure, (axes,) = new_figure(accuracy_title(true, predicted, "rows"), (6.6, 5.6))
    image = axes.imshow(fractions.numpy(), cmap="cividis", norm=PowerNorm(0.5, 0, 1))  # shows rare mistakes
    figure.colorbar(image, ax=axes, label="fraction of the true class")
    for row, column in (counts + (size <= 3)).nonzero().tolist():  # zeros in small matrices only
        colour = "white" if fractions[row, column] < 0.25 else "black"  # the middle of the colour bar
        font: dict[str, Any] = {"color": colour, "fontsize": 12 if size < 5 else 8}
        axes.text(column, row, str(int(counts[row, column])), ha="center", va="center", **font)
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(size), labels, **(slanted if size * max(map(len, labels)) > 30 else {}))
    axes.set(xlabel="predicted", ylabel="true", yticks=range(size), yticklabels=labels)
    return figure


def accuracy_title(true: Tensor, predicted: Tensor, unit: str) -> str:
    """Such as ``Accuracy 64.7 % (898 rows)``."""
    return f"Accuracy {100 * float((true == predicted).float().mean()):.1f} % ({len(true):,} {unit})"


def _matrix_rows(true: Tensor, names: Sequence[str]) -> tuple[Tensor, list[str]]:
    """The classes that have a row of their own, in ascending order, and the labels of all rows."""
    if len(names) <= MAX_CLASSES + 1:
        return torch.arange(len(names)), [shorten(name) for name in names]
    counts = torch.bincount(true, minlength=len(names))
    classes = counts.argsort(descending=True, stable=True)[:MAX_CLASSES].sort().values
    labels = [shorten(names[index]) for index in classes.tolist()]
    return classes, [*labels, f"{len(names) - len(classes)} others"]


def class_accuracy(true: Tensor, predicted: Tensor, names: Sequence[str]) -> "Figure":
    """Bars with the accuracy of each class, the most common one on top.

    True and predicted classes have shape ``(N,)``; ``names`` has one name for each class.
    """
    true, predicted = true.cpu(), predicted.cpu()
    counts = torch.bincount(true, minlength=len(names))
    classes = [i for i in counts.argsort(descending=True, stable=True)[:MAX_BARS].tolist() if counts[i]]
    accuracy = torch.bincount(true[true == predicted], minlength=len(names)) / counts.clamp_min(1)
    title = f"Accuracy by class ({len(classes)} of {len(names)}, most common first)"
    figure, (axes,) = new_figure(title, (6.6, 1.8 + 0.2 * len(classes)))
    axes.barh(range(len(classes)), accuracy[classes].tolist(), color=COLOURS[0])
    overall = float((true == predicted).float().mean())
    axes.axvline(overall, color=COLOURS[1], linestyle="--", label=f"all classes: {100 * overall:.1f} %")
    axes.set_yticks(range(len(classes)), [f"{shorten(names[i])} ({counts[i]})" for i in classes])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="accuracy", ylabel="class (rows)")
    axes.figure.legend(loc="outside lower right", frameon=False)
    return figure
