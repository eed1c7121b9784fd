"""predict.py: predictions from a checkpoint alone, and one line for each kind of invalid input."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import command, error_line
from PIL import Image

from datamodules.reuters import ReutersDataModule
from lightmodels import RingDNN, load
from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.inputs.digit_images import read_digit


@pytest.fixture
def predict(capfd, checkpoints):
    return lambda task, *argv: command(capfd, "predict", "--ckpt", checkpoints.get(task, task), *argv)


def outputs(checkpoints, task, x):
    with torch.no_grad():
        return load(checkpoints[task])(x)


BAR = np.pad(np.full((40, 10), 255, dtype=np.uint8), ((10, 10), (15, 15)))  # white on black


def picture(path, pixels=BAR):
    Image.fromarray(pixels).save(path)


def lines(ended):
    assert (ended.code, ended.err) == (0, "")
    return [json.loads(line) for line in ended.out.splitlines()]


def test_rows_of_a_table_are_classified_as_by_the_model(predict, checkpoints):
    Path("with.csv").write_text("x2,x1\n5,0\n\n0.5,1e1\n")
    Path("without.csv").write_text("\ufeff0,5\r\n10,0.5\r\n")
    got = lines(predict("ring", "with.csv", "without.csv", "--json"))
    assert [(each["input"], each["row"]) for each in got] == [
        ("with.csv", 1), ("with.csv", 2), ("without.csv", 1), ("without.csv", 2)
    ]  # fmt: skip
    logits = outputs(checkpoints, "ring", torch.tensor([[0.0, 5.0], [10.0, 0.5]]))
    inner = [1 / (1 + math.exp(-logit)) for logit in logits.flatten().tolist()]
    for each, probability in zip(got, inner * 2, strict=True):
        assert {part["class"]: part["probability"] for part in each["top"]} == pytest.approx(
            {"inner ring": probability, "outer ring": 1 - probability}, abs=1e-6
        )
        assert each["prediction"] == ("inner ring" if probability > 0.5 else "outer ring")
        assert each["probability"] == max(part["probability"] for part in each["top"])


def test_house_values_from_the_columns_of_the_file_or_from_features(predict, checkpoints):
    """Columns by their order or by name, in any order; features by name."""
    Path("raw.csv").write_text("-122.23,37.88,41,880,129,322,126,8.3252\n")
    names = "households,population,total_bedrooms,total_rooms,housing_median_age,latitude,longitude,median_income"
    Path("named.csv").write_text(f"{names}\n126,322,129,880,41,37.88,-122.23,8.3252\n")
    features = [8.3252, 41, 880 / 126, 129 / 126, 322, 322 / 126, 37.88, -122.23]
    header = ",".join(load(checkpoints["housing"]).data_info["features"])
    Path("features.csv").write_text(f"{header}\n{','.join(map(str, features))}\n")
    got = lines(predict("housing", "raw.csv", "named.csv", "features.csv", "--json"))
    (expected,) = outputs(checkpoints, "housing", torch.tensor([features]))[0].tolist()
    assert [each["prediction"] for each in got] == pytest.approx([expected] * 3, rel=1e-5)


def test_a_regression_predicts_values(predict, checkpoints):
    Path("rows.csv").write_text("1,2\n3,4\n")
    got = lines(predict("linear", "rows.csv", "--json"))
    expected = outputs(checkpoints, "linear", torch.tensor([[1.0, 2.0], [3.0, 4.0]])).flatten().tolist()
    assert [each["prediction"] for each in got] == pytest.approx(expected)
    assert got[0].keys() == {"input", "row", "prediction"}
    table = predict("linear", "rows.csv").out.splitlines()
    assert table[0].split() == ["input", "prediction"]
    assert table[1] == f"rows.csv row 1  {expected[0]:.4f}"


def test_images(predict, checkpoints):
    picture("bar.png")
    picture("wide bar.png", np.eye(50, dtype=np.uint8)[::-1] * 255)
    got = lines(predict("mnist", "bar.png", "wide bar.png", "--json", "--top", 5))
    images = torch.stack([read_digit("bar.png"), read_digit("wide bar.png")])
    expected = outputs(checkpoints, "mnist", images[:, None].float() / 255).softmax(dim=1)
    for each, row in zip(got, expected, strict=True):
        assert each["prediction"] == str(row.argmax().item())
        assert [part["probability"] for part in each["top"]] == pytest.approx(
            row.sort(descending=True).values[:5].tolist(), abs=1e-6
        )
    header, *rows = predict("mnist", "bar.png", "wide bar.png", "--top", 2).out.splitlines()
    assert header.split() == ["input", "prediction", "probability", "next", "best"]
    assert [row.split("  ")[0] for row in rows] == ["bar.png", "wide bar.png"]
    column = header.index("probability")
    assert all(row[column - 1] == " " and row[column] in "01" for row in rows)


def test_texts_as_arguments_and_in_files(predict, checkpoints):
    Path("news.txt").write_text("Word5, word51!\n", encoding="utf-8")
    got = lines(predict("reuters", "news.txt", "word5 WORD51 nonsense", "word5", "--json"))
    assert [each["input"] for each in got] == ["news.txt", "word5 WORD51 nonsense", "word5"]
    row = torch.zeros(1, 300, dtype=torch.long)
    row[0, -3:] = torch.tensor([1, 8, 54])
    expected = outputs(checkpoints, "reuters", row).softmax(dim=1)[0]
    assert got[0]["probability"] == pytest.approx(expected.max().item(), abs=1e-6)
    assert got[0]["prediction"] == ReutersDataModule.topics[expected.argmax()]
    assert len(got[0]["top"]) == 3
    _, line = predict("reuters", "word5\nword6 " * 300).out.splitlines()
    assert len(line) < 140


def test_many_inputs_go_through_the_model_in_a_few_batches(predict, monkeypatch):
    sizes, forward = [], RingDNN.forward
    monkeypatch.setattr(RingDNN, "forward", lambda self, x: (sizes.append(len(x)), forward(self, x))[1])
    Path("rows.csv").write_text("1,2\n" * 300)
    assert len(lines(predict("ring", "rows.csv", "rows.csv", "--json"))) == 600
    assert sizes == [256, 256, 88]


BAD = [
    ("mnist", ["none.png"], "none.png cannot be read: No such file or directory"),
    ("mnist", ["."], ". cannot be read: Is a directory"),
    ("mnist", ["text.txt"], "text.txt is not an image"),
    ("mnist", ["good.png", "even.png"], "even.png shows no digit: nothing stands out from its border"),
    ("mnist", ["cut.png"], "cut.png is not an image that can be read ("),
    ("reuters", ["none.txt"], "none.txt cannot be read: No such file or directory"),
    ("reuters", ["here/news"], "here/news cannot be read: No such file or directory"),
    ("reuters", ["good.png"], "good.png is not UTF-8 text"),
    ("reuters", ["..."], "'...' holds no word"),
    ("reuters", ["word5", "empty.txt"], "empty.txt holds no word"),
    ("reuters", ["entirely foreign"], "'entirely foreign' holds no word of the vocabulary of "),
    ("ring", ["header.csv"], "header.csv has no rows of numbers"),
    ("ring", ["good.csv", "wide.csv"], "wide.csv row 2 (line 3) has 3 columns, not 2: x1, x2"),
    ("ring", ["word.csv"], "word.csv row 1 (line 3): 'b' is not a number"),
    ("ring", ["mixed.csv"], "mixed.csv row 1 (line 1): 'x2' is not a number"),
    ("ring", ["nan.csv"], "nan.csv row 2 (line 2): nan is not a finite number"),
    ("ring", ["huge.csv"], "huge.csv row 1 (line 1): 1e39 is too large"),
    ("linear", ["overflow.csv"], "overflow.csv row 1: the prediction is not a finite number"),
    ("ring", ["good.csv", "--top", "0"], "--top must be at least 1, got 0"),
    ("housing", ["good.csv"], "good.csv row 1 (line 1) has 2 columns, not 8: longitude, latitude, housing_median_age"),
    ("housing", ["empty_houses.csv"], "empty_houses.csv row 1: a feature is not a finite number, as its divisor is 0"),
    ("ring", [], "INPUT must be given"),
    ("none.ckpt", ["good.csv"], "--ckpt none.ckpt: there is no such checkpoint"),
    ("empty.txt", ["good.csv"], "--ckpt empty.txt: the checkpoint is damaged ("),
    ("old.ckpt", ["good.csv"], "--ckpt old.ckpt: no description of the data (data_info): train again"),
    ("odd.ckpt", ["good.csv"], "--ckpt odd.ckpt: unsupported description of the data (data_info)"),
    ("list.ckpt", ["good.csv"], "--ckpt list.ckpt: unsupported description of the data (data_info)"),
    ("ranks.ckpt", ["word5"], "--ckpt ranks.ckpt: unsupported description of the data (data_info)"),
    ("shape.ckpt", ["good.png"], "--ckpt shape.ckpt: unsupported description of the data (data_info)"),
    ("formula.ckpt", ["good.csv"], "--ckpt formula.ckpt: unsupported description of the data (data_info)"),
    ("foreign.ckpt", ["good.csv"], "--ckpt foreign.ckpt: not a checkpoint of a task (linear, ring, mnist, reuters"),
    ("one.ckpt", ["one.csv"], "--ckpt one.ckpt: its data_info does not fit its model ("),
    ("classes.ckpt", ["good.csv"], "--ckpt classes.ckpt: its model has 2 classes, its data_info 3"),
    ("misfit.ckpt", ["good.csv"], "misfit.ckpt is a checkpoint of LinearRegression, its weights do not fit"),
]


@pytest.fixture
def files(checkpoints):
    """The files that the table above names."""
    picture("good.png")
    picture("even.png", np.full((30, 30), 200, dtype=np.uint8))
    Path("cut.png").write_bytes(Path("good.png").read_bytes()[:70])
    texts = {
        "text.txt": "foreign tongue", "empty.txt": "", "header.csv": "x1,x2\n", "good.csv": "1,2\n",
        "wide.csv": "a,b\n1,2\n1,2,3\n", "word.csv": "x1,x2\n\n1,b\n",
        "mixed.csv": "1,x2\n", "nan.csv": "1,2\n1,nan\n", "huge.csv": "1e39,0\n",
        "overflow.csv": "3e38,-3e38\n", "one.csv": "1\n", "empty_houses.csv": "-122,37,41,880,129,322,0,8\n",
    }  # fmt: skip
    for name, text in texts.items():
        Path(name).write_text(text)
    saved = {task: checkpoint_files.load_checkpoint(path) for task, path in checkpoints.items()}
    info = {task: checkpoint["data_info"] for task, checkpoint in saved.items()}
    changes = {
        "old": {"data_info": {}},
        "odd": {"data_info": {"kind": "sound"}},
        "list": {"data_info": ["x1"]},
        "ranks": saved["reuters"] | {"data_info": info["reuters"] | {"word_index": {"word5": "5"}}},
        "shape": saved["mnist"] | {"data_info": info["mnist"] | {"input_shape": [3, 32, 32]}},
        "foreign": {"model_class": "os.system"},
        "one": {"data_info": info["ring"] | {"features": ["x1"]}},
        "classes": {"data_info": info["ring"] | {"classes": ["a", "b", "c"]}},
        "formula": saved["housing"] | {"data_info": info["housing"] | {"formulas": [["os", "system"]] * 8}},
        "misfit": saved["linear"] | {"state_dict": saved["ring"]["state_dict"]},
    }
    for name, changed in changes.items():
        checkpoint_files.save_checkpoint(saved["ring"] | changed, f"{name}.ckpt")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("task", "argv", "line"), BAD)
def test_wrong_input_gives_one_line(predict, task, argv, line):
    told = error_line(predict(task, *argv))
    assert told.startswith("predict.py: ")
    assert line in told
