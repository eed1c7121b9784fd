"""TableDataModule: its targets, splits and weights, and one line for each table that cannot be used."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from sklearn.utils.class_weight import compute_sample_weight

from lightmodels import MLP, TableDataModule, Trainer
from lightmodels.inputs.frames import Frames
from lightmodels.utils.data_error import DataError

ROWS = 60
X = np.random.default_rng(0).normal(size=ROWS)
KINDS = np.array(["cat", "dog", "emu"])[np.arange(ROWS) % 3]
FRAME = pd.DataFrame({"size": X, "age": range(ROWS), "kind": KINDS, "price": 1000 * X + 5})


def table(target="kind", frame=FRAME, **options):
    return TableDataModule(frame, target, **options)


def numbers(data, part, name="age"):
    """The values that a column had in the rows of a part."""
    inputs = Frames(data.info)
    x = getattr(data.splits, part)[0]
    return inputs.restore(x)[:, [column["name"] for column in inputs.numbers].index(name)].round().long().tolist()


def test_classes_are_split_by_the_same_share_and_every_row_is_used_once():
    data = table(seed=3)
    assert data.sizes == {"num_features": 3, "num_classes": 3, "cardinalities": []}
    assert [torch.bincount(part[1]).tolist() for part in data.splits] == [[13, 13, 12], [3, 3, 4], [4, 4, 4]]
    assert sorted(numbers(data, "train") + numbers(data, "val") + numbers(data, "test")) == list(range(ROWS))
    assert data.train_rows.tolist() == numbers(data, "train")
    assert data.val_rows.tolist() == numbers(data, "val")
    assert numbers(data, "train") == sorted(numbers(data, "train")) == numbers(table(seed=3), "train")
    assert numbers(table(seed=4), "train") != numbers(data, "train")
    assert data.info["classes"] == ["cat", "dog", "emu"]
    assert KINDS[numbers(data, "test")].tolist() == [data.info["classes"][label] for label in data.splits.test[1]]


def test_everything_is_measured_on_the_training_rows():
    data = table("price", ignore="kind")
    size = data.splits.train[0][:, 0].double()
    assert (size.mean().item(), size.std(correction=0).item()) == pytest.approx((0, 1), abs=1e-6)
    y = torch.tensor(FRAME["price"])[data.train_rows]
    assert data.sizes["target_mean"] == pytest.approx(y.mean().item(), rel=1e-6)
    assert data.sizes["target_std"] == pytest.approx(y.std(correction=0).item(), rel=1e-6)
    assert (data.sizes["num_classes"], data.info["target"], "classes" in data.info) == (0, "price", False)
    assert data.splits.val[1].shape == (10, 1)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([True, False], ["False", "True"]),
        ([10, 9], ["9", "10"]),
        ([3.0, -1.0], ["-1", "3"]),
        (["b", "a"], ["a", "b"]),
        (pd.Categorical(["x", "y"] * 30, categories=["y", "x", "never"]), ["x", "y"]),
        ([0.5, 1.0], None),
        (range(60), None),
        ([*range(20)] * 3, [str(number) for number in range(20)]),
    ],
    ids=["booleans", "whole", "whole floats", "texts", "categorical", "fractions", "21 and more", "20"],
)
def test_the_kind_of_target_is_told_from_its_column(values, classes):
    data = table("y", FRAME.assign(y=list(values) * (ROWS // len(values))))
    assert data.info.get("classes") == classes


def test_the_kind_of_target_can_be_said():
    assert table("kind", FRAME.assign(kind=[1, 2] * 30), kind="number").info["target"] == "kind"
    assert len(table("age", FRAME.assign(age=[0.5, 1, 2] * 20), kind="classes").info["classes"]) == 3


def test_groups_stay_on_one_side():
    data = table("price", FRAME.assign(group=[f"g{number // 4}" for number in range(ROWS)]), group="group")
    parts = [{age // 4 for age in numbers(data, part)} for part in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == ROWS // 4
    assert "group" not in data.info["features"]


@pytest.mark.parametrize("times", ["numbers", "dates"])
def test_the_latest_rows_are_the_test_rows_and_those_before_them_for_validation(times):
    days = np.arange(ROWS)[::-1] // 2
    when = days if times == "numbers" else pd.Timestamp("2024-01-01") + pd.to_timedelta(days, "D")
    data = table("price", FRAME.assign(when=when), time="when")
    assert numbers(data, "test") == list(range(12))
    assert numbers(data, "val") == list(range(12, 22))
    assert numbers(data, "train") == list(range(22, ROWS))


def test_a_column_says_the_split():
    said = FRAME.assign(part=np.where(FRAME["age"] < 30, "Train ", np.where(FRAME["age"] < 40, "val", "test")))
    data = table(frame=said, split="part")
    assert [len(part[0]) for part in data.splits] == [30, 10, 20]
    assert numbers(data, "val") == list(range(30, 40))
    data = table(frame=said.replace({"part": {"val": "TRAIN"}}), split="part", val_fraction=0.25)
    assert [len(part[0]) for part in data.splits] == [30, 10, 20]


def test_test_rows_from_another_file():
    FRAME.to_csv("train.csv", index=False)
    FRAME.iloc[:5].assign(age=99, kind="emu")[["kind", "price", "age", "size"]].to_csv(
        "test.tsv", sep="\t", index=False
    )
    data = TableDataModule("train.csv", "kind", test_path="test.tsv")
    assert [len(part[0]) for part in data.splits] == [48, 12, 5]
    assert (numbers(data, "test"), data.splits.test[1].tolist()) == ([99] * 5, [2] * 5)
    assert data.hparams["test_path"] == "test.tsv"


def test_weights_balance_classes_and_come_from_a_column():
    """scikit-learn's balanced weights, in training rows only; a column's weights in all rows."""
    uneven = FRAME.assign(kind=np.where(FRAME["age"] % 5 == 0, "rare", "usual"), w=FRAME["age"] / 10)
    data = table(frame=uneven, class_weights="balanced", ignore=["w"])
    (_, y, weights), val = data.splits.train, data.splits.val
    assert weights.tolist() == pytest.approx(compute_sample_weight("balanced", y.numpy()).tolist())
    assert len(val) == 2
    both = table(frame=uneven, class_weights="balanced", sample_weight="w").splits
    given = uneven["w"].to_numpy()[data.train_rows.numpy()]
    assert both.train[2].tolist() == pytest.approx((given * weights.numpy()).tolist())
    assert both.test[2].dtype == torch.float32


def test_several_labels_a_row():
    """Said by a separator in one column, or by several columns."""
    tags = FRAME.assign(kind=["a;b", "b", None] * 20).drop(columns="price")
    data = table(frame=tags, separator=";")
    assert (data.sizes["num_classes"], data.info["multi_label"]) == (2, True)
    expected = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    assert torch.equal(data.splits.train[1], expected[data.train_rows % 3])
    columns = tags.assign(a=[1, 0, 0] * 20, b=[True, True, False] * 20).drop(columns="kind")
    same = table("a,b", columns)
    assert torch.equal(same.splits.train[1], data.splits.train[1])
    assert same.info["classes"] == data.info["classes"] == ["a", "b"]
    assert same.info["features"] == ["size", "age"]


def test_test_rows_that_are_training_rows_are_counted():
    said = FRAME.assign(part=["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    copies = said.iloc[[3, 5, 5, 45]].assign(part="test")  # the last one is a copy of a validation row
    changed = said.iloc[[7, 8]].assign(part="test", kind="emu")  # the first one is one already
    with pytest.warns(UserWarning, match="^data: 4 of 16 test rows are training rows too$"):
        table(frame=pd.concat([said, copies, changed]), split="part").setup()


def test_the_three_lines_train_a_model_on_a_frame_and_predict():
    frame = FRAME.assign(size=np.where(np.arange(ROWS) % 9 == 0, None, X).astype(float), kind2=KINDS)
    data = TableDataModule(frame, target="kind")
    pl.seed_everything(0, verbose=False)
    model = MLP(**data.sizes, lr=0.01)
    Trainer(gpus=0, logger=False, enable_checkpointing=False).fit(model, data)
    assert model.predict(frame).names == frame["kind"].tolist()  # which kind2 says
    assert "path" not in data.hparams


CSV = "size,age,kind\n1,2,cat\n2,3,dog\n3,,cat\n4,5,dog\n5,6,cat\n6,7,dog\n"
BAD = {
    "no such column": (CSV, {"target": "race"}, "t.csv has no column 'race' (target); it has 'size', 'age', 'kind'"),
    "no such group": (CSV, {"group": "g"}, "t.csv has no column 'g' (group); it has 'size', 'age', 'kind'"),
    "missing target": (
        CSV.replace("dog", "", 1), {},
        "t.csv row 2, column 'kind': the target is missing (in 1 of 6 rows); remove the rows, or fill it in",
    ),
    "one class": (CSV.replace("dog", "cat"), {}, "t.csv column 'kind': all rows are of one class, 'cat'"),
    "class of one row": (
        CSV + "7,8,emu\n", {}, "t.csv: class 'emu' has one row only; add rows, remove it, or set kind to number",
    ),
    "no number": (
        CSV + "x,1,cat\n" + "".join(f"{n},1,cat\n" for n in range(10, 20)), {"target": "size"},
        "t.csv row 7, column 'size': 'x' is not a number; correct it",
    ),
    "text as a number": (
        CSV, {"kind": "number"},
        "t.csv row 1, column 'kind': 'cat' is not a number; correct it",
    ),
    "infinity": (CSV + "inf,1,cat\n", {}, "t.csv row 7, column 'size': inf is not a finite number"),
    "no feature": (CSV, {"ignore": "size,age"}, "t.csv has no column to learn from, beside 'kind', 'size', 'age'"),
    "twice": (CSV.replace("age", "size"), {}, "t.csv has 2 columns named 'size': rename all but one"),
    "empty": ("", {}, "t.csv is empty"),
    "header only": ("size,age,kind\n", {}, "t.csv has no rows"),
    "split": (
        CSV, {"split": "kind", "target": "size"},
        "t.csv row 1, column 'kind': a split is train, val or test, got 'cat'",
    ),
    "no test rows": (
        CSV.replace("cat", "train").replace("dog", "val"), {"split": "kind", "target": "size"},
        "t.csv: column 'kind' says test of no row",
    ),
    "no group": (CSV, {"group": "age"}, "t.csv row 3, column 'age': the group is missing"),
    "two groups": (
        CSV, {"group": "kind", "target": "size"},
        "t.csv: column 'kind' has 2 groups, which are too few for training, validation and test rows",
    ),
    "no time": (CSV, {"time": "age"}, "t.csv row 3, column 'age': the time is missing"),
    "no weight": (
        CSV, {"sample_weight": "age"}, "t.csv row 3, column 'age': a weight must be a number of at least 0, got nan",
    ),
    "class without training rows": (
        "size,age,late\n1,2,0\n2,3,0\n3,4,0\n4,5,0\n5,6,1\n6,7,1\n",
        {"time": "size", "test_fraction": 0.3, "target": "late"},
        "t.csv: class '1' has no training rows (2 rows in all)",
    ),
    "labels": (
        CSV, {"target": "size,age"},
        "t.csv row 3, column 'age': the target is missing (in 1 of 6 rows); remove the rows, or fill it in",
    ),
    "no label": (
        CSV.replace(",,", ",9,"), {"target": ["size", "age"]},
        "t.csv row 2, column 'size': the value is 2, where several target columns say yes or no by 1 or 0",
    ),
    "other file's class": (
        CSV, {"test": CSV.replace("dog", "emu")},
        "test.csv row 2, column 'kind': 'emu' is not a class of the training data",
    ),
    "other file's columns": (
        CSV, {"test": "kind,size\ncat,1\n"}, "test.csv has no column 'age', which the model was trained on",
    ),
    "other file's target": (CSV, {"test": "age,size\n1,1\n"}, "test.csv has no column 'kind', the target"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "options", "line"), BAD.values(), ids=BAD)
def test_bad_tables_have_one_line(text, options, line):
    Path("t.csv").write_text(text)
    if "test" in options:
        Path("test.csv").write_text(options["test"])
        options = {"test_path": "test.csv"}
    with pytest.raises(DataError) as told:
        TableDataModule("t.csv", **{"target": "kind"} | options).setup()
    assert str(told.value) == line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 1.0}, "test_fraction must be between 0 and 1, got 1.0"),
        ({"separator": ""}, "separator must not be empty"),
        ({"group": "age", "time": "age"}, "time and group exclude each other"),
        ({"test_path": "t.csv", "split": "age"}, "test_path and split exclude each other"),
        ({"class_weights": "balanced", "target": "price"}, "class_weights balanced is for classes, but"),
        ({"class_weights": "balanced", "separator": ";"}, "class_weights balanced is for classes, but"),
        ({"test_fraction": 0.001, "target": "price"}, "test_fraction must leave rows for both parts"),
        ({"val_fraction": 0.001, "target": "price"}, "val_fraction must leave rows for both parts"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        table(**{"target": "kind"} | options).setup()
