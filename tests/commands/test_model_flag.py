"""--model: another model for the data of a task, through all commands."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from helpers.commands import command, error_line, read_json, use_tiny_files

from lightmodels import ImageCNN, load

RUN = ("--task", "mnist", "--model", "ImageCNN", "--model.width", 8, "--trainer.figures", "false")


@pytest.fixture
def files(tmp_path, monkeypatch):
    use_tiny_files(monkeypatch, tmp_path / "files")
    return tmp_path / "files"


def test_another_model_is_trained_resumed_evaluated_and_predicts(capfd, files):
    data = ("--data_dir", files, "--data.augment", "true")
    trained = command(capfd, "train", *RUN, *data, "--max_epochs", 2, "--run_dir", "whole")
    assert (trained.code, trained.err) == (0, "")
    assert trained.out.startswith("mnist: ImageCNN, ")
    config = yaml.safe_load(Path("whole/config.yaml").read_text())
    assert (config["model_class"], config["model"]["width"]) == ("ImageCNN", 8)

    assert command(capfd, "train", *RUN, *data, "--max_epochs", 1).code == 0
    resumed = command(capfd, "train", "--task", "mnist", "--resume", "last", "--max_epochs", 2)
    assert (resumed.code, resumed.err) == (0, "")
    whole, parts = (load(run / "checkpoints/last.ckpt") for run in (Path("whole"), Path("runs/mnist/1")))
    assert isinstance(parts, ImageCNN)
    assert len(parts.history) == 2

    best = "whole/checkpoints/best.ckpt"
    tested = json.loads(command(capfd, "evaluate", "--ckpt", best).out)
    metrics = read_json("whole/metrics.json")
    assert tested == {name: metrics[name] for name in metrics if name.startswith("test_")}
    repeated = command(capfd, "train", "--config", "whole/config.yaml", "--run_dir", "again", "--quiet")
    assert repeated.code == 0
    again = load("again/checkpoints/last.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_defaults_and_help_are_those_of_the_model(capfd):
    shown = yaml.safe_load(command(capfd, "train", "--task", "reuters", "--model=TextCNN", "--print_config").out)
    assert shown["model_class"] == "TextCNN"
    assert set(shown["model"]) >= {"filters", "embedding"}
    usual = yaml.safe_load(command(capfd, "train", "--task", "reuters", "--print_config").out)
    assert usual["model_class"] == "ReutersConv1D"
    assert "model_class" not in yaml.safe_load(command(capfd, "train", "--print_config").out)  # ring has one model
    page = command(capfd, "train", "--task", "reuters", "--model", "TextCNN", "--help").out
    assert "--model {ReutersConv1D,TextCNN}" in page
    assert "--model.filters" in page
    assert "--model {" not in command(capfd, "train", "--help").out


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--model", "TextCNN"], "--model must be one of MNISTCNN, ImageCNN for --task mnist, got TextCNN"),
        (["--model=ImageCNN", "--model.width", "12"], "--model.width must be a multiple of 8, got 12"),
        (["--model.width", "16"], "unknown flag --model.width; there are --model."),
    ],
    ids=["other task's", "value", "other model's"],
)
def test_bad_models_have_one_line(capfd, flags, line):
    assert error_line(command(capfd, "train", "--task", "mnist", *flags)).startswith(f"train.py: {line}")


def test_a_model_predicts_from_python_what_the_command_prints(capfd, runs, checkpoints):
    """Texts, rows of a table, and images by their paths."""
    for task, given in (("ring", [[0.0, 5.0], [10.0, 0.5]]), ("reuters", ["word5 word6", "word7"])):
        predictions = load(checkpoints[task]).predict(given)
        Path("rows.csv").write_text("0,5\n10,0.5\n")
        inputs = ["rows.csv"] if task == "ring" else given
        printed = command(capfd, "predict", "--ckpt", checkpoints[task], "--json", *inputs).out.splitlines()
        assert predictions.names == [json.loads(line)["prediction"] for line in printed]
        best = predictions.outputs.max(1).values.tolist()
        assert best == pytest.approx([json.loads(line)["probability"] for line in printed])
