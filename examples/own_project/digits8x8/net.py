"""A small convolutional net for the digits."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightmodels import LightModel


class DigitsNet(LightModel):
    """Two convolutions and a dense layer; cross-entropy and accuracy.

    Args:
        num_classes: number of classes.
        lr: Adam's learning rate.
    """

    def __init__(self, num_classes: int = 10, lr: float = 3e-3) -> None:
        super().__init__(
            nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1),  # (B, 16, 8, 8)
                nn.ReLU(),
                nn.MaxPool2d(2),  # (B, 16, 4, 4)
                nn.Conv2d(16, 32, 3, padding=1),  # (B, 32, 4, 4)
                nn.ReLU(),
                nn.Flatten(),  # (B, 512)
                nn.Linear(512, num_classes),  # (B, num_classes)
            )
        )
        self.save_hyperparameters()

    def shared_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Any]:
        x, y = batch
        logits = self(x)
        hits = logits.argmax(dim=1) == y
        return {"loss": F.cross_entropy(logits, y), "acc": (hits.sum(), len(y))}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.hparams["lr"])
