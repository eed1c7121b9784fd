"""What a trained model's predictions on test rows are worth: more than one number, as accuracy alone misleads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

MAX_ROWS = 10  # classes in the printed table, the most common ones
COLUMNS = ("precision", "recall", "f1", "rows")


class Report(NamedTuple):
    """The report on a classifier, or on a regression.

    Attributes:
        values: plain data. Of a classifier: ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``auroc`` (of two
            classes), ``confusion_matrix`` (a list of counts of predicted classes for each true one) and ``classes``
            (name -> ``precision``, ``recall``, ``f1`` and ``rows``). With several labels a row, ``accuracy`` is the
            share of rows whose labels are all right, and there is no ``balanced_accuracy`` or ``confusion_matrix``. Of
            a regression: ``mse``, ``rmse``, ``mae``, ``r2`` and the mean and standard deviation of the residuals,
            predicted - true, in the target's unit.
    """

    values: dict[str, Any]

    def lines(self) -> list[str]:
        """The report in aligned columns, for a console."""
        numbers = {name: value for name, value in self.values.items() if isinstance(value, float)}
        lines = ["  ".join(f"{name} {value:.4g}" for name, value in numbers.items())]
        if rows := self._rows():
            width = max(len(name) for name, _ in rows)
            lines.append(f"{'class':{width}}" + "".join(f"{column:>11}" for column in COLUMNS))
            for name, each in rows:
                figures = "".join(f"{each[column]:11.3f}" for column in COLUMNS[:-1])
                lines.append(f"{name:{width}}{figures}{each['rows']:11,}")
        if len(rows) < len(self.values.get("classes", ())):
            lines.append(f"and {len(self.values['classes']) - len(rows)} rarer classes, see metrics.json")
        return lines

    def markdown(self) -> str:
        """The report as tables in Markdown, for TensorBoard."""
        numbers = {name: value for name, value in self.values.items() if isinstance(value, float)}
        lines = ["| figure | value |", "|---|---|"] + [f"| {name} | {value:.4g} |" for name, value in numbers.items()]
        if classes := self.values.get("classes"):
            lines += ["", f"| class | {' | '.join(COLUMNS)} |", "|---|---|---|---|---|"]
            for name, each in classes.items():
                figures = " | ".join(f"{each[column]:.3f}" for column in COLUMNS[:-1])
                lines.append(f"| {name.replace('|', '/')} | {figures} | {each['rows']:,} |")
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, dict[str, Any]]]:
        classes: dict[str, dict[str, Any]] = self.values.get("classes", {})
        common = sorted(classes, key=lambda name: -classes[name]["rows"])[:MAX_ROWS]
        return [(name, each) for name, each in classes.items() if name in common]


def evaluation_report(
    y: Tensor, outputs: Tensor, classes: Sequence[str] = (), is_regression: bool = False
) -> Report | None:
    """The report that suits the shapes; None if they do not tell what it should be.

    Args:
        y: classes, integers ``(N,)``, of which those below 0 do not count; or 0.0 and 1.0, ``(N, 1)`` for two classes
            and ``(N, C)`` for any number of labels a row; or a regression's target.
        outputs: logits ``(N, C)``, or of two classes one logit ``(N, 1)``; or a regression's values, as ``y``.
        classes: names of the classes; their numbers if there are not as many as classes.
        is_regression: whether a target of nothing but 0.0 and 1.0 is a number all the same.

    Precision, recall and F1 are 0 where their divisor is. Values agree with scikit-learn's.
    """
    y, outputs = y.cpu(), outputs.cpu().float()
    if not len(y) or len(y) != len(outputs):
        return None
    if not y.is_floating_point() and y.dim() == 1 and outputs.dim() == 2 and outputs.shape[1] > 1:
        counted = (y >= 0) & (y < outputs.shape[1])
        return _of_classes(y[counted].long(), outputs[counted].softmax(1), classes) if counted.any() else None
    if not y.is_floating_point() or outputs.numel() != y.numel() or y.numel() % len(y):
        return None
    y, outputs = y.reshape(len(y), -1).float(), outputs.reshape(len(y), -1)
    if is_regression or not ((y == 0) | (y == 1)).all():
        return _of_regression(y, outputs)
    probability = outputs.sigmoid()
    if y.shape[1] > 1:
        return _of_labels(y.long(), probability, classes)
    return _of_classes(y[:, 0].long(), torch.cat([1 - probability, probability], 1), classes)


def _of_classes(y: Tensor, probabilities: Tensor, classes: Sequence[str]) -> Report:
    count, predicted = probabilities.shape[1], probabilities.argmax(1)
    confusion = torch.bincount(y * count + predicted, minlength=count**2).reshape(count, count)
    scores = _scores(confusion.diag(), confusion.sum(0), confusion.sum(1))
    true = confusion.sum(1) > 0
    occurs = true | (confusion.sum(0) > 0)
    values: dict[str, Any] = {
        "accuracy": float((y == predicted).float().mean()),
        "balanced_accuracy": float(scores["recall"][true].mean()),
        "macro_f1": float(scores["f1"][occurs].mean()),
    }
    if count == 2 and true.all():
        values["auroc"] = _auroc(y, probabilities[:, 1])
    return Report(values | {"confusion_matrix": confusion.tolist(), "classes": _by_name(scores, classes)})


def _of_labels(y: Tensor, probabilities: Tensor, classes: Sequence[str]) -> Report:
    predicted = (probabilities > 0.5).long()
    scores = _scores((y * predicted).sum(0), predicted.sum(0), y.sum(0))
    values = {"accuracy": float((y == predicted).all(1).float().mean()), "macro_f1": float(scores["f1"].mean())}
    return Report(values | {"classes": _by_name(scores, classes)})


def _of_regression(y: Tensor, outputs: Tensor) -> Report | None:
    y, residuals = y.double(), (outputs.double() - y.double())
    mse = residuals.square().mean()
    values = {"mse": mse, "rmse": mse.sqrt(), "mae": residuals.abs().mean()}
    spread = (y - y.mean(0)).square().mean()
    if spread > 0:  # else R² is not defined
        values["r2"] = 1 - (residuals.square().mean(0) / (y - y.mean(0)).square().mean(0)).mean()
    values |= {"residual_mean": residuals.mean(), "residual_std": residuals.std(correction=0)}
    return Report({name: float(value) for name, value in values.items()})


def _scores(hits: Tensor, predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Precision, recall, F1 and rows of each class, ``(C,)``, from its counts."""
    precision, recall = hits / predicted.clamp_min(1), hits / true.clamp_min(1)
    f1 = 2 * hits / (predicted + true).clamp_min(1)
    return {"precision": precision, "recall": recall, "f1": f1, "rows": true}


def _by_name(scores: dict[str, Tensor], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    count = len(scores["rows"])
    names = [str(name) for name in classes] if len(classes) == count else [str(number) for number in range(count)]
    return {name: {column: scores[column][index].item() for column in COLUMNS} for index, name in enumerate(names)}


def _auroc(y: Tensor, probability: Tensor) -> float:
    """The probability that a row of class 1 has the higher score; ties count one half."""
    _, ranks = probability.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    counts = torch.stack([torch.bincount(ranks[y == label], minlength=int(ranks.max()) + 1) for label in (0, 1)])
    below = counts[0].cumsum(0) - counts[0]
    wins = (counts[1] * (below + counts[0] / 2).double()).sum()
    return float(wins / (counts[0].sum() * counts[1].sum()).double())
