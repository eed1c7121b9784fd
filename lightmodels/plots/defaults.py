"""The figures that suit a batch and a model's outputs, chosen by their shapes alone."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightmodels.plots import binary, classification, images, plane, regression

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def default_figures(model: Any, batch: Any, outputs: Any) -> "dict[str, Figure]":
    """The figures that suit the shapes, by name; none if the shapes do not tell.

    Logits of several classes with integer targets give a confusion matrix and, for images, the worst ones. One logit
    with targets of 0.0 and 1.0 gives a confusion matrix, ROC, precision and recall, calibration, the scores of each
    class and, in the plane, the decision boundary. Other targets of the outputs' shape give the predicted against the
    true values. The names of classes and features are those in ``model.data_info``; a batch is ``(x, ..., y)``.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) < 2 or not isinstance(outputs, Tensor):
        return {}
    x, y = batch[0], batch[-1]
    if not isinstance(y, Tensor) or not outputs.is_floating_point() or len(outputs) != len(y) or not len(y):
        return {}
    is_integer = not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    if is_integer and outputs.dim() == 2 and outputs.shape[1] > 1 and y.dim() == 1:
        return _multiclass_figures(model, x, y, outputs)
    if is_integer or outputs.numel() != y.numel() or outputs.squeeze(-1).shape != y.squeeze(-1).shape:
        return {}
    if ((y == 0) | (y == 1)).all():  # of two classes, or else of several labels a row
        return _binary_figures(model, batch, outputs) if outputs.numel() == len(outputs) else {}
    return {"predicted_against_true": regression.predicted_against_true(y, outputs.reshape(y.shape))}


def _multiclass_figures(model: Any, x: Any, y: Tensor, outputs: Tensor) -> "dict[str, Figure]":
    """Rows whose target is no class, such as -100, are left out."""
    known = (y >= 0) & (y < outputs.shape[1])
    y, outputs, names = y[known].long(), outputs[known], class_names(model, outputs.shape[1])
    if not len(y):
        return {}
    figures = {"confusion_matrix": classification.confusion_matrix(y, outputs.argmax(1), names)}
    if isinstance(x, Tensor) and x.dim() == 4 and (x.is_floating_point() or x.dtype == torch.uint8):
        if outputs.min() < 0 or (outputs.sum(1) - 1).abs().max() > 1e-3:
            outputs = outputs.float().softmax(1)  # else they are probabilities already
        figures["worst_images"] = images.worst_images(x[known], y, outputs, names)
    return figures


def _binary_figures(model: Any, batch: Any, outputs: Tensor) -> "dict[str, Figure]":
    x, y, names = batch[0], batch[-1].flatten().long(), class_names(model, 2)
    probability = _probability(outputs).flatten()
    figures = {
        "confusion_matrix": classification.confusion_matrix(y, (probability > 0.5).long(), names),
        "calibration": binary.calibration(y, probability),
        "scores_by_class": binary.scores_by_class(y, probability, names),
    }
    if y.min() < y.max():  # else there is no curve
        figures["roc_and_precision_recall"] = binary.roc_and_precision_recall(y, probability)
    if len(batch) == 2 and isinstance(x, Tensor) and x.shape[1:] == (2,) and x.is_floating_point():
        features = feature_names(model, 2)
        figures["decision_boundary"] = plane.decision_boundary(lambda p: _probability(model(p)), x, y, names, features)
    return figures


def _probability(outputs: Tensor) -> Tensor:
    """The probability of class 1; outputs that are all in 0..1 are taken for probabilities already."""
    return outputs if outputs.min() >= 0 and outputs.max() <= 1 else outputs.float().sigmoid()


def class_names(model: Any, count: int) -> list[str]:
    """The names of the classes in ``model.data_info``; their numbers if there are not ``count`` names."""
    return _names(model, "classes", [str(number) for number in range(count)])


def feature_names(model: Any, count: int) -> list[str]:
    """The names of the inputs in ``model.data_info``; x1, x2, … if there are not ``count`` names."""
    return _names(model, "features", [f"x{number}" for number in range(1, count + 1)])


def _names(model: Any, key: str, default: list[str]) -> list[str]:
    names = model.data_info.get(key)
    found = isinstance(names, (list, tuple)) and len(names) == len(default)
    return [str(name) for name in names] if found else default
