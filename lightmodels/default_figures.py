"""What any LightModel draws of a batch and its outputs, told from their shapes alone."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightmodels import figures, image_figures, plane_figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Figures = dict[str, "Figure"]


def of(model: Any, batch: Any, outputs: Any) -> Figures:
    """The figures that suit the shapes; none if these say nothing.

    Logits of several classes with whole-numbered targets give a confusion matrix and, of images, the
    worst ones; one logit with targets of 0.0 and 1.0 a confusion matrix and, in the plane, the decision
    boundary; other targets of the outputs' shape the predicted against the true.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) < 2 or not isinstance(outputs, Tensor):
        return {}
    x, y = batch[0], batch[-1]
    if not isinstance(y, Tensor) or not outputs.is_floating_point() or len(outputs) != len(y) or not len(y):
        return {}
    if outputs.dim() == 2 and outputs.shape[1] > 1 and y.dim() == 1 and is_whole(y):
        return of_classes(model, x, y, outputs)
    if is_whole(y) or outputs.numel() != y.numel() or outputs.squeeze(-1).shape != y.squeeze(-1).shape:
        return {}
    if outputs.numel() == len(outputs) and ((y == 0) | (y == 1)).all():
        return of_two_classes(model, batch, outputs)
    return {"predicted_against_true": figures.predicted_against_true(y, outputs.reshape(y.shape))}


def of_classes(model: Any, x: Any, y: Tensor, outputs: Tensor) -> Figures:
    """The confusion matrix and, of images, the worst ones; rows of no class are left out."""
    known = (y >= 0) & (y < outputs.shape[1])
    y, outputs, names = y[known].long(), outputs[known], class_names(model, outputs.shape[1])
    if not len(y):
        return {}
    drawn = {"confusion_matrix": figures.confusion_matrix(y, outputs.argmax(1), names)}
    if isinstance(x, Tensor) and x.dim() == 4 and x.is_floating_point():
        drawn["worst_images"] = image_figures.worst_images(x[known], y, probabilities(outputs), names)
    return drawn


def of_two_classes(model: Any, batch: Any, outputs: Tensor) -> Figures:
    """The confusion matrix and, of points of the plane, the decision boundary."""
    x, y = batch[0], batch[-1].flatten().long()
    predicted = (probability(outputs).flatten() > 0.5).long()
    drawn = {"confusion_matrix": figures.confusion_matrix(y, predicted, class_names(model, 2))}
    if len(batch) == 2 and isinstance(x, Tensor) and x.shape[1:] == (2,) and x.is_floating_point():
        drawn["decision_boundary"] = boundary(model, x, y)
    return drawn


def boundary(model: Any, x: Tensor, y: Tensor, radius: float | None = None) -> "Figure":
    """The decision boundary of a model of points of the plane, ``y`` their classes 0 and 1."""
    grid = plane_figures.grid_over(x)
    likely = probability(model(grid)).flatten()
    return plane_figures.decision_boundary(
        grid, likely, x, y, class_names(model, 2), radius, feature_names(model, 2)
    )


def probability(outputs: Tensor) -> Tensor:
    """Of class 1; outputs that are probabilities already, all of them in 0..1, are left as they are."""
    given = outputs.min() >= 0 and outputs.max() <= 1
    return outputs if given else outputs.float().sigmoid()


def probabilities(outputs: Tensor) -> Tensor:
    """Of all classes; rows that are probabilities already, with a sum of 1, are left as they are."""
    given = outputs.min() >= 0 and torch.allclose(outputs.sum(1), torch.ones_like(outputs[:, 0]), atol=1e-3)
    return outputs if given else outputs.float().softmax(1)


def is_whole(y: Tensor) -> bool:
    """Whether targets are whole numbers by their type."""
    return not y.is_floating_point() and not y.is_complex() and y.dtype != torch.bool


def class_names(model: Any, count: int) -> list[str]:
    """The names of so many classes; their numbers if the data have no such names."""
    names = model.data_info.get("classes")
    if isinstance(names, (list, tuple)) and len(names) == count:
        return [str(name) for name in names]
    return [str(number) for number in range(count)]


def feature_names(model: Any, count: int) -> list[str]:
    """The names of so many inputs; x1, x2, … if the data have no such names."""
    names = model.data_info.get("features")
    if isinstance(names, (list, tuple)) and len(names) == count:
        return [figures.short(name) for name in names]
    return [f"x{number + 1}" for number in range(count)]
