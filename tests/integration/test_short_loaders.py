"""A training loader that ends before its length says ends the epoch, with all that belongs to its end."""

import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, points
from torch.utils.data import DataLoader, IterableDataset

from lightmodels import Trainer


class Stream(IterableDataset):
    """Four batches of 10 rows, though its length may say otherwise."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __iter__(self):
        x, y = points(40)
        return iter([(x[i : i + 10], y[i : i + 10]) for i in range(0, 40, 10)])


class Unsized:
    """The same batches, without a length."""

    def __iter__(self):
        return iter(Stream(4))


def fit(data, run_dir, max_epochs=3, ckpt_path=None, **options):
    torch.manual_seed(0)
    model = Classifier()
    trainer = Trainer(gpus=0, max_epochs=max_epochs, logger=False, figures=False, run_dir=run_dir, **options)
    val_loader = DataLoader(list(zip(*points(31, 1), strict=True)), batch_size=10)
    trainer.fit(model, data, val_loader, ckpt_path=ckpt_path)
    return model, trainer


def stream(length):
    return DataLoader(Stream(length), batch_size=None)


def rows(model):
    times = ("seconds", "samples_per_second")
    return [{name: row[name] for name in row if name not in times} for row in model.history]


class Ends(pl.Callback):
    """The batches whose end it has seen."""

    def __init__(self):
        self.batches = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches.append((batch_idx, trainer.is_last_batch))


@pytest.mark.parametrize("options", [{}, {"steps_per_execution": 3}, {"limit_train_batches": 7}])
def test_the_epoch_ends_where_the_loader_does(tmp_path, options):
    expected, whole = fit(stream(4), tmp_path / "whole")
    data, ends = Unsized() if "limit_train_batches" in options else stream(7), Ends()
    with pytest.warns(UserWarning, match=r"the training loader ended after 4 of 7 batches"):
        model, trainer = fit(data, tmp_path / "short", callbacks=[ends], **options)
    assert all(map(torch.equal, model.state_dict().values(), expected.state_dict().values()))
    assert rows(model) == rows(expected)
    assert "val_loss" in model.history[0]
    assert model.history["lr"] == [0.05, 0.05, 0.025]  # the schedule of epochs has stepped
    assert trainer.best_epoch == whole.best_epoch
    assert (tmp_path / "short/checkpoints/best.ckpt").exists()
    assert [index for index, _ in ends.batches][-1] == 3


def test_such_a_run_resumes_exactly(tmp_path):
    expected, _ = fit(stream(4), tmp_path / "whole")
    with pytest.warns(UserWarning, match="ended after 4 of 7"):
        fit(stream(7), tmp_path / "run", max_epochs=2)
    with pytest.warns(UserWarning, match="ended after 4 of 7"):
        model, _ = fit(stream(7), tmp_path / "run", ckpt_path=tmp_path / "run/checkpoints/last.ckpt")
    assert all(map(torch.equal, model.state_dict().values(), expected.state_dict().values()))
    assert rows(model) == rows(expected)
