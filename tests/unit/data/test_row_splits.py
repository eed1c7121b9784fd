"""Random splits of rows: plain, stratified, by groups."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedShuffleSplit

from lightmodels.data.row_splits import split_rows

ROWS = torch.arange(100)
LABELS = torch.tensor([0] * 70 + [1] * 25 + [2] * 5)


@pytest.mark.parametrize("labels", [None, LABELS], ids=["plain", "stratified"])
def test_every_row_is_on_one_side_and_the_seed_decides_which(labels):
    kept, held = split_rows(ROWS, 0.2, 0, labels)
    assert sorted([*kept.tolist(), *held.tolist()]) == ROWS.tolist()
    assert len(held) == 20
    assert torch.equal(held, split_rows(ROWS, 0.2, 0, labels)[1])
    assert not torch.equal(held, split_rows(ROWS, 0.2, 1, labels)[1])


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.33, 0.5])
def test_classes_have_the_shares_that_scikit_learn_gives_them(fraction):
    held = split_rows(ROWS, fraction, 0, LABELS)[1]
    splitter = StratifiedShuffleSplit(1, test_size=fraction, random_state=0)
    (_, expected), *_ = splitter.split(np.zeros(100), LABELS.numpy())
    ours, theirs = (torch.bincount(LABELS[part], minlength=3) for part in (held, torch.from_numpy(expected)))
    assert (ours - theirs).abs().max() <= 1
    assert len(held) == len(expected)


def test_a_class_of_two_rows_has_one_on_each_side_and_one_of_a_single_row_is_kept():
    labels = torch.tensor([0] * 20 + [1] * 2 + [2])
    for seed in range(5):
        kept, held = split_rows(torch.arange(23), 0.1, seed, labels)
        assert torch.bincount(labels[held], minlength=3)[1:].tolist() == [1, 0]
        assert torch.bincount(labels[kept]).min() == 1


def test_a_part_of_the_rows_is_split_by_the_labels_of_all():
    part = torch.arange(60, 100)
    kept, held = split_rows(part, 0.25, 0, LABELS)
    assert sorted([*kept.tolist(), *held.tolist()]) == part.tolist()
    assert torch.bincount(LABELS[held]).tolist() == [
        2,
        7,
        1,
    ]  # of 2.5, 6.25 and 1.25; what is rounded off goes to the next class


def test_groups_stay_together():
    groups = torch.arange(100) % 17
    for seed in range(5):
        kept, held = split_rows(ROWS, 0.3, seed, groups=groups)
        assert not set(groups[kept].tolist()) & set(groups[held].tolist())
        assert 20 <= len(held) <= 40


@pytest.mark.parametrize("sizes", [[1, 99], [99, 1], [50, 50]], ids=str)
def test_two_groups_are_one_on_each_side(sizes):
    groups = torch.repeat_interleave(torch.tensor([5, 9]), torch.tensor(sizes))
    kept, held = split_rows(ROWS, 0.2, 0, groups=groups)
    assert len(groups[kept].unique()) == len(groups[held].unique()) == 1


def test_splits_that_leave_nothing():
    with pytest.raises(ValueError, match=r"^val_fraction must leave rows for both parts, got 0.001 of 100 rows$"):
        split_rows(ROWS, 0.001, 0)
    with pytest.raises(ValueError, match=r"^test_fraction must leave rows for both parts"):
        split_rows(ROWS, 0.001, 0, argument="test_fraction")
    with pytest.raises(ValueError, match=r"^group: all rows are of one group"):
        split_rows(ROWS, 0.2, 0, groups=torch.zeros(100))
