"""Trains each kind of model on one or two processes: python every_model.py DIRECTORY writes DIRECTORY/<name>.ckpt.

The models have no dropout, so that two processes train as one does.
"""

import sys
from pathlib import Path

from lightmodels import Trainer  # first, as in a command: what it imports is quicker

# isort: split
import pytorch_lightning as pl
import torch

from lightmodels import MLP, ImageCNN, TextCNN, TextResNet, TextSeparableCNN
from lightmodels.cli.exit_codes import quick_end
from lightmodels.data.array_datamodule import ArrayDataModule

WORDS, LENGTH, ROWS = 40, 60, 37


def tokens():
    return torch.randint(3, WORDS, (ROWS, LENGTH))


def classes(count):
    return torch.randint(count, (ROWS,))


def one_logit():
    return torch.randint(2, (ROWS, 1)).float()


DENSE = {"hidden": [8], "lr": 0.01, "dropout": 0.0, "schedule": "constant"}
TEXT = {"num_words": WORDS, "length": LENGTH}
MODELS = {  # name -> what makes the model, its inputs and its targets
    "mlp-classes": (
        lambda **k: MLP(6, 3, **DENSE | k),
        lambda: torch.randn(ROWS, 6), lambda: classes(3),
    ),
    "mlp-number": (
        lambda **k: MLP(6, 0, l2=0.05, optimizer="nadam", **DENSE | k),
        lambda: torch.randn(ROWS, 6), lambda: torch.randn(ROWS, 1),
    ),
    "mlp-labels": (
        lambda **k: MLP(4, 3, cardinalities=[2, 5], **DENSE | k),
        lambda: torch.cat([torch.randn(ROWS, 2), torch.randint(2, (ROWS, 2))], 1),
        lambda: torch.randint(2, (ROWS, 3)).float(),
    ),
    "text-res-net": (lambda **k: TextResNet(**TEXT, **k), tokens, one_logit),
    "text-separable": (lambda **k: TextSeparableCNN(**TEXT, **k), tokens, one_logit),
    "text-cnn": (
        lambda **k: TextCNN(**TEXT, num_classes=3, filters=8, **{"dropout": 0.0, "masking": 0.0} | k),
        tokens, lambda: classes(3),
    ),
    "image-cnn": (
        lambda **k: ImageCNN(3, width=8, blocks=2, **{"dropout": 0.0} | k),
        lambda: torch.rand(ROWS, 1, 8, 8), lambda: classes(3),
    ),
}  # fmt: skip


def make(name, **changes):
    """A model and its data, always the same."""
    make_model, inputs, targets = MODELS[name]
    pl.seed_everything(3, verbose=False)
    rows = inputs(), targets()
    data = ArrayDataModule(rows, tuple(part[:11] for part in rows), batch_size=8, seed=1)
    return make_model(**changes), data


def train(name, directory, **options):
    model, data = make(name)
    trainer = Trainer(max_epochs=2, logger=False, enable_checkpointing=False, accelerator="cpu", **options)
    trainer.fit(model, data)
    if trainer.is_global_zero:
        model.save(Path(directory) / f"{name}.ckpt")
    return model


if __name__ == "__main__":
    with quick_end():
        for each in MODELS:
            train(each, sys.argv[1], devices=2, strategy="ddp")
            print(each, flush=True)
