"""examples/own_table.py: as short as the same in Keras 3, and it learns."""

import runpy

import pytorch_lightning as pl
from helpers import ROOT
from sklearn.datasets import load_breast_cancer

EXAMPLE = ROOT / "examples" / "own_table.py"
KERAS_LINES = 17  # of the same script in Keras 3


def test_a_table_is_trained_on_in_a_few_lines(capsys):
    frame = load_breast_cancer(as_frame=True).frame
    frame["diagnosis"] = frame.pop("target").map({0: "malignant", 1: "benign"})
    frame.to_csv("cancer.csv", index=False)
    code = [line for line in EXAMPLE.read_text().splitlines() if line.strip() and not line.startswith(('"""', "#"))]
    assert len(code) <= KERAS_LINES
    pl.seed_everything(0, verbose=False)
    names = runpy.run_path(str(EXAMPLE))
    assert names["trainer"].test(names["model"], names["data"], verbose=False)[0]["test_acc"] >= 0.93
    assert names["load"]("cancer.ckpt").predict(frame.drop(columns="diagnosis")).names.count("benign") in range(
        340, 375
    )
    assert names["model"].history[-1]["val_acc"] > 0.9
