"""Datasets that are split for validation."""

import warnings

import pytest
import torch
from helpers.models import Classifier, points
from torch.utils.data import Dataset

from lightmodels import Trainer


class Images(Dataset):
    """Rows with a transform, as torchvision's data sets have."""

    def __init__(self, transform):
        self.rows, self.transform = list(zip(*points(40), strict=True)), transform

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        x, y = self.rows[index]
        return self.transform(x), y


def fit(transform):
    trainer = Trainer(gpus=0, max_epochs=1, logger=False, enable_checkpointing=False)
    trainer.fit(Classifier(), train_data=Images(transform), validation_split=0.25)


def mirrored(x):
    return x if torch.rand(()) < 0.5 else -x


def test_a_dataset_that_changes_its_rows_at_random_should_not_be_split():
    with pytest.warns(UserWarning, match="would change validation rows too: pass validation_data, a Dataset that"):
        fit(mirrored)


@pytest.mark.parametrize("transform", [lambda x: 2 * x, lambda x: x], ids=["scaled", "unchanged"])
def test_other_transforms_are_the_same_for_training_and_validation(transform):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(transform)


def test_looking_at_rows_draws_no_random_numbers():
    from lightmodels.trainer.data_arguments import _is_random

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert _is_random(Images(mirrored))
    assert torch.equal(torch.rand(3), expected)
    assert not _is_random(Images(lambda x: x * float("nan")))
