"""Exports a checkpoint's model: python scripts/export.py --ckpt best.ckpt --format onnx

The program takes raw inputs, ``raw``, in batches of any size, as ``pipeline.Pipeline`` describes them, and
gives ``probabilities`` (B, classes) of the classes, or ``values`` (B, 1) if there are none. It carries the
model's ``data_info`` as JSON. Before the file is put in its place, the program is read back, run on rows of
the test set and compared with the model.
"""

import importlib.util
import json
import uuid
import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# before PyTorch, as this is quick at importing it
from lightmodels.cli.exit_codes import OutputError, Parser, UsageError

# isort: split
import torch
from torch import Tensor

from lightmodels.cli.from_checkpoint import restore_data, restore_with_info
from lightmodels.cli.pipeline import Pipeline
from lightmodels.data.remote_files import DataError

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2"}
PACKAGES = ("onnx", "onnxscript", "onnxruntime")
BATCHES = [1, 7]  # sizes of the batches that are compared
TOLERANCE = 1e-5  # of the largest output, which is at least taken for 1


def main(argv: Sequence[str]) -> None:
    parser = Parser(prog="export.py", description="Exports a trained model to ONNX or torch.export.")
    parser.add_argument("--ckpt", required=True, help="checkpoint file of a training run")
    parser.add_argument("--format", required=True, choices=list(SUFFIXES), help="what to write")
    parser.add_argument("--output", help="file to write (default: beside the checkpoint, .onnx or .pt2)")
    parser.add_argument("--data_dir", help="where the data files are (default: where they were in training)")
    options = parser.parse(argv)
    require_packages(options.format)
    output = output_path(options)
    model, checkpoint = restore_with_info(options.ckpt)
    pipeline = Pipeline(model, model.data_info).requires_grad_(False)
    raw, expected, rows = compared_rows(pipeline, checkpoint, options)
    temporary = output.with_name(f".{output.name}.{uuid.uuid4().hex}.tmp{SUFFIXES[options.format]}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own modules, to their developers
            WRITERS[options.format](pipeline, raw, temporary)
        difference = largest_difference(RUNNERS[options.format](temporary), raw, expected)
        limit = TOLERANCE * max(1.0, float(expected.abs().max()))
        compared = f"largest difference {difference:.1e} on {rows}, tolerance {limit:.1e}"
        if not difference <= limit:
            raise OutputError(f"{output}: not written, as its outputs are not the model's: {compared}")
        temporary.replace(output)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    print(f"{output}: {options.format}, {output.stat().st_size:,} bytes; {compared}")


def require_packages(format_: str) -> None:
    """Raises UsageError if packages that the format needs are not installed."""
    lacking = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if format_ == "onnx" and lacking:
        raise UsageError(f"--format onnx needs {', '.join(lacking)}: pip install --editable '.[export]'")


def output_path(options: Namespace) -> Path:
    """Where the file is to be; what has that name is replaced, but not the checkpoint."""
    output = Path(options.output or Path(options.ckpt).with_suffix(SUFFIXES[options.format]))
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise UsageError(
            f"--output {output}: " + ("is a directory" if output.is_dir() else "no such directory")
        )
    if output.exists() and Path(options.ckpt).exists() and output.samefile(options.ckpt):
        raise UsageError(f"--output {output}: is the checkpoint itself")
    return output


def compared_rows(
    pipeline: Pipeline, checkpoint: dict[str, Any], options: Namespace
) -> tuple[Tensor, Tensor, str]:
    """Raw inputs to compare on, what the model gives for them, and what they are.

    They are test rows, whose preparation is the data module's, not the pipeline's, and made ones where
    the data files are not at hand.
    """
    count = sum(BATCHES)
    try:
        rows = restore_data(checkpoint, options.ckpt, options.data_dir).splits.test[0]
    except DataError:
        if options.data_dir is not None:
            raise
        raw = made_rows(pipeline.info, count)
        return raw, pipeline(raw), "made rows (no data files are here: --data_dir)"
    x = rows[torch.arange(count) % len(rows)]
    return (
        raw_rows(x, pipeline.info),
        pipeline.read_out(pipeline.model(x)),
        f"{min(count, len(rows))} test rows",
    )


def raw_rows(x: Tensor, info: dict[str, Any]) -> Tensor:
    """A data module's inputs as they were before it prepared them."""
    if info["kind"] == "image":
        return (x.squeeze(1) * info["scale"]).round().to(torch.uint8)
    if info["kind"] == "text":
        return torch.where(x == info["tokens"]["unknown"], info["num_words"] + 7, x)
    return x


def made_rows(info: dict[str, Any], count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if info["kind"] == "image":
        return torch.randint(256, (count, *info["input_shape"][1:]), generator=generator).to(torch.uint8)
    if info["kind"] == "text":
        return torch.randint(info["num_words"] + 7, (count, info["max_length"]), generator=generator)
    return 5 * torch.randn(count, len(info["features"]), generator=generator)


def exported(pipeline: Pipeline, raw: Tensor) -> torch.export.ExportedProgram:
    dynamic = {"raw": {0: torch.export.Dim("batch")}}
    return torch.export.export(pipeline, (raw,), dynamic_shapes=dynamic)


def write_torch(pipeline: Pipeline, raw: Tensor, path: Path) -> None:
    torch.export.save(
        exported(pipeline, raw), path, extra_files={"data_info.json": json.dumps(pipeline.info)}
    )


def write_onnx(pipeline: Pipeline, raw: Tensor, path: Path) -> None:
    names = {
        "input_names": ["raw"],
        "output_names": ["probabilities" if "classes" in pipeline.info else "values"],
    }
    program = torch.onnx.export(exported(pipeline, raw), (raw,), **names, verbose=False)
    program.model.metadata_props["data_info"] = json.dumps(pipeline.info)
    program.save(path, external_data=False)


def run_torch(path: Path) -> Callable[[Tensor], Tensor]:
    return torch.export.load(path).module()


def run_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda raw: torch.from_numpy(session.run(None, {"raw": raw.numpy()})[0])


def largest_difference(program: Callable[[Tensor], Tensor], raw: Tensor, expected: Tensor) -> float:
    """Between the program's outputs, in batches of the sizes ``BATCHES``, and those expected."""
    given = torch.cat([program(batch) for batch in raw.split(BATCHES)])
    return float((given - expected).abs().max())


WRITERS = {"onnx": write_onnx, "torch_export": write_torch}
RUNNERS = {"onnx": run_onnx, "torch_export": run_torch}
