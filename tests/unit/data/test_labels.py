"""Labels of any kind as classes, and weights of rare ones."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils.class_weight import compute_sample_weight

from lightmodels.data.labels import balanced_weights, encode_labels
from lightmodels.utils.data_error import DataError


@pytest.mark.parametrize(
    ("values", "names", "labels"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        ([True, False, True], ["False", "True"], [1, 0, 1]),
        ([10, -3, 7], ["-3", "7", "10"], [2, 0, 1]),
        ([2.0, 1.0, 2.5], ["1", "2", "2.5"], [1, 0, 2]),
        (np.array([3, 1], dtype=np.uint8), ["1", "3"], [1, 0]),
        (pd.Series(["x", "y", "x"], dtype="category"), ["x", "y"], [0, 1, 0]),
        (["1", 2, "b"], ["1", "2", "b"], [0, 1, 2]),
    ],
    ids=["texts", "booleans", "integers", "floats", "bytes", "categories", "mixed"],
)
def test_labels_are_numbered_in_the_order_of_their_values(values, names, labels):
    got, found = encode_labels(values, "it")
    assert (got.tolist(), found, got.dtype) == (labels, names, torch.int64)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (["a", None, "b", None], "data.csv column 'y': row 2 has no value (2 have none)"),
        ([1.0, float("nan")], "data.csv column 'y': row 2 has no value (1 have none)"),
        (["a", "a"], "data.csv column 'y': all rows are of one class, 'a'"),
        ([4.0, 4.0], "data.csv column 'y': all rows are of one class, '4'"),
    ],
    ids=["none", "nan", "one text", "one number"],
)
def test_labels_that_cannot_be_classes(values, line):
    with pytest.raises(DataError) as error:
        encode_labels(values, "data.csv column 'y'")
    assert str(error.value) == line


def test_balanced_weights_are_those_of_scikit_learn():
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    expected = compute_sample_weight("balanced", labels.numpy())
    torch.testing.assert_close(balanced_weights(labels), torch.from_numpy(expected).float())
    training = torch.tensor([0, 1, 3, 4])
    expected = compute_sample_weight("balanced", labels.numpy(), indices=training.numpy())
    torch.testing.assert_close(balanced_weights(labels, training), torch.from_numpy(expected).float())
