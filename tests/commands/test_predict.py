"""predict.py: predictions from a checkpoint alone, and one line for every input that is wrong."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import command
from helpers.tiny_files import accepted, write_mnist, write_reuters
from PIL import Image

from datamodules.digit_images import read_digit
from datamodules.mnist import MNISTDataModule
from datamodules.reuters import ReutersDataModule
from lightmodels import load
from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.cli import train

SMALL = ["--max_epochs", "2", "--data.num_rows", "400", "--data.test_rows", "100"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Checkpoints of all four tasks, by name; the data files that two of them need are gone."""
    root = tmp_path_factory.mktemp("trained")
    write_mnist(root / "files", train=300)
    write_reuters(root / "files")
    with pytest.MonkeyPatch.context() as patch:
        for module in (MNISTDataModule, ReutersDataModule):
            patch.setattr(module, "files", accepted(module.files, root / "files"))
        for task in ("linear", "ring", "mnist", "reuters"):
            small = SMALL if task in ("linear", "ring") else SMALL[:2]
            data = ["--data_dir", str(root / "files"), "--run_dir", str(root / task)]
            train.main(["--task", task, *small, *data])
    (root / "files").rename(root / "gone")
    return {path.parent.parent.name: path for path in root.glob("*/checkpoints/best.ckpt")}


@pytest.fixture
def predict(capfd, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda task, *argv: command(capfd, "predict", "--ckpt", trained.get(task, task), *argv)


def picture(path, pixels=None):
    """A grey picture; by default of a white bar on black."""
    if pixels is None:
        pixels = np.zeros((60, 40), dtype=np.uint8)
        pixels[10:50, 15:25] = 255
    Image.fromarray(pixels).save(path)


def lines(ended):
    assert (ended.code, ended.err) == (0, "")
    return [json.loads(line) for line in ended.out.splitlines()]


def test_rows_of_a_table_are_classified_as_by_the_model(predict, trained):
    Path("with.csv").write_text("x2,x1\n5,0\n\n0.5,1e1\n")
    Path("without.csv").write_text("\ufeff0,5\r\n10,0.5\r\n")
    got = lines(predict("ring", "with.csv", "without.csv", "--json"))
    assert [(each["input"], each["row"]) for each in got] == [
        ("with.csv", 1), ("with.csv", 2), ("without.csv", 1), ("without.csv", 2)
    ]  # fmt: skip
    with torch.no_grad():
        logits = load(trained["ring"])(torch.tensor([[0.0, 5.0], [10.0, 0.5]])).flatten().tolist()
    inner = [1 / (1 + math.exp(-logit)) for logit in logits]
    for each, probability in zip(got, inner * 2, strict=True):
        assert {part["class"]: part["probability"] for part in each["top"]} == pytest.approx(
            {"inner ring": probability, "outer ring": 1 - probability}, abs=1e-6
        )
        assert each["prediction"] == ("inner ring" if probability > 0.5 else "outer ring")
        assert each["probability"] == max(part["probability"] for part in each["top"])


def test_rows_of_a_regression_get_values(predict, trained):
    Path("rows.csv").write_text("1,2\n3,4\n")
    got = lines(predict("linear", "rows.csv", "--json"))
    with torch.no_grad():
        expected = load(trained["linear"])(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).flatten().tolist()
    assert [each["prediction"] for each in got] == pytest.approx(expected)
    assert got[0].keys() == {"input", "row", "prediction"}
    table = predict("linear", "rows.csv").out.splitlines()
    assert table[0].split() == ["input", "prediction"]
    assert table[1] == f"rows.csv row 1  {expected[0]:.4f}"


def test_pictures(predict, trained):
    picture("bar.png")
    picture("wide bar.png", np.flip(np.eye(50, dtype=np.uint8) * 255, axis=0).copy())
    got = lines(predict("mnist", "bar.png", "wide bar.png", "--json", "--top", 5))
    images = torch.stack([read_digit("bar.png"), read_digit("wide bar.png")])
    with torch.no_grad():
        expected = load(trained["mnist"])(images[:, None].float() / 255).softmax(dim=1)
    for each, row in zip(got, expected, strict=True):
        assert len(each["top"]) == 5
        assert each["prediction"] == str(row.argmax().item())
        assert each["probability"] == pytest.approx(row.max().item(), abs=1e-6)
        assert [part["probability"] for part in each["top"]] == pytest.approx(
            row.sort(descending=True).values[:5].tolist(), abs=1e-6
        )


def test_texts_typed_and_in_files(predict, trained):
    Path("wire.txt").write_text("Word5, word51!\n", encoding="utf-8")
    got = lines(predict("reuters", "wire.txt", "word5 WORD51 nonsense", "word5", "--json"))
    assert [each["input"] for each in got] == ["wire.txt", "word5 WORD51 nonsense", "word5"]
    row = torch.zeros(1, 300, dtype=torch.long)
    row[0, -3:] = torch.tensor([1, 8, 54])
    with torch.no_grad():
        expected = load(trained["reuters"])(row).softmax(dim=1)[0]
    assert got[0]["probability"] == pytest.approx(expected.max().item(), abs=1e-6)
    assert got[0]["prediction"] == ReutersDataModule.topics[expected.argmax()]
    assert len(got[0]["top"]) == 3


def test_the_table_is_aligned(predict):
    picture("a.png")
    picture("a much longer name.png")
    table = predict("mnist", "a.png", "a much longer name.png", "--top", 2).out.splitlines()
    assert table[0].split() == ["input", "prediction", "probability", "next", "best"]
    assert len(table) == 3
    column = table[0].index("probability")
    assert all(line[column - 1] == " " and line[column] in "01p" for line in table)
    assert table[2].startswith("a much longer name.png  ")


def test_a_long_text_is_one_short_line_of_the_table(predict):
    table = predict("reuters", "word5\nword6 " * 300).out.splitlines()
    assert len(table) == 2
    assert len(table[1]) < 140


def test_many_inputs_go_through_the_model_in_a_few_batches(predict, monkeypatch):
    sizes = []
    forward = train.TASKS["ring"][0].forward
    monkeypatch.setattr(
        train.TASKS["ring"][0], "forward", lambda self, x: (sizes.append(len(x)), forward(self, x))[1]
    )
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
    ("reuters", ["here/wire"], "here/wire cannot be read: No such file or directory"),
    ("reuters", ["good.png"], "good.png is not UTF-8 text"),
    ("reuters", [""], "'' holds no word"),
    ("reuters", ["..."], "'...' holds no word"),
    ("reuters", ["word5", "empty.txt"], "empty.txt holds no word"),
    ("reuters", ["entirely foreign"], "'entirely foreign' holds no word of the vocabulary of "),
    ("reuters", ["text.txt"], "text.txt holds no word of the vocabulary of "),
    ("ring", ["none.csv"], "none.csv cannot be read: No such file or directory"),
    ("ring", ["empty.txt"], "empty.txt holds no rows of numbers"),
    ("ring", ["header.csv"], "header.csv holds no rows of numbers"),
    ("ring", ["good.csv", "wide.csv"], "wide.csv row 2 (line 3) has 3 columns, not 2: x1, x2"),
    ("ring", ["word.csv"], "word.csv row 1 (line 3): 'b' is not a number"),
    ("ring", ["mixed.csv"], "mixed.csv row 1 (line 1): 'x2' is not a number"),
    ("ring", ["nan.csv"], "nan.csv row 2 (line 2): nan is not a finite number"),
    ("ring", ["huge.csv"], "huge.csv row 1 (line 1): 1e39 is too large"),
    ("linear", ["overflow.csv"], "overflow.csv row 1: the model gives no finite number for it"),
    ("ring", ["good.png"], "good.png is not UTF-8 text"),
    ("ring", ["good.csv", "--top", "0"], "--top must be at least 1, got 0"),
    ("ring", ["good.csv", "--top", "few"], "--top: invalid int value: 'few'"),
    ("ring", [], "the following arguments are required: INPUT"),
    ("none.ckpt", ["good.csv"], "--ckpt none.ckpt: there is no such checkpoint"),
    ("empty.txt", ["good.csv"], "--ckpt empty.txt: the checkpoint is damaged ("),
    ("old.ckpt", ["good.csv"], "--ckpt old.ckpt: it does not tell of its data (no data_info): train again"),
    ("odd.ckpt", ["good.csv"], "--ckpt odd.ckpt: what it tells of its data (data_info) is not understood"),
    ("list.ckpt", ["good.csv"], "--ckpt list.ckpt: what it tells of its data (data_info) is not understood"),
    ("ranks.ckpt", ["word5"], "--ckpt ranks.ckpt: what it tells of its data (data_info) is not understood"),
    (
        "shape.ckpt",
        ["good.png"],
        "--ckpt shape.ckpt: what it tells of its data (data_info) is not understood",
    ),
    ("foreign.ckpt", ["good.csv"], "--ckpt foreign.ckpt: not a checkpoint of linear, ring, mnist, reuters"),
    ("one.ckpt", ["one.csv"], "--ckpt one.ckpt: its data_info does not fit its model ("),
    ("classes.ckpt", ["good.csv"], "--ckpt classes.ckpt: its model tells 2 classes apart, not 3"),
    ("misfit.ckpt", ["good.csv"], "misfit.ckpt is a checkpoint of LinearRegression, its weights do not fit"),
]


@pytest.fixture
def files(tmp_path, trained):
    """The files that the table above names."""
    picture(tmp_path / "good.png")
    picture(tmp_path / "even.png", np.full((30, 30), 200, dtype=np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:70])
    texts = {
        "text.txt": "foreign tongue", "empty.txt": "", "header.csv": "x1,x2\n", "good.csv": "1,2\n",
        "wide.csv": "a,b\n1,2\n1,2,3\n", "word.csv": "x1,x2\n\n1,b\n",
        "mixed.csv": "1,x2\n", "nan.csv": "1,2\n1,nan\n", "huge.csv": "1e39,0\n",
        "overflow.csv": "3e38,-3e38\n", "one.csv": "1\n",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    good = checkpoint_files.load_checkpoint(trained["ring"])
    linear, mnist, reuters = (
        checkpoint_files.load_checkpoint(trained[task]) for task in ("linear", "mnist", "reuters")
    )
    info = good["data_info"]
    changed = {
        "old": {"data_info": {}},
        "odd": {"data_info": {"kind": "sound"}},
        "list": {"data_info": ["x1"]},
        "ranks": reuters | {"data_info": reuters["data_info"] | {"word_index": {"word5": "5"}}},
        "shape": mnist | {"data_info": mnist["data_info"] | {"input_shape": [3, 32, 32]}},
        "foreign": {"model_class": "os.system"},
        "one": {"data_info": info | {"features": ["x1"]}},
        "classes": {"data_info": info | {"classes": ["a", "b", "c"]}},
        "misfit": linear | {"state_dict": good["state_dict"]},
    }
    for name, changes in changed.items():
        checkpoint_files.save_checkpoint(good | changes, tmp_path / f"{name}.ckpt")


@pytest.mark.parametrize(("task", "argv", "line"), BAD)
def test_wrong_input_gives_one_line(predict, files, task, argv, line):
    ended = predict(task, *argv)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("predict.py: ")
    assert line in ended.err
    assert len(ended.err.splitlines()) == 1
