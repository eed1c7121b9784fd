"""Predicts from a checkpoint: python scripts/predict.py --ckpt best.ckpt seven.png three.jpg

What an INPUT is depends on the task: for digits an image of one, for reuters and imdb a text or a text file, for
linear, ring and housing a CSV file with one input a row.
"""

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from lightmodels.cli.exit_codes import UsageError
from lightmodels.cli.from_checkpoint import load_model
from lightmodels.inputs.base import Source
from lightmodels.inputs.pipeline import Pipeline, Predictions
from lightmodels.utils.console import printable


def main(options: Namespace) -> None:
    model, _ = load_model(options.ckpt, needs_data_info=True)
    pipeline = Pipeline(model, model.data_info)
    sources, raw = pipeline.inputs.read(options.inputs)
    outputs = predict(pipeline, raw, options.ckpt)
    require_finite(outputs, sources)
    results = list(describe(outputs, model.data_info, options.top))
    lines = format_json(sources, results) if options.json else format_table(sources, results)
    print("\n".join(lines))


def predict(pipeline: Pipeline, raw: Tensor, path: str) -> Tensor:
    """The pipeline's outputs for all raw inputs, ``(N, classes)`` or ``(N, 1)``.

    Raises UsageError if the checkpoint's ``data_info`` does not fit its model.
    """
    try:
        outputs = pipeline.predict(raw).outputs
    except (RuntimeError, LookupError, TypeError) as error:
        raise UsageError(f"--ckpt {path}: its data_info does not fit its model ({error})") from error
    names = pipeline.info.get("classes", ["value"])
    if outputs.shape[1] != len(names):
        raise UsageError(f"--ckpt {path}: its model has {outputs.shape[1]} classes, its data_info {len(names)}")
    return outputs


def require_finite(outputs: Tensor, sources: Sequence[Source]) -> None:
    """Raises UsageError for an input so large that the model's arithmetic overflows."""
    overflows = (~outputs.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if overflows:
        raise UsageError(f"{sources[overflows[0]]}: the prediction is not a finite number")


def describe(outputs: Tensor, info: dict[str, Any], top: int) -> Iterator[dict[str, Any]]:
    """One prediction a row: a value, or the most probable classes by name; of several labels those above one half."""
    if "classes" not in info:
        yield from ({"prediction": value} for value in outputs.flatten().tolist())
        return
    best = outputs.topk(min(top, outputs.shape[1]), dim=1)
    names = Predictions(outputs, info["classes"], bool(info.get("multi_label"))).names
    for name, probabilities, classes in zip(names, best.values.tolist(), best.indices.tolist(), strict=True):
        ranked = [
            {"class": info["classes"][index], "probability": probability}
            for index, probability in zip(classes, probabilities, strict=True)
        ]
        yield {"prediction": name, "probability": ranked[0]["probability"], "top": ranked}


def format_json(sources: Sequence[Source], results: Sequence[dict[str, Any]]) -> list[str]:
    """One line of JSON for each prediction."""
    origins = [{"input": source.argument} | ({} if source.row is None else {"row": source.row}) for source in sources]
    return [json.dumps(origin | result) for origin, result in zip(origins, results, strict=True)]


def format_table(sources: Sequence[Source], results: Sequence[dict[str, Any]]) -> list[str]:
    """A header, and one line for each prediction, in columns."""
    rows = [["input", "prediction", "probability", "next best"][: 4 if "top" in results[0] else 2]]
    for source, result in zip(sources, results, strict=True):
        if "top" not in result:
            rows.append([str(source), f"{result['prediction']:.4f}"])
            continue
        others = ", ".join(f"{each['class']} {each['probability']:.3f}" for each in result["top"][1:])
        name = result["prediction"]
        shown = name if isinstance(name, str) else ", ".join(name) or "none"
        rows.append([str(source), shown, f"{result['probability']:.3f}", others])
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
