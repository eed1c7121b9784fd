"""Made points on two rings that overlap."""

import math
from typing import Any

import torch

from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, Tensors, at_least_one, draw_splits

RADII = {1.0: 5.0, 0.0: 8.0}  # class -> mean radius; both spread with a standard deviation of 1


class RingDataModule(TensorDataModule):
    """Points of class 1 at radius N(5, 1) and of class 0 at radius N(8, 1), at any angle.

    ``num_rows`` rows, half of them of each class, are split into training and validation; the test
    set is ``test_rows`` fresh ones. x has shape ``(N, 2)``, y has shape ``(N, 1)``, both float32.

    Args:
        num_rows: rows for training and validation.
        test_rows: rows of the test set.
        val_fraction: share of ``num_rows`` for validation.
        batch_size: rows in a global batch.
        seed: seed of the rows, of the split and of the order.

    Raises:
        ValueError: a number of rows below 1, or a fraction that leaves a part empty.
    """

    def __init__(
        self,
        num_rows: int = 4_000,
        test_rows: int = 20_000,
        val_fraction: float = 0.3,
        batch_size: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, val_fraction=val_fraction, seed=seed)
        at_least_one(num_rows=num_rows, test_rows=test_rows)
        self.num_rows, self.test_rows = num_rows, test_rows
        self.save_hyperparameters()

    @property
    def sizes(self) -> dict[str, int]:
        return {"num_features": 2}

    @property
    def info(self) -> dict[str, Any]:
        return {"kind": "table", "features": ["x1", "x2"], "classes": ["outer ring", "inner ring"]}

    def load(self) -> Splits:
        return draw_splits(draw_rows, self.num_rows, self.test_rows, self.val_fraction, self.seed)


def draw_rows(rows: int, generator: torch.Generator) -> Tensors:
    """Draws points: x of shape ``(rows, 2)`` and the class y of shape ``(rows, 1)``, half of each class."""
    y = (torch.arange(rows) % 2).float()[:, None]
    radius = RADII[1.0] * y + RADII[0.0] * (1 - y) + torch.randn(rows, 1, generator=generator)
    angle = 2 * math.pi * torch.rand(rows, 1, generator=generator)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1), y
