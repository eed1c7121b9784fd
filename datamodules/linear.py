"""Synthetic data for linear regression."""

from typing import Any

import torch

from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, Tensors, train_val_split
from lightmodels.utils.argument_checks import at_least

WEIGHTS, BIAS = (2.0, -3.0), 10.0
NOISE = 2.0  # standard deviation: no model's mean squared error is below 4


class LinearDataModule(TensorDataModule):
    """``y = 2·x1 - 3·x2 + 10 + N(0, 2²)`` with both x uniform on (-5, 5).

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
        num_rows: int = 400,
        test_rows: int = 10_000,
        val_fraction: float = 0.3,
        batch_size: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_fraction, seed)
        at_least(1, num_rows=num_rows, test_rows=test_rows)
        self.num_rows, self.test_rows = num_rows, test_rows
        self.save_hyperparameters()

    @property
    def sizes(self) -> dict[str, int]:
        return {"num_features": len(WEIGHTS)}

    @property
    def info(self) -> dict[str, Any]:
        return {"kind": "table", "features": ["x1", "x2"], "target": "y"}

    def load(self) -> Splits:
        generator = torch.Generator().manual_seed(self.seed)
        train, val = train_val_split(draw_rows(self.num_rows, generator), self.val_fraction, self.seed)
        return Splits(train, val, test=draw_rows(self.test_rows, generator))


def draw_rows(rows: int, generator: torch.Generator) -> Tensors:
    """Draws x of shape ``(rows, 2)`` and y of shape ``(rows, 1)``."""
    x = torch.rand(rows, len(WEIGHTS), generator=generator) * 10 - 5
    noise = NOISE * torch.randn(rows, 1, generator=generator)
    return x, x @ torch.tensor(WEIGHTS)[:, None] + BIAS + noise
