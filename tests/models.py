"""Small models that tests train."""

import torch
from torch import nn
from torch.nn import functional as F

from lightmodels import LightModel


class Classifier(LightModel):
    """A dense net with dropout on two features and two classes."""

    def __init__(self, lr: float = 0.05, dropout: float = 0.0) -> None:
        super().__init__(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 2)))
        self.save_hyperparameters()

    def shared_step(self, batch):
        x, y = batch
        logits = self(x)
        return {"loss": F.cross_entropy(logits, y), "acc": (logits.argmax(1) == y).float().mean()}

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)]


def points(rows: int = 103, seed: int = 0):
    """Two features, and whether their sum is positive: tensors of shape ``(rows, 2)`` and ``(rows,)``."""
    x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed))
    return x, (x.sum(1) > 0).long()
