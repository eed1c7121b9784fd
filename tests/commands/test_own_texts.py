"""--task texts: from a file of texts to a trained, tested and exported model, and to predictions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.commands import command, error_line, read_json

from lightmodels import load

SMALL = ("--task", "texts", "--trainer.figures", "false", "--gpus", 0, "--data.path", "reviews.csv")
COLUMNS = ("--data.text", "review", "--data.target", "stars")
WORDS = {1: "dreadful boring waste", 3: "average plain fine", 5: "wonderful superb joy"}


@pytest.fixture
def reviews():
    """Sixty reviews with three kinds of stars, of which the words tell."""
    random, rows = np.random.default_rng(0), []
    for number in range(60):
        stars = (1, 3, 5)[number % 3]
        words = [*random.choice(WORDS[stars].split(), 3), *random.choice(["the", "film;", 'was\n"it"', "I"], 4)]
        rows.append((" ".join(random.permutation(words)) + f" {number}", stars))
    pd.DataFrame(rows, columns=["review", "stars"]).to_csv("reviews.csv", index=False, sep=";", lineterminator="\r\n")


@pytest.mark.usefixtures("reviews")
@pytest.mark.parametrize("model", ["TextCNN", "TextResNet", "TextSeparableCNN", "ReutersConv1D"])
def test_reviews_are_trained_tested_predicted_and_exported(capfd, model):
    sizes = {"TextCNN": ("--model.filters", 8, "--model.embedding", 8)}.get(model, ())
    weights = ("--data.class_weights", "balanced", "--data.batch_size", 8)
    run = command(capfd, "train", *SMALL, *COLUMNS, "--model", model, *sizes, *weights, "--max_epochs", 2,
                  "--run_dir", "run")  # fmt: skip
    assert (run.code, run.err) == (0, "")
    assert run.out.startswith(f"texts: {model}, ")
    assert "rows: 43 train, 5 val, 12 test" in run.out
    metrics, best = read_json("run/metrics.json"), "run/checkpoints/best.ckpt"
    assert list(metrics["report"]["classes"]) == ["1", "3", "5"]
    tested = json.loads(command(capfd, "evaluate", "--ckpt", best).out)
    assert tested == {name: metrics[name] for name in metrics if name.startswith("test_")}

    Path("new.csv").write_text("id,review\n1,A superb joy!\n2,boring\n")
    Path("one.txt").write_text("a superb joy")
    predicted = command(capfd, "predict", "--ckpt", best, "--json", "new.csv", "one.txt", "A SUPERB joy")
    assert (predicted.code, predicted.err) == (0, "")
    lines = [json.loads(line) for line in predicted.out.splitlines()]
    assert [line.get("row") for line in lines] == [1, 2, None, None]
    outputs = load(best).predict(["a superb joy", "boring"])
    assert outputs.names == [line["prediction"] for line in lines[:2]]
    expected = outputs.outputs.max(1).values[[0, 1, 0, 0]].tolist()
    assert [line["probability"] for line in lines] == pytest.approx(expected, abs=1e-6)

    if model == "TextCNN":
        check_export(capfd, best)


def check_export(capfd, best):
    exported = command(capfd, "export", "--ckpt", best, "--format", "onnx")
    assert (exported.code, exported.err) == (0, "")
    assert "on 8 test rows" in exported.out
    session = pytest.importorskip("onnxruntime").InferenceSession("run/checkpoints/best.onnx")
    info = json.loads(session.get_modelmeta().custom_metadata_map["data_info"])
    assert (info["classes"], info["text"], info["lower"]) == (["1", "3", "5"], "review", True)
    raw = torch.randint(0, 99, (3, info["max_length"]))
    (program,) = session.run(None, {"raw": raw.numpy()})
    known = torch.where(raw < info["num_words"], raw, 2)
    assert program == pytest.approx(load(best)(known).softmax(1).detach().numpy(), abs=1e-5)


@pytest.mark.usefixtures("reviews")
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ((), "train.py: reviews.csv has no column 'text' (text); it has 'review', 'stars'"),
        (("--data.text", "review"), "reviews.csv has no column 'label' (target); it has 'review', 'stars'"),
        ((*COLUMNS, "--data.max_words", 0), "--data.max_words must be at least 1, got 0"),
        ((*COLUMNS, "--data.max_length", 2), "--model.length must be at least 3, got 2"),
        ((*COLUMNS, "--data.class_weights", "equal"), "--data.class_weights must be one of"),
        (
            (*COLUMNS, "--data.split", "stars"),
            "reviews.csv row 1, column 'stars': a split is train, val or test, got '1'",
        ),
    ],
    ids=["text", "target", "max_words", "max_length", "class_weights", "split"],
)
def test_wrong_flags_give_one_line(capfd, flags, line):
    assert line in error_line(command(capfd, "train", *SMALL, *flags))
    assert not Path("runs").exists()


def test_the_path_is_required(capfd):
    assert "--data.path" in error_line(command(capfd, "train", "--task", "texts"))
