"""Embedding: its vectors, labels and images must fit each other."""

import pytest
import torch

from lightmodels import Embedding


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(3), list("abc")), r"vectors must be points of shape \(N, D\), got \(3,\)"),
        ((torch.zeros(0, 3), []), "vectors must be points"),
        ((torch.tensor([[float("nan")]]), ["a"]), "vectors must be finite"),
        ((torch.zeros(3, 2), ["a"]), "expected 3 labels 'label', one for each point, got 1"),
        ((torch.zeros(1, 2), {"a": ["x"], "b": []}), "expected 1 labels 'b'"),
        ((torch.zeros(1, 2), {}), "labels must have a column"),
        ((torch.zeros(2, 2), list("ab"), torch.zeros(3, 1, 4, 4)), "expected 2 images"),
        ((torch.zeros(2, 2), list("ab"), torch.zeros(2, 4, 4)), "images must have shape"),
    ],
)
def test_vectors_labels_and_images_must_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        Embedding(*arguments)


def test_labels_may_be_tensors_or_columns_of_anything():
    assert Embedding(torch.zeros(2, 1), torch.tensor([3, 7])).columns == {"label": ["3", "7"]}
    assert Embedding(torch.zeros(1, 1), {1: [None]}).columns == {"1": ["None"]}
