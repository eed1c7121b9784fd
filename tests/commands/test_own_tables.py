"""--task table: from a CSV of one's own to a trained model, its report, predictions and an exported program."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.commands import command, error_line, read_json

from lightmodels import MLP, TableDataModule, Trainer, load
from lightmodels.inputs.kinds import inputs_for

ROWS = 80
rng = np.random.default_rng(0)
SIZE, CITY = rng.normal(100, 20, ROWS), rng.choice(["Bonn", "Köln, Süd", "Ulm"], ROWS)
HOUSES = pd.DataFrame(
    {
        "size": np.where(np.arange(ROWS) % 11 == 0, np.nan, SIZE.round(2)),
        "city": np.where(np.arange(ROWS) % 13 == 0, None, CITY),
        "sold": pd.date_range("2023-01-01", periods=ROWS, freq="5D").strftime("%Y-%m-%d"),
        "rooms": rng.integers(1, 9, ROWS),
        "price": (3000 * SIZE + 90_000 * (CITY == "Ulm")).round(),
        "dear": np.where(SIZE > 100, "yes", "no"),
    }
)


@pytest.fixture(autouse=True)
def files():
    """As a German spreadsheet writes it: byte order mark, semicolons, CRLF."""
    HOUSES.to_csv("houses.csv", index=False, sep=";", encoding="utf-8-sig", lineterminator="\r\n")
    HOUSES.drop(columns=["price", "dear"]).head(5).to_csv("new.csv", index=False)


@pytest.fixture
def run(capfd):
    def run(name, *argv, **options):
        flags = [part for key, value in options.items() for part in (f"--data.{key}", value)]
        return command(capfd, name, *argv, *flags)

    return run


TABLE = ("--task", "table", "--max_epochs", 12, "--trainer.figures", "false", "--run_dir", "run")
CKPT = ("--ckpt", "run/checkpoints/best.ckpt")


def exported(raw):
    session = pytest.importorskip("onnxruntime").InferenceSession("run/checkpoints/best.onnx")
    info = session.get_modelmeta().custom_metadata_map["data_info"]
    return torch.from_numpy(session.run(None, {"raw": raw.numpy()})[0]), json.loads(info)


@pytest.mark.parametrize(("target", "ignore"), [("dear", "price"), ("price", "dear")], ids=["classes", "number"])
def test_a_table_is_trained_tested_predicted_and_exported(run, target, ignore):
    trained = run("train", *TABLE, path="houses.csv", target=target, ignore=ignore)
    assert (trained.code, trained.err) == (0, "")
    assert trained.out.startswith("table: MLP, ")
    assert "rows: 51 train, 13 val, 16 test" in trained.out
    metrics = read_json("run/metrics.json")
    assert metrics["report"]["accuracy" if target == "dear" else "r2"] > 0.5

    tested = run("evaluate", *CKPT)
    assert json.loads(tested.out) == {name: metrics[name] for name in metrics if name.startswith("test_")}
    model = load(CKPT[1])
    predicted = [json.loads(line) for line in run("predict", *CKPT, "new.csv", "--json").out.splitlines()]
    assert [each["row"] for each in predicted] == [1, 2, 3, 4, 5]
    expected = model.predict(HOUSES.head(5))
    answers = [each["prediction"] for each in predicted]
    assert answers == (expected.names or pytest.approx(expected.outputs.flatten().tolist()))

    if target == "dear":
        written = run("export", *CKPT, "--format", "onnx")
        assert written.code == 0, written.err
        outputs, info = exported(inputs_for(model.data_info).read(["new.csv"])[1])
        torch.testing.assert_close(outputs, expected.outputs, rtol=1e-5, atol=1e-5)
        assert info == model.data_info


def test_rows_of_several_labels(run):
    """The labels above one half are predicted, be they none."""
    HOUSES.assign(tags=np.where(SIZE > 100, "large;sunny", "sunny"), other=1).to_csv("tags.csv", index=False)
    flags = {"path": "tags.csv", "target": "tags", "separator": ";", "ignore": "price,dear,other,city"}
    trained = run("train", *TABLE, **flags)
    assert (trained.code, trained.err) == (0, "")
    assert read_json("run/metrics.json")["report"]["classes"]["sunny"]["rows"] == 16
    lines = run("predict", *CKPT, "tags.csv", "--json").out.splitlines()
    answers = [json.loads(line)["prediction"] for line in lines]
    assert answers == load(CKPT[1]).predict(["tags.csv"]).names
    assert ["sunny"] in answers
    table = run("predict", *CKPT, "tags.csv").out.splitlines()
    assert table[1 + answers.index(["sunny"])].split("  ")[1].strip() == "sunny"
    assert {"large, sunny", "sunny"} >= {line[len("tags.csv row 80  ") :].split("  ")[0] for line in table[1:]}


def test_evaluate_says_how_to_test_what_was_trained_on_data_in_memory(run):
    data = TableDataModule(HOUSES, "dear")
    for number, options in enumerate(({"datamodule": data}, {"train_data": data.splits.train})):
        model = MLP(**data.sizes)
        Trainer(gpus=0, max_epochs=1, run_dir=f"{number}", logger=False).fit(model, **options)
        line = error_line(run("evaluate", "--ckpt", f"{number}/checkpoints/best.ckpt"))
        assert "in Python, test it by Trainer().test(lightmodels.load(FILE), datamodule=data)" in line
        assert ("its data was a DataFrame, which a checkpoint does not hold: train on a file, or" in line) != number


def test_a_resumed_run_reads_the_same_table(run):
    options = {"path": "houses.csv", "target": "dear", "class_weights": "balanced", "categories": "rooms"}
    whole = run("train", *TABLE, **options)
    assert whole.code == 0, whole.err
    saved = load("run/checkpoints/last.ckpt")
    again = run("train", "--config", "run/config.yaml", "--run_dir", "again")
    assert again.code == 0, again.err
    repeated = load("again/checkpoints/last.ckpt")
    assert all(torch.equal(value, repeated.state_dict()[name]) for name, value in saved.state_dict().items())
    more = run("train", "--task", "table", "--resume", "run/checkpoints/last.ckpt", "--max_epochs", 13)
    assert (more.code, more.err) == (0, "")


BAD = {
    "no path": ({}, "--data.path, --data.target must be given"),
    "no target": ({"path": "houses.csv"}, "--data.target must be given"),
    "no file": ({"path": "flats.csv", "target": "dear"}, "flats.csv cannot be read: No such file or directory"),
    "no column": (
        {"path": "houses.csv", "target": "colour"},
        "houses.csv has no column 'colour' (target); it has 'size', 'city', 'sold', 'rooms', 'price', 'dear'",
    ),
    "no class": (
        {"path": "houses.csv", "target": "city"},
        "houses.csv row 1, column 'city': the target is missing (in 7 of 80 rows); remove the rows, or fill it in",
    ),
    "kind": ({"path": "houses.csv", "target": "dear", "kind": "text"}, "--data.kind must be one of"),
    "weights": (
        {"path": "houses.csv", "target": "price", "class_weights": "balanced"},
        "--data.class_weights balanced is for classes, but the target is a number",
    ),
    "fraction": (
        {"path": "houses.csv", "target": "price", "test_fraction": 0.001},
        "--data.test_fraction must leave rows for both parts, got 0.001 of 80 rows",
    ),
}


@pytest.mark.parametrize(("options", "line"), BAD.values(), ids=BAD)
def test_bad_tables_end_with_one_line(run, options, line):
    assert error_line(run("train", *TABLE, **options)).startswith(f"train.py: {line}")
    assert not Path("run").exists()
