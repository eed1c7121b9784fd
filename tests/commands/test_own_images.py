"""--task images: from a folder of pictures to a trained, tested and exported model, and to predictions of files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import command, error_line, read_json
from PIL import Image

from lightmodels import load

SMALL = ("--task", "images", "--model.width", 8, "--model.blocks", 2, "--trainer.figures", "false", "--gpus", 0)


def photo(path, bright, random, size=(20, 16)):
    """Bright on the left or on the right, in color, of any size."""
    pixels = random.integers(0, 90, (*size[::-1], 3))
    half = pixels[:, : size[0] // 2] if bright == "left" else pixels[:, size[0] // 2 :]
    half += 150
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def photos():
    random = np.random.default_rng(0)
    for number in range(40):
        side, suffix = ("left", "png") if number % 2 else ("right", "jpg")
        photo(f"photos/{side}/{number}.{suffix}", side, random, random.integers(16, 24, 2))
    for side in ("left", "right"):
        photo(f"new/{side}.jpg", side, random)
    return "photos"


def load_onnx(path):
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    assert json.loads(session.get_modelmeta().custom_metadata_map["data_info"])["classes"] == ["left", "right"]
    return lambda raw: torch.from_numpy(session.run(None, {"raw": raw.numpy()})[0])


def load_torch_export(path):
    with path.open("rb") as file:
        return torch.export.load(file).module()


@pytest.mark.parametrize(
    ("limit", "load_program"), [(4.0, load_onnx), (1e-9, load_torch_export)], ids=["in memory", "by workers"]
)
def test_a_folder_of_pictures_is_trained_tested_predicted_and_exported(capfd, photos, limit, load_program):
    data = ("--data.path", photos, "--data.max_memory_gb", limit, "--data.num_workers", 1, "--data.augment", "shift")
    data += ("--data.class_weights", "balanced", "--data.batch_size", 8)
    run = command(capfd, "train", *SMALL, *data, "--max_epochs", 4, "--run_dir", "whole")
    assert (run.code, run.err) == (0, "")
    assert run.out.startswith("images: ImageCNN, ")
    assert "rows: 29 train, 3 val, 8 test" in run.out
    metrics, best = read_json("whole/metrics.json"), "whole/checkpoints/best.ckpt"
    assert set(metrics["report"]["classes"]) == {"left", "right"}

    tested = json.loads(command(capfd, "evaluate", "--ckpt", best).out)
    assert tested == {name: metrics[name] for name in metrics if name.startswith("test_")}

    predicted = command(capfd, "predict", "--ckpt", best, "--json", "new/left.jpg", "new/right.jpg")
    assert (predicted.code, predicted.err) == (0, "")
    lines = [json.loads(line) for line in predicted.out.splitlines()]
    assert [line["input"] for line in lines] == ["new/left.jpg", "new/right.jpg"]
    in_python = load(best).predict([Path("new/left.jpg"), Path("new/right.jpg")])
    assert in_python.names == [line["prediction"] for line in lines]
    assert in_python.outputs.max(1).values.tolist() == pytest.approx([line["probability"] for line in lines], abs=1e-6)

    format_ = load_program.__name__.removeprefix("load_")
    exported = command(capfd, "export", "--ckpt", best, "--format", format_, "--output", "program")
    assert (exported.code, exported.err) == (0, "")
    assert "on 8 test rows" in exported.out
    model = load(best)
    raw = torch.randint(256, (3, *model.data_info["input_shape"]), dtype=torch.uint8)
    torch.testing.assert_close(load_program(Path("program"))(raw), model(raw).softmax(1), atol=1e-5, rtol=1e-4)


def test_the_task_learns_with_its_defaults(capfd, photos):
    run = command(capfd, "train", "--task", "images", "--data.path", photos, "--data.batch_size", 8, "--gpus", 0)
    assert (run.code, run.err) == (0, "")
    metrics = read_json("runs/images/1/metrics.json")
    assert metrics["test_acc"] == metrics["report"]["accuracy"] == 1.0
    predicted = command(
        capfd, "predict", "--ckpt", "runs/images/1/checkpoints/best.ckpt", "new/left.jpg", "new/right.jpg"
    )
    assert [line.split()[1] for line in predicted.out.splitlines()[1:]] == ["left", "right"]


def test_a_backbone_from_a_file_is_trained_and_its_checkpoint_does_without(capfd, photos):
    from torchvision import models

    torch.save(models.shufflenet_v2_x0_5(weights=None).state_dict(), "weights.pth")
    model = ("--model.backbone", "shufflenet_v2_x0_5", "--model.weights", "weights.pth", "--model.freeze", "true")
    flags = (*SMALL, *model, "--data.path", photos, "--data.size", 32, "--max_epochs", 1, "--run_dir", "run")
    trained = command(capfd, "train", *flags)
    assert (trained.code, trained.err) == (0, "")
    Path("weights.pth").unlink()
    metrics = read_json("run/metrics.json")
    tested = json.loads(command(capfd, "evaluate", "--ckpt", "run/checkpoints/best.ckpt").out)
    assert tested["test_loss"] == metrics["test_loss"]
    line = error_line(command(capfd, "train", *flags, "--run_dir", "again"))
    assert line == "train.py: --model.weights weights.pth cannot be read: No such file or directory"


def bad_picture(content):
    Path("new/bad.png").write_bytes(content)
    return "new/bad.png"


def test_wrong_input_has_one_line(capfd, photos):
    flags = (*SMALL, "--data.path", photos, "--max_epochs", 1, "--run_dir", "run")
    assert command(capfd, "train", *flags).code == 0
    predict = ("predict", "--ckpt", "run/checkpoints/best.ckpt", "new/left.jpg")
    cut = Path("new/right.jpg").read_bytes()[:300]
    for path, line in (
        ("new/none.png", "new/none.png cannot be read: No such file or directory"),
        (bad_picture(cut), "new/bad.png is not an image that can be read ("),
        ("new", "new cannot be read: Is a directory"),
    ):
        assert error_line(command(capfd, *predict, path)).startswith(f"predict.py: {line}")
    for name in ("a/1", "a/2", "b/3", "b/4"):
        photo(f"pairs/{name}.png", "left", np.random.default_rng(0))
    for options, line in (
        (["--data.path", "nowhere"], "nowhere: no such folder or table"),
        (["--data.path", "photos/left"], "photos/left has no folder per class, such as "),
        (["--data.path", "photos", "--data.augment", "turn"], "--data.augment must be none, flip, shift, both"),
        (["--data.path", "photos", "--data.color", "blue"], "--data.color must be one of "),
        (["--data.path", "pairs"], "--data.val_fraction must leave rows for both parts, got 0.1 of 2 rows"),
        (["--data.path", "photos", "--model.channels", 5], "--model.channels 5 does not fit the data, which has 3"),
        (["--data.path", "photos", "--model.backbone", "resnet"], "--model.backbone must be a classifier in "),
        ([], "--data.path must be given"),
    ):
        ended = command(capfd, "train", "--task", "images", "--run_dir", "new_run", *options)
        assert error_line(ended).startswith(f"train.py: {line}"), options
        assert not Path("new_run").exists()
