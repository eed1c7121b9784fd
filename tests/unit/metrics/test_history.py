"""History: rows, columns, files and figures."""

import csv

import pytest
from torch.utils import _pytree as pytree

from lightmodels import History

ROWS = [
    {"epoch": 1, "train_loss": 2.0, "lr": 0.1},
    {"epoch": 2, "train_loss": 1.0, "val_loss": 1.5, "lr": 0.1},
]


def test_rows_and_columns():
    history = History(ROWS)
    assert len(history) == 2
    assert history[-1]["val_loss"] == 1.5
    assert history["train_loss"] == [2.0, 1.0]
    assert history["val_loss"][0] != history["val_loss"][0]  # nan: not validated
    assert history.columns == ["epoch", "train_loss", "lr", "val_loss"]
    with pytest.raises(KeyError, match="loss is not in the history; it has epoch, train_loss"):
        history["loss"]


def test_csv_has_the_same_values(tmp_path):
    History(ROWS).to_csv(tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items() if value} for row in rows] == ROWS
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_state_dict_round_trip():
    history = History()
    history.load_state_dict(History(ROWS).state_dict())
    assert list(history) == ROWS
    assert history.columns == History(ROWS).columns
    assert type(history[0]["epoch"]) is int
    history.load_state_dict(History([{"auroc": float("nan"), "loss": 1 / 3}, {"loss": float("inf")}]).state_dict())
    assert repr(list(history)) == "[{'auroc': nan, 'loss': 0.3333333333333333}, {'loss': inf}]"
    history.load_state_dict(History().state_dict())
    assert list(history) == []


def test_a_state_has_as_many_objects_after_a_thousand_epochs():
    """Else each save of a long training would take longer than the one before."""
    few, many = (History([ROWS[1] | {"epoch": epoch} for epoch in range(1, last)]) for last in (3, 1001))
    few, many = (pytree.tree_leaves(history.state_dict()) for history in (few, many))
    assert len(few) == len(many)


def test_to_frame():
    frame = History(ROWS).to_frame()
    assert frame["val_loss"].tolist()[1] == 1.5
    assert frame.shape == (2, 4)


def test_plot_has_one_panel_per_metric_with_both_curves():
    figure = History(ROWS).plot()
    (axes,) = figure.axes
    assert axes.get_ylabel() == "loss"
    assert [line.get_label() for line in axes.lines] == ["train_loss", "val_loss", "best epoch 2"]
    assert axes.lines[0].get_ydata().tolist() == [2.0, 1.0]


def test_plot_marks_the_epoch_of_the_lowest_val_loss():
    losses = [2.0, 0.5, float("nan"), 1.0]
    rows = [{"epoch": epoch, "val_loss": loss, "val_acc": 0.5} for epoch, loss in enumerate(losses, start=1)]
    for axes in History(rows).plot().axes:
        assert axes.lines[-1].get_xdata() == [2, 2]
    (axes,) = History([{"epoch": 1, "train_loss": 2.0}]).plot().axes
    assert [line.get_label() for line in axes.lines] == ["train_loss"]
    assert not History().plot().axes
