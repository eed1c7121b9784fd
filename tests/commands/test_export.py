"""export.py: what other programs make of the files, and that none is left that is wrong."""

import json
import sys
from pathlib import Path

import pytest
import torch
from helpers.commands import command
from helpers.tiny_files import accepted, write_mnist, write_reuters

from datamodules.mnist import MNISTDataModule
from datamodules.reuters import ReutersDataModule
from lightmodels import load
from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.cli import export, train

SMALL = ["--max_epochs", "1", "--data.num_rows", "400", "--data.test_rows", "100"]
TASKS = ("linear", "ring", "mnist", "reuters")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A directory with a run of each task and, below ``files``, the data files."""
    root = tmp_path_factory.mktemp("trained")
    write_mnist(root / "files")
    write_reuters(root / "files")
    with pytest.MonkeyPatch.context() as patch:
        for module in (MNISTDataModule, ReutersDataModule):
            patch.setattr(module, "files", accepted(module.files, root / "files"))
        for task in TASKS:
            small = SMALL if task in ("linear", "ring") else SMALL[:2]
            data = ["--data_dir", str(root / "files"), "--run_dir", str(root / task)]
            train.main(["--task", task, *small, *data])
        yield root


@pytest.fixture
def run(capfd, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda task, *argv: command(
        capfd, "export", "--ckpt", root / task / "checkpoints/best.ckpt", "--output", "model", *argv
    )


RAW = {  # inputs as the world has them, and the same as the model wants them
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


def probabilities(task, logits):
    if task == "linear":
        return logits
    return torch.cat([1 - logits.sigmoid(), logits.sigmoid()], 1) if task == "ring" else logits.softmax(1)


@pytest.mark.parametrize("task", TASKS)
def test_onnx_runtime_gives_what_the_model_gives(run, root, task):
    onnxruntime = pytest.importorskip("onnxruntime")
    ended = run(task, "--format", "onnx")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("model: onnx, ")
    assert "on 8 test rows, tolerance 1.0e-05" in ended.out or task == "linear"
    assert sorted(path.name for path in Path().iterdir()) == ["model"]
    session = onnxruntime.InferenceSession("model")
    (output,) = session.get_outputs()
    assert output.name == ("values" if task == "linear" else "probabilities")
    check(task, root, lambda raw: torch.from_numpy(session.run(None, {"raw": raw.numpy()})[0]))
    carried = json.loads(session.get_modelmeta().custom_metadata_map["data_info"])
    assert carried == load(root / task / "checkpoints/best.ckpt").data_info


@pytest.mark.parametrize("task", ["mnist", "reuters"])
def test_torch_export_gives_what_the_model_gives(run, root, task):
    ended = run(task, "--format", "torch_export")
    assert (ended.code, ended.err) == (0, "")
    extra = {"data_info.json": ""}
    program = torch.export.load("model", extra_files=extra).module()
    check(task, root, program)
    assert json.loads(extra["data_info.json"])["kind"] == {"mnist": "image", "reuters": "text"}[task]


def check(task, root, program):
    """In batches of sizes that the export has not seen."""
    torch.manual_seed(0)
    raw, x = RAW[task]()
    with torch.no_grad():
        expected = probabilities(task, load(root / task / "checkpoints/best.ckpt")(x))
        for rows in (slice(0, 3), slice(1, 2), [0, 1, 2] * 20):
            torch.testing.assert_close(program(raw[rows]), expected[rows], rtol=1e-4, atol=1e-5)


def test_without_data_files_made_rows_are_compared(run, monkeypatch, root):
    monkeypatch.setattr("lightmodels.data.remote_files.RemoteFile.find", lambda *_: None)
    ended = run("mnist", "--format", "torch_export")
    assert ended.code == 0
    assert "on made rows (no data files are here: --data_dir)" in ended.out
    ended = run("mnist", "--format", "torch_export", "--data_dir", "nowhere")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "nowhere" in ended.err


def test_a_small_test_set_is_enough(run, root, capfd, tmp_path):
    train.main(["--max_epochs", "1", "--data.num_rows", "40", "--data.test_rows", "3", "--run_dir", "small"])
    ended = command(capfd, "export", "--ckpt", "small/checkpoints/best.ckpt", "--format", "torch_export")
    assert ended.code == 0
    assert "on 3 test rows" in ended.out


def test_a_program_that_differs_is_not_written(run, monkeypatch):
    Path("model").write_text("older")
    honest = export.RUNNERS["torch_export"]
    monkeypatch.setitem(export.RUNNERS, "torch_export", lambda path: lambda raw: honest(path)(raw) * 1.001)
    ended = run("ring", "--format", "torch_export")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("export.py: model: not written, as its outputs are not the model's: largest ")
    assert [(path.name, path.read_text()) for path in Path().iterdir()] == [("model", "older")]


def test_a_program_that_gives_nan_is_not_written(run, monkeypatch):
    monkeypatch.setitem(
        export.RUNNERS, "torch_export", lambda path: lambda raw: torch.full((len(raw), 2), torch.nan)
    )
    assert run("ring", "--format", "torch_export").code == 1
    assert not list(Path().iterdir())


def test_preparation_that_is_not_the_data_s_is_noticed(run, monkeypatch):
    monkeypatch.setattr(export, "raw_rows", lambda x, info: (x.squeeze(1) * 200).to(torch.uint8))
    assert run("mnist", "--format", "torch_export").code == 1


def test_a_full_disk_leaves_nothing(run, monkeypatch):
    def full(pipeline, raw, path):
        path.write_text("part")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(export.WRITERS, "torch_export", full)
    ended = run("ring", "--format", "torch_export")
    assert (ended.code, ended.err) == (1, "export.py: model: cannot be written (No space left on device)\n")
    assert not list(Path().iterdir())


def test_what_is_not_installed_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    ended = run("ring", "--format", "onnx")
    assert (ended.code, len(ended.err.splitlines())) == (2, 1)
    assert "--format onnx needs onnxruntime: pip install --editable '.[export]'" in ended.err
    assert run("ring", "--format", "torch_export").code == 0


BAD = [
    (["--format", "tflite"], "--format: invalid choice: 'tflite'"),
    (["--output", "nowhere/model"], "--output nowhere/model: no such directory"),
    (["--output", "."], "--output .: is a directory"),
    (["--output", "old.ckpt", "--ckpt", "old.ckpt"], "--output old.ckpt: is the checkpoint itself"),
    (["--ckpt", "old.ckpt"], "--ckpt old.ckpt: it does not tell of its data (no data_info): train again"),
    (["--ckpt", "none.ckpt"], "--ckpt none.ckpt: there is no such checkpoint"),
]


@pytest.mark.parametrize(("argv", "line"), BAD)
def test_wrong_input_gives_one_line(run, root, argv, line):
    whole = checkpoint_files.load_checkpoint(root / "ring/checkpoints/best.ckpt")
    checkpoint_files.save_checkpoint(whole | {"data_info": {}}, "old.ckpt")
    ended = run("ring", "--format", "torch_export", *argv)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("export.py: ")
    assert line in ended.err
    assert len(ended.err.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["old.ckpt"]


def test_the_file_s_default_place_is_beside_the_checkpoint(capfd, root):
    ended = command(
        capfd, "export", "--ckpt", root / "ring/checkpoints/best.ckpt", "--format", "torch_export"
    )
    assert ended.code == 0
    assert (root / "ring/checkpoints/best.pt2").is_file()
