"""Predictions of any structure come back in the data set's order: joined where they can be, else batch by batch."""

import pytest
import torch
from helpers.models import Classifier, points
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import Trainer

X, Y = points(10)


def predictions(result, loaders=None):
    """What ``predict`` returns for a ``predict_step`` that returns ``result(x, batch_idx)``, in batches of 4, 4, 2."""

    class Model(Classifier):
        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return result(batch[0], batch_idx)

    trainer = Trainer(gpus=0, logger=False)
    return trainer.predict(Model(), loaders or DataLoader(TensorDataset(X, Y), batch_size=4))


def boxes(x, index):
    """One dict per row, as detectors return."""
    return [{"boxes": torch.full((int(row[0] > 0) + 1, 4), float(row[0]))} for row in x]


def test_lists_of_one_result_per_row_stay_with_their_batch():
    found = predictions(boxes)
    assert [len(batch) for batch in found] == [4, 4, 2]
    flat = [row for batch in found for row in batch]
    for row, x in zip(flat, X, strict=True):
        assert torch.equal(row["boxes"], torch.full((int(x[0] > 0) + 1, 4), float(x[0])))


@pytest.mark.parametrize("loaders", [1, 2])
def test_lists_and_several_loaders_are_told_apart(loaders):
    given = [DataLoader(TensorDataset(X, Y), batch_size=4) for _ in range(loaders)]
    found = predictions(boxes, given)
    for one in found if loaders == 2 else [found]:
        assert [len(batch) for batch in one] == [4, 4, 2]
    joined = predictions(lambda x, index: x, given)
    assert all(torch.equal(one, X) for one in (joined if loaders == 2 else [joined]))


def test_rows_of_different_widths_stay_with_their_batch():
    found = predictions(lambda x, index: x[:, : 1 + index % 2])
    assert [tuple(batch.shape) for batch in found] == [(4, 1), (4, 2), (2, 1)]
    assert torch.equal(torch.cat([batch[:, :1] for batch in found]), X[:, :1])


def test_batches_without_a_result_are_kept():
    found = predictions(lambda x, index: None if index == 1 else x)
    assert found[1] is None
    assert torch.equal(torch.cat([found[0], found[2]]), X[[0, 1, 2, 3, 8, 9]])


def test_keys_that_only_some_batches_have_are_kept():
    found = predictions(lambda x, index: {"x": x} | ({"late": x} if index else {}))
    assert [sorted(batch) for batch in found] == [["x"], ["late", "x"], ["late", "x"]]


def test_a_part_that_cannot_be_joined_does_not_keep_others_from_it():
    found = predictions(lambda x, index: {"x": x, "rows": {"name": ["a"] * len(x), "twice": 2 * x}})
    assert torch.equal(found["x"], X)
    assert torch.equal(found["rows"]["twice"], 2 * X)
    assert found["rows"]["name"] == [["a"] * 4, ["a"] * 4, ["a"] * 2]
