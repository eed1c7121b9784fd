"""Short fits, and comparisons of the models that they train."""

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import IterableDataset

from helpers.models import points
from lightmodels import Trainer
from lightmodels.data.tensor_loader import TensorLoader


class Rows(IterableDataset):
    """120 rows, without a length."""

    def __iter__(self):
        return zip(*points(120), strict=True)


def model_with(base, **attributes):
    return type("Own", (base,), attributes)


def loaders(rows=120):
    """With 120 rows, four batches of 25 and one of 20."""
    train = TensorLoader(*points(rows), batch_size=25, shuffle=True)
    return {"train_dataloaders": train, "val_dataloaders": TensorLoader(*points(31, 1), batch_size=9)}


def fitted(model_class, data=loaders, ckpt_path=None, **options):
    pl.seed_everything(7, verbose=False)
    model = model_class()
    trainer = Trainer(**({"max_epochs": 3, "gpus": 0, "figures": False, "logger": False} | options))
    trainer.fit(model, **data(), ckpt_path=ckpt_path)
    return model


def assert_equal(one, other):
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def assert_close(one, other, rtol=1e-4, atol=1e-5):
    for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=rtol, atol=atol)
    for row, expected in zip(one.history, other.history, strict=True):
        assert row.keys() == expected.keys()
        for name in {"train_loss", "train_acc", "train_alpha", "val_loss", "lr"} & row.keys():
            assert row[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name


def compiled_part(model):
    compiler = model.trainer.fit_loop.epoch_loop.compiler
    return "step" if compiler.train_step else "forward" if compiler._forward else None
