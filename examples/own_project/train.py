"""Trains on a CSV file and prints the test metrics of the best epoch's weights as one JSON line."""

import json
import sys

import pytorch_lightning as pl
from digits8x8.data import DigitsDataModule
from digits8x8.net import DigitsNet

from lightmodels import Trainer


def main(path: str) -> None:
    pl.seed_everything(0, verbose=False)
    data = DigitsDataModule(path)
    model = DigitsNet(**data.sizes)
    trainer = Trainer(max_epochs=15, gpus=0)
    trainer.fit(model, data)
    metrics: dict[str, float] = trainer.test(verbose=False)[0]
    print(json.dumps(metrics | {"best_epoch": trainer.best_epoch}))


if __name__ == "__main__":
    main(sys.argv[1])
