"""The digits of a CSV file."""

from pathlib import Path

import numpy as np
import torch

from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, train_val_split


class DigitsDataModule(TensorDataModule):
    """Images x of shape ``(N, 1, 8, 8)`` in 0..1 and classes y of shape ``(N,)``.

    Args:
        path: a CSV file with a header, then rows of 64 pixels in 0..16 and the class.
        batch_size: rows per batch.
        val_fraction: fraction of the training rows used for validation; a fifth of all rows is the test set.
        seed: seed of the split and of the order of the rows.
    """

    def __init__(self, path: str | Path, batch_size: int = 32, val_fraction: float = 0.1, seed: int = 0) -> None:
        super().__init__(batch_size=batch_size, val_fraction=val_fraction, seed=seed)
        self.path = Path(path)

    @property
    def sizes(self) -> dict[str, int]:
        return {"num_classes": 10}

    def load(self) -> Splits:
        table = torch.from_numpy(np.loadtxt(self.path, delimiter=",", skiprows=1, dtype=np.int64))
        rows = table[:, :64].float().div(16).reshape(-1, 1, 8, 8), table[:, 64]
        rest, test = train_val_split(rows, 0.2, seed=0)  # the same test set for all seeds
        train, val = train_val_split(rest, self.val_fraction, self.seed)
        return Splits(train, val, test)
