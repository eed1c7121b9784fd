"""Training on pictures, in memory or decoded by workers: the same bits, also after a stop within an epoch."""

import signal
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from lightmodels import ImageCNN, ImageFolderDataModule, Trainer


@pytest.fixture
def photos():
    random = np.random.default_rng(0)
    for number in range(40):
        path = Path(f"photos/{number % 2}/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8)).save(path)


def fit(run_dir, stop=None, ckpt_path=None, **options):
    pl.seed_everything(3, verbose=False)
    data = ImageFolderDataModule("photos", augment="both", batch_size=6, class_weights="balanced", **options)
    model = ImageCNN(**data.sizes, width=8, blocks=2, dropout=0.3)
    trainer = Trainer(max_epochs=3, gpus=0, run_dir=run_dir, logger=False, figures=False)

    def stop_here(*_):
        if trainer.global_step == stop:
            signal.raise_signal(signal.SIGINT)

    model.on_train_batch_end = stop_here
    trainer.fit(model, data, ckpt_path=ckpt_path)
    assert trainer.interrupted == (stop is not None)
    return model


WORKERS = {"max_memory_gb": 1e-9, "num_workers": 2}


@pytest.mark.parametrize("options", [{}, WORKERS], ids=["in memory", "by workers"])
def test_a_run_that_is_stopped_and_resumed_ends_in_the_same_bits(photos, options):
    whole = fit("whole")
    assert len(ImageFolderDataModule("photos", batch_size=6).splits.train[0]) / 6 + 1 > 5
    fit("parts", stop=7, **options)  # in the second epoch, of five steps each
    again = fit("parts", ckpt_path="parts/checkpoints/last.ckpt", **options)
    for name in ("train_loss", "val_loss"):
        assert list(again.history[name]) == list(whole.history[name])
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())
