"""Synthetic data for classification: points on two overlapping rings."""

import math
from typing import Any

import torch

from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, Tensors, train_val_split
from lightmodels.utils.argument_checks import at_least

RADII = {1.0: 5.0, 0.0: 8.0}  # class -> mean radius, both with a standard deviation of 1


class RingDataModule(TensorDataModule):
    """Points of class 1 at radius N(5, 1) and of class 0 at radius N(8, 1), at any angle, half of each class.

    x has shape ``(N, 2)``, y has shape ``(N, 1)``, both float32.

    Args:
        num_rows: rows for training and validation.
        test_rows: additional rows for the test set.
        val_fraction: share of ``num_rows`` for validation.
        batch_size: rows in a global batch.
        seed: seed of the rows, of the split and of the order.
    """

    def __init__(
        self,
        num_rows: int = 4_000,
        test_rows: int = 20_000,
        val_fraction: float = 0.3,
        batch_size: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_fraction, seed)
        at_least(1, num_rows=num_rows, test_rows=test_rows)
        self.num_rows, self.test_rows = num_rows, test_rows
        self.save_hyperparameters()

    @property
    def sizes(self) -> dict[str, int]:
        return {"num_features": 2}

    @property
    def info(self) -> dict[str, Any]:
        return {"kind": "table", "features": ["x1", "x2"], "classes": ["outer ring", "inner ring"]}

    def load(self) -> Splits:
        generator = torch.Generator().manual_seed(self.seed)
        train, val = train_val_split(draw_rows(self.num_rows, generator), self.val_fraction, self.seed)
        return Splits(train, val, test=draw_rows(self.test_rows, generator))


def draw_rows(rows: int, generator: torch.Generator) -> Tensors:
    """Draws points x of shape ``(rows, 2)`` and their classes y of shape ``(rows, 1)``."""
    y = (torch.arange(rows) % 2).float()[:, None]
    radius = RADII[1.0] * y + RADII[0.0] * (1 - y) + torch.randn(rows, 1, generator=generator)
    angle = 2 * math.pi * torch.rand(rows, 1, generator=generator)
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1), y
