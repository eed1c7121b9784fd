"""Exports a checkpoint's model: python scripts/export.py --ckpt best.ckpt --format onnx

The exported program takes raw inputs, ``raw``, in batches of any size, as described in ``pipeline.Pipeline``,
and returns ``probabilities`` (B, classes), or ``values`` (B, 1) in a regression. It carries the model's
``data_info`` as JSON. Before the file is put in place, the program is loaded, run on rows of the test set and
compared with the model.
"""

import importlib.util
import io
import json
import warnings
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from lightmodels.cli.arguments import FORMATS
from lightmodels.cli.exit_codes import OutputError, UsageError
from lightmodels.cli.from_checkpoint import load_model, make_datamodule
from lightmodels.inputs.pipeline import Pipeline
from lightmodels.utils.atomic_file import replace_file
from lightmodels.utils.console import printable
from lightmodels.utils.data_error import DataError

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
BATCH_SIZES = [1, 7]  # of the comparison
TOLERANCE = 1e-5  # relative to the largest output, or to 1 if that is larger


def main(options: Namespace) -> None:
    require_packages(options.format)
    output = output_path(options)
    model, checkpoint = load_model(options.ckpt, needs_data_info=True)
    pipeline = Pipeline(model, model.data_info).requires_grad_(False)
    raw, expected, rows = comparison_rows(pipeline, checkpoint, options)
    try:
        with replace_file(output) as temporary:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, about its own modules
                WRITERS[options.format](pipeline, raw, temporary)
            difference = largest_difference(LOADERS[options.format](temporary), raw, expected)
            limit = TOLERANCE * max(1.0, float(expected.abs().max()))
            result = f"largest difference {difference:.1e} on {rows}, tolerance {limit:.1e}"
            if not difference <= limit:
                raise OutputError(f"{output}: not written, its outputs differ from the model's: {result}")
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error
    print(f"{printable(str(output))}: {options.format}, {output.stat().st_size:,} bytes; {result}")


def require_packages(format_: str) -> None:
    """Raises UsageError if packages that the format needs are not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if format_ == "onnx" and missing:
        raise UsageError(f"--format onnx needs {', '.join(missing)}: pip install {' '.join(missing)}")


def output_path(options: Namespace) -> Path:
    """The file to write; an existing one is replaced, unless it is the checkpoint."""
    output = Path(options.output or Path(options.ckpt).with_suffix(FORMATS[options.format]))
    if output.is_dir():
        raise UsageError(f"--output {output}: is a directory")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"--output {output}: no such directory")
    if output.exists() and Path(options.ckpt).exists() and output.samefile(options.ckpt):
        raise UsageError(f"--output {output}: is the checkpoint itself")
    return output


def comparison_rows(pipeline: Pipeline, checkpoint: dict[str, Any], options: Namespace) -> tuple[Tensor, Tensor, str]:
    """Raw inputs for the comparison, the model's outputs for them, and a description.

    Test rows were preprocessed by the data module, not by the pipeline. Without data files: random rows.
    """
    count = sum(BATCH_SIZES)
    try:
        rows = make_datamodule(checkpoint, options.ckpt, options.data_dir).splits.test[0]
    except DataError:
        if options.data_dir is not None:
            raise
        raw = pipeline.inputs.random(count)
        return raw, pipeline(raw), "random rows (no data files found, see --data_dir)"
    x = rows[torch.arange(count) % len(rows)]
    expected = pipeline.postprocess(pipeline.model(x))
    return pipeline.inputs.restore(x), expected, f"{min(count, len(rows))} test rows"


def export_program(pipeline: Pipeline, raw: Tensor) -> torch.export.ExportedProgram:
    dynamic = {"raw": {0: torch.export.Dim("batch")}}
    return torch.export.export(pipeline, (raw,), dynamic_shapes=dynamic)


def write_torch(pipeline: Pipeline, raw: Tensor, path: Path) -> None:
    content = io.BytesIO()  # torch warns of file names that do not end in .pt2
    info = {"data_info.json": json.dumps(pipeline.info)}
    torch.export.save(export_program(pipeline, raw), content, extra_files=info)
    path.write_bytes(content.getbuffer())


def write_onnx(pipeline: Pipeline, raw: Tensor, path: Path) -> None:
    outputs = ["probabilities" if "classes" in pipeline.info else "values"]
    exported = export_program(pipeline, raw)
    program = torch.onnx.export(exported, (raw,), input_names=["raw"], output_names=outputs, verbose=False)
    assert program is not None  # as no file was given
    program.model.metadata_props["data_info"] = json.dumps(pipeline.info)
    program.save(path, external_data=False)


def load_torch(path: Path) -> Callable[[Tensor], Tensor]:
    return cast(Callable[[Tensor], Tensor], torch.export.load(io.BytesIO(path.read_bytes())).module())


def load_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda raw: torch.from_numpy(session.run(None, {"raw": raw.numpy()})[0])


def largest_difference(program: Callable[[Tensor], Tensor], raw: Tensor, expected: Tensor) -> float:
    """The largest difference between the program's outputs and the expected ones."""
    outputs = torch.cat([program(batch) for batch in torch.split(raw, BATCH_SIZES)])
    return float((outputs - expected).abs().max())


WRITERS = {"onnx": write_onnx, "torch_export": write_torch}
LOADERS = {"onnx": load_onnx, "torch_export": load_torch}
