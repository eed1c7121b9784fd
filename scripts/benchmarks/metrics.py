"""The scores of the tasks as torchmetrics, for libraries that take these."""

import torchmetrics


def metrics(task: str) -> dict[str, torchmetrics.Metric]:
    """By name."""
    if task == "linear":
        return {
            "mae": torchmetrics.MeanAbsoluteError(),
            "mape": torchmetrics.MeanAbsolutePercentageError(),
        }
    if task == "ring":
        return {"acc": torchmetrics.classification.BinaryAccuracy()}
    classes = {"mnist": 10, "reuters": 46}[task]
    accuracy = torchmetrics.classification.MulticlassAccuracy
    found: dict[str, torchmetrics.Metric] = {"acc": accuracy(classes, average="micro")}
    if task == "reuters":
        found["top5_acc"] = accuracy(classes, top_k=5, average="micro")
    return found
