"""export.py: the exported programs give the model's outputs, and no wrong or partial file is left."""

import json
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import command, error_line

from lightmodels import load
from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.cli import export, train
from lightmodels.cli.train_flags import parse
from lightmodels.inputs.digit_images import Digits


@pytest.fixture
def run(capfd, checkpoints, data_files):
    """Exports the checkpoint of a task to ``model``, with the data files or without."""

    def export(task, format_, *argv, data_dir=data_files):
        files = ["--data_dir", data_dir] if data_dir else []
        options = ["--ckpt", checkpoints[task], "--output", "model", "--format", format_, *files]
        return command(capfd, "export", *options, *argv)

    return export


INPUTS = {  # raw inputs, and the same preprocessed
    "linear": lambda: (torch.tensor([[1.0, 2.0], [3, -4], [0, 0]]),) * 2,
    "ring": lambda: (torch.tensor([[1.0, 2.0], [8, -4], [0, 0]]),) * 2,
    "mnist": lambda: (
        (pixels := torch.randint(256, (3, 28, 28), dtype=torch.uint8)), pixels[:, None].float() / 255
    ),
    "reuters": lambda: (
        (tokens := torch.arange(900).view(3, 300) % 47).masked_fill(tokens == 7, 10**6) - (tokens == 0) * 9,
        tokens.masked_fill((tokens == 7) | (tokens == 0), 2),
    ),
}  # fmt: skip
INPUTS["mnist_mlp"] = INPUTS["mnist"]
INPUTS["housing"] = lambda: (torch.rand(3, 8) * torch.tensor([9, 50, 8, 2, 900, 5, 3, 3]),) * 2
VALUES = ("linear", "housing")  # tasks without classes


def probabilities(task, logits):
    if task in VALUES:
        return logits
    return torch.cat([1 - logits.sigmoid(), logits.sigmoid()], 1) if task == "ring" else logits.softmax(1)


def load_onnx(output):
    """The program, which has this output only, and the description of the data."""
    session = pytest.importorskip("onnxruntime").InferenceSession("model")
    assert [each.name for each in session.get_outputs()] == [output]
    run = lambda raw: torch.from_numpy(session.run(None, {"raw": raw.numpy()})[0])  # noqa: E731
    return run, session.get_modelmeta().custom_metadata_map["data_info"]


def load_torch_export(_):
    extra = {"data_info.json": ""}
    with Path("model").open("rb") as file:
        return torch.export.load(file, extra_files=extra).module(), extra["data_info.json"]


@pytest.mark.parametrize("load_program", [load_onnx, load_torch_export])
@pytest.mark.parametrize("task", INPUTS)
def test_the_program_gives_the_outputs_of_the_model(run, checkpoints, task, load_program):
    """In batches of sizes that the export has not seen."""
    format_ = load_program.__name__.removeprefix("load_")
    ended = run(task, format_)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"model: {format_}, ")
    assert "on 8 test rows, tolerance 1.0e-05" in ended.out or task in VALUES
    assert sorted(path.name for path in Path().iterdir()) == ["model"]
    program, data_info = load_program("values" if task in VALUES else "probabilities")
    model = load(checkpoints[task])
    assert json.loads(data_info) == model.data_info
    torch.manual_seed(0)
    raw, x = INPUTS[task]()
    scale = model.hparams.get("target_scale", 1.0)
    with torch.no_grad():
        expected = probabilities(task, model(x))
        for rows in (slice(0, 3), slice(1, 2), [0, 1, 2] * 20):
            torch.testing.assert_close(program(raw[rows]), expected[rows], rtol=1e-4, atol=1e-5 * scale)


def test_without_data_files_random_rows_are_compared(run):
    ended = run("mnist", "torch_export", data_dir=None)
    assert ended.code == 0, ended.err
    assert "on random rows (no data files found, see --data_dir)" in ended.out


def test_a_small_test_set_is_enough(capfd):
    small = ["--max_epochs", "1", "--data.num_rows", "40", "--data.test_rows", "3"]
    train.main(parse([*small, "--run_dir", "small", "--trainer.figures", "false"]))
    ended = command(capfd, "export", "--ckpt", "small/checkpoints/best.ckpt", "--format", "torch_export")
    assert ended.code == 0
    assert ended.out.startswith("small/checkpoints/best.pt2: torch_export, ")
    assert "on 3 test rows" in ended.out
    assert Path("small/checkpoints/best.pt2").is_file()


@pytest.mark.parametrize("factor", [1.001, torch.nan])
def test_a_program_with_other_outputs_is_not_written(run, monkeypatch, factor):
    Path("model").write_text("older")
    load_program = export.LOADERS["torch_export"]
    wrong = lambda path: lambda raw: load_program(path)(raw) * factor  # noqa: E731
    monkeypatch.setitem(export.LOADERS, "torch_export", wrong)
    told = error_line(run("ring", "torch_export"), 1)
    assert told.startswith("export.py: model: not written, its outputs differ from the model's: largest ")
    assert [(path.name, path.read_text()) for path in Path().iterdir()] == [("model", "older")]


def test_preprocessing_that_is_not_the_data_modules_is_noticed(run, monkeypatch):
    monkeypatch.setattr(Digits, "restore", lambda self, x: (x.squeeze(1) * 200).to(torch.uint8))
    assert run("mnist", "torch_export").code == 1


def test_a_full_disk_leaves_nothing(run, monkeypatch):
    def full(pipeline, raw, path):
        path.write_text("part")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(export.WRITERS, "torch_export", full)
    told = error_line(run("ring", "torch_export"), 1)
    assert told == "export.py: model: cannot be written (No space left on device)"
    assert not list(Path().iterdir())


def test_missing_packages_are_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = "export.py: --format onnx needs onnxruntime: pip install onnxruntime"
    assert error_line(run("ring", "onnx")) == message
    assert run("ring", "torch_export").code == 0


BAD = [
    (["--format", "tflite"], "--format must be one of onnx, torch_export, got 'tflite'"),
    (["--output", "nowhere/model"], "--output nowhere/model: no such directory"),
    (["--output", "."], "--output .: is a directory"),
    (["--output", "old.ckpt", "--ckpt", "old.ckpt"], "--output old.ckpt: is the checkpoint itself"),
    (["--ckpt", "old.ckpt"], "--ckpt old.ckpt: no description of the data (data_info): train again"),
    (["--ckpt", "none.ckpt"], "--ckpt none.ckpt: there is no such checkpoint"),
    (["--data_dir", "nowhere"], "nowhere"),
]


@pytest.mark.parametrize(("argv", "line"), BAD)
def test_wrong_input_gives_one_line(run, checkpoints, argv, line):
    whole = checkpoint_files.load_checkpoint(checkpoints["mnist"])
    checkpoint_files.save_checkpoint(whole | {"data_info": {}}, "old.ckpt")
    told = error_line(run("mnist", "torch_export", *argv))
    assert told.startswith("export.py: ")
    assert line in told
    assert [path.name for path in Path().iterdir()] == ["old.ckpt"]
