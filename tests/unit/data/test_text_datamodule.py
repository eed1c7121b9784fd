"""TextDataModule: what becomes of files, folders and DataFrames, and one line for each kind of bad input."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from sklearn.utils.class_weight import compute_class_weight

from lightmodels import ReutersConv1D, TextCNN, TextDataModule, TextResNet, TextSeparableCNN, Trainer
from lightmodels.inputs.texts import Texts
from lightmodels.utils.data_error import DataError

GOOD = [f"good film number {i}" for i in range(12)]
MODELS = (TextCNN, TextResNet, TextSeparableCNN, ReutersConv1D)
BAD = [f"bad film, number {i}" for i in range(8)]


def frame(**columns):
    labels = ["pos"] * len(GOOD) + ["neg"] * len(BAD)
    return pd.DataFrame({"text": GOOD + BAD, "label": labels} | columns)


def write_rows(path, rows, header="text,label"):
    Path(path).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def rows_of(data, splits=("train", "val", "test")):
    """(text, class) of all rows of some splits, sorted."""
    words = {rank + 3: word for word, rank in data.info["word_index"].items()} | {2: "?"}
    found = []
    for split in splits:
        x, y = getattr(data.splits, split)[:2]
        texts = [" ".join(words[token] for token in row if token > 1) for row in x.tolist()]
        texts = [re.sub(r"\d+", "?", text) for text in texts]  # the numbers are unknown in some splits
        found += zip(texts, [data.info["classes"][label] for label in y.tolist()], strict=True)
    return sorted(found)


def test_tokens_by_hand():
    """The most frequent words of training rows first, of equal ones by the alphabet; others are unknown."""
    table = pd.DataFrame({
        "text": ["B b a", "a c, B", "Zebra c!", "c zebra a", "other b"],
        "label": [1, 0, 1, 0, 1],
        "part": ["train", "train", "val", "test", "test"],
    })  # fmt: skip
    data = TextDataModule(table, split="part", max_length=4)
    assert data.info["word_index"] == {"b": 1, "a": 2, "c": 3}
    assert data.splits.train[0].tolist() == [[1, 4, 4, 5], [1, 5, 6, 4]]
    assert data.splits.val[0].tolist() == [[0, 1, 2, 6]]
    assert data.splits.test[0].tolist() == [[1, 6, 2, 5], [0, 1, 2, 4]]
    assert [split[1].tolist() for split in data.splits] == [[1, 0], [1], [0, 1]]
    assert (data.sizes, data.info["classes"]) == ({"num_words": 7, "num_classes": 2, "length": 4}, ["0", "1"])
    cased = TextDataModule(table, split="part", lower=False, max_words=1)
    assert (cased.info["word_index"], cased.info["lower"]) == ({"B": 1}, False)
    assert TextDataModule(table, split="part", min_count=3).info["word_index"] == {"b": 1}
    assert json.loads(json.dumps(data.info)) == data.info  # plain data


def test_the_length_is_the_95th_percentile_of_training_texts_and_fits_every_model():
    lengths = np.arange(60, 160)
    table = pd.DataFrame({"text": ["word " * n for n in lengths], "label": [0, 1] * 50})
    data = TextDataModule(table.assign(part=["train"] * 98 + ["val", "test"]), split="part")
    assert data.sizes["length"] == math.ceil(np.percentile(lengths[:98] + 1, 95))  # with the start token
    short = TextDataModule(frame())
    for model in MODELS:
        assert model(**short.sizes)(short.splits.train[0]).shape == (14, 2)


def test_splits_are_seeded_and_stratified_and_hold_every_row_once():
    data, other = (TextDataModule(frame(), min_count=1, test_fraction=0.25, val_fraction=0.2, seed=s) for s in (0, 1))
    assert [torch.bincount(split[1]).tolist() for split in data.splits] == [[5, 7], [1, 2], [2, 3]]
    assert len(data.train_rows) + len(data.val_rows) == 15
    again = TextDataModule(frame(), test_fraction=0.25, val_fraction=0.2)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(data.splits, again.splits, strict=True))
    assert not torch.equal(data.splits.test[0], other.splits.test[0])
    labels = np.array(frame().label)[data.train_rows.numpy()]
    assert [data.info["classes"][label] for label in data.splits.train[1]] == labels.tolist()


@pytest.mark.parametrize("sep", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_files_with_a_bom_crlf_quotes_and_newlines(sep):
    table = frame(review=[f'He said "{text}"\r\nand, well; left' for text in GOOD + BAD])
    content = table.to_csv(index=False, sep=sep, lineterminator="\r\n")
    Path("own.csv").write_bytes(b"\xef\xbb\xbf" + content.encode())
    read = TextDataModule("own.csv", text="review")
    given = TextDataModule(table, text="review")
    assert rows_of(read) == rows_of(given)
    assert rows_of(read)[0] == ("he said bad film number ? and well left", "neg")


def test_json_lines_and_a_folder_for_each_class_hold_the_same_as_a_frame():
    table = frame()
    table.to_json("own.jsonl", orient="records", lines=True)
    for number, (text, label) in enumerate(zip(table.text, table.label, strict=True)):
        Path("own", label, "sub").mkdir(parents=True, exist_ok=True)
        Path("own", label, "sub", f"{number:02}.txt").write_text(text)
    Path("own/neg/.hidden").write_bytes(b"\xff")
    Path("own/.git").mkdir()
    expected = rows_of(TextDataModule(table))
    assert rows_of(TextDataModule("own.jsonl")) == rows_of(TextDataModule(Path("own"))) == expected
    assert TextDataModule(Path("own")).hparams["path"] == "own"
    assert "path" not in TextDataModule(table).hparams  # plain data only


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([5, 1, 3, 1] * 5, ["1", "3", "5"]),
        ([True, False] * 10, ["False", "True"]),
        ([2.0, 0.5] * 10, ["0.5", "2"]),
        (pd.Categorical(["b", "a"] * 10), ["a", "b"]),
    ],
    ids=["integers", "booleans", "floats", "categories"],
)
def test_classes_are_names(labels, names):
    assert TextDataModule(frame(label=labels)).info["classes"] == names


def test_a_file_of_test_texts():
    frame().to_csv("train.csv", index=False)
    pd.DataFrame({"text": ["good unseen", "bad film"], "label": ["pos", "neg"]}).to_csv("test.csv", index=False)
    data = TextDataModule("train.csv", test_path="test.csv", val_fraction=0.25)
    assert [len(split[0]) for split in data.splits] == [15, 5, 2]
    assert rows_of(data, ["test"]) == [("bad film", "neg"), ("good ?", "pos")]
    assert "unseen" not in data.info["word_index"]


def test_weights_are_those_of_scikit_learn_and_of_the_column():
    table = frame(w=np.arange(20) / 10)
    data = TextDataModule(table, class_weights="balanced", sample_weight="w", test_fraction=0.25)
    _, y, weights = data.splits.train
    of_class = compute_class_weight("balanced", classes=np.array([0, 1]), y=y.numpy())
    own = table.w.to_numpy()[data.train_rows.numpy()]
    assert weights.numpy() == pytest.approx(of_class[y.numpy()] * own, rel=1e-6)
    assert data.splits.val[2].numpy() == pytest.approx(table.w.to_numpy()[data.val_rows.numpy()])
    assert [len(split) for split in data.splits] == [3, 3, 3]
    only_classes = TextDataModule(table, class_weights="balanced")
    assert [len(split) for split in only_classes.splits] == [3, 2, 2]
    assert only_classes.splits.train[2].mean().item() == pytest.approx(1)


@pytest.mark.parametrize("model_class", MODELS, ids=lambda each: each.__name__)
def test_texts_of_several_labels_train_every_model(model_class):
    """Labels with a separator between them, and columns of zeros and ones, say the same."""
    table = frame(label=["film, good"] * len(GOOD) + ["film", ""] * 4)
    data = TextDataModule(table.replace("", None), separator=",")
    columns = table.assign(film=[1] * 12 + [1, 0] * 4, good=[1] * 12 + [0] * 8)
    same = TextDataModule(columns, target="film,good")
    expected = torch.tensor(columns[["film", "good"]].to_numpy(), dtype=torch.float32)
    assert torch.equal(data.splits.train[1], expected[data.train_rows])
    assert all(torch.equal(ours[1], others[1]) for ours, others in zip(data.splits, same.splits, strict=True))
    assert (data.info["classes"], data.info["multi_label"]) == (["film", "good"], True)
    pl.seed_everything(0, verbose=False)
    model = model_class(**data.sizes, lr=0.02)
    trainer = Trainer(gpus=0, logger=False, enable_checkpointing=False, max_epochs=5)
    history = trainer.fit(model, data)
    assert {"val_acc", "val_label_acc"} <= set(history[-1])
    assert model.predict(["good film"]).names[0][:1] == ["film"]
    batch = data.splits.test
    assert (model.figures(batch, model(batch[0])), model.texts(batch, model(batch[0]))) == ({}, {})


def test_a_column_says_the_split_in_any_case():
    parts = ["Train", " train ", "VAL", "test"] * 5
    data = TextDataModule(frame(part=parts), split="part")
    assert [len(part[0]) for part in data.splits] == [10, 5, 5]
    assert data.val_rows.tolist() == list(range(2, 20, 4))


def test_texts_without_a_word_are_left_out_with_a_warning():
    table = frame()
    table.loc[[3, 7, 15], "text"] = [None, " ... ", "<>"]
    with pytest.warns(UserWarning, match=r"^data row 4 has no word: 3 such texts are left out$"):
        assert len(rows_of(data := TextDataModule(table))) == 17
    assert 3 not in torch.cat([data.train_rows, data.val_rows])


def test_copies_of_training_texts_among_the_test_texts_are_counted():
    frame().to_csv("train.csv", index=False)
    write_rows("test.csv", ["GOOD film - number 3!,pos", "bad film number 1,neg", "new,neg"])
    with pytest.warns(UserWarning, match=r"^test\.csv: 2 of 3 test texts are training texts too$"):
        TextDataModule("train.csv", test_path="test.csv").setup()


PAIRS = ["a b,x", "a c,x", "b c,y", "d a,y"]
BAD_FILES = {
    "no file": ({"path": "none.csv"}, "none.csv cannot be read: No such file or directory"),
    "not UTF-8": ({"path": "latin.csv"}, "latin.csv is not UTF-8 text"),
    "no rows": ({"path": "header.csv"}, "header.csv has no rows"),
    "no text column": ({"text": "txt"}, "own.csv has no column 'txt' (text); it has 'text', 'label', 'w', 'part'"),
    "no target": ({"target": "y"}, "own.csv has no column 'y' (target); it has 'text', 'label', 'w', 'part'"),
    "no weights": ({"sample_weight": "v"}, "own.csv has no column 'v' (sample_weight); it has 'text', 'label', 'w', "
                   "'part'"),
    "missing label": ({"path": "missing.csv"}, "missing.csv row 2, column 'label': the target is missing (in 2 of 4 "
                      "rows); remove the rows, or fill it in"),
    "one class": ({"path": "same.csv"}, "same.csv column 'label': all rows are of one class, 'x'"),
    "class with one row": ({"path": "single.csv"}, "single.csv: class 'z' has one row only; add rows, or remove it"),
    "no label": ({"target": "text,w"}, "own.csv row 1, column 'text': 'a b' is not a number; correct it"),
    "no words": ({"path": "wordless.csv"}, "wordless.csv: no text has a word"),
    "rare words": ({"min_count": 9, "split": "part", "path": "split.csv"},
                   "split.csv: no word is 9 times in the training texts: choose a lower min_count"),
    "weight of text": ({"sample_weight": "text"}, "own.csv row 1, column 'text': 'a b' is not a number; correct it"),
    "weight": ({"sample_weight": "w"}, "own.csv row 4, column 'w': a weight must be a number of at least 0, got -1"),
    "part": ({"split": "part"}, "own.csv row 3, column 'part': a split is train, val or test, got 'dev'"),
    "no test": ({"split": "part", "path": "untested.csv"}, "untested.csv: column 'part' says test of no row"),
    "class without training": ({"split": "part", "path": "untrained.csv"}, "untrained.csv: class 'y' has no training "
                               "rows (2 rows in all)"),
    "test class": ({"test_path": "single.csv"}, "single.csv row 3, column 'label': 'z' is not a class of the training "
                   "data"),
    "empty folder": ({"path": "folder"}, "folder has no folders: there must be one for each class"),
    "folder without texts": ({"path": "classes"}, "classes/b has no files: it must hold the texts of a class"),
    "one folder": ({"path": "one"}, "one: all rows are of one class, 'a'"),
    "file not UTF-8": ({"path": "bytes"}, "bytes/b/1.txt is not UTF-8 text"),
    "column of a folder": ({"path": "one", "sample_weight": "w"}, "one is a folder, which has no column 'w'"),
}  # fmt: skip


@pytest.fixture
def files():
    write_rows("own.csv", [f"{row},{w},{p}" for row, w, p in zip(PAIRS, [1, 2, 0, -1], ["train", "test", "dev", "val"],
                                                                strict=True)], "text,label,w,part")  # fmt: skip
    Path("latin.csv").write_bytes(b"text,label\ncaf\xe9,x\n")
    write_rows("header.csv", [])
    write_rows("missing.csv", ["a,x", "b,", "c,y", "d,"])
    write_rows("same.csv", ["a,x", "b,x"])
    write_rows("single.csv", [*PAIRS[:2], "e f,z", *PAIRS[2:]])
    write_rows("wordless.csv", ["?,x", ",x", "!,y", "-,y"])
    write_rows("split.csv", [f"{row},{part}" for row, part in zip(PAIRS, ["train"] * 3 + ["test"], strict=True)],
               "text,label,part")  # fmt: skip
    write_rows("untested.csv", [f"{row},train" for row in PAIRS], "text,label,part")
    write_rows("untrained.csv", [f"{row},{'train' if row[-1] == 'x' else 'test'}" for row in PAIRS], "text,label,part")
    for path in ("folder", "classes/a", "classes/b", "one/a", "bytes/a", "bytes/b"):
        Path(path).mkdir(parents=True)
    for path in ("classes/a/1.txt", "one/a/1.txt", "one/a/2.txt", "bytes/a/1.txt"):
        Path(path).write_text("words")
    Path("bytes/b/1.txt").write_bytes(b"\xff\xfe\x00")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("options", "line"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_input_gives_one_line(options, line):
    with pytest.raises(DataError) as caught:
        TextDataModule(**{"path": "own.csv"} | options).setup()
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 1.0}, "^test_fraction must be between 0 and 1, got 1.0"),
        ({"split": "a", "test_path": "b"}, "^split and test_path exclude each other"),
        ({"max_words": 0}, "^max_words must be at least 1, got 0"),
        ({"min_count": 0}, "^min_count must be at least 1, got 0"),
        ({"max_length": 0}, "^max_length must be at least 1, got 0"),
    ],
    ids=["test_fraction", "split", "max_words", "min_count", "max_length"],
)
def test_invalid_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        TextDataModule("own.csv", **options)


@pytest.fixture(scope="module")
def inputs():
    return Texts(TextDataModule(frame(), text="text").info)


def test_new_texts_are_converted_however_they_are_given(inputs):
    texts = ["Good film", "bad\nNUMBER"]
    expected = inputs.convert(texts)
    good, film = (inputs.info["word_index"][word] + 3 for word in ("good", "film"))
    assert expected[0].tolist() == [0] * 52 + [1, good, film]
    Path("one.txt").write_text(texts[0])
    pd.DataFrame({"id": [1, 2], "text": texts}).to_csv("new.csv", index=False)
    for given in (pd.DataFrame({"text": texts}), pd.Series(texts), np.array(texts), [Path("one.txt"), texts[1]],
                  [Path("new.csv")]):  # fmt: skip
        assert torch.equal(inputs.convert(given), expected)
    assert torch.equal(inputs.convert(texts[0]), expected[:1])
    sources, tokens = inputs.read(["new.csv", "one.txt", texts[1]])
    assert [str(source) for source in sources] == ["new.csv row 1", "new.csv row 2", "one.txt", "'bad NUMBER'"]
    assert torch.equal(tokens, expected[[0, 1, 0, 1]])


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["good", "foreign"], r"^text 1 holds no word of the vocabulary of \d+ words$"),
        (pd.DataFrame({"text": ["good", None]}), "^text 1 holds no word$"),
        (pd.DataFrame({"review": ["good"], "id": [1]}), "^data has no column 'text' .text.; it has 'review', 'id'$"),
        ([3], "^data must be texts or paths, got int$"),
        ([], "^data has no texts$"),
        (Path("none.txt"), "^none.txt cannot be read: No such file or directory$"),
    ],
    ids=["unknown words", "missing", "column", "type", "none", "file"],
)
def test_new_texts_that_cannot_be_used_give_one_line(inputs, given, line):
    with pytest.raises(DataError, match=line):
        inputs.convert(given)
