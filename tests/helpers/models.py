"""Small models that tests train."""

import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import BinaryF1Score

from lightmodels import LightModel
from lightmodels.data.tensor_datamodule import Splits, TensorDataModule
from lightmodels.optim.lr_schedules import one_cycle


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


class GetsWorse(Classifier):
    """Its first epoch is the best."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, maximize=True)


class OneCycle(Classifier):
    """Dropout, and a rate that changes each step."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__(dropout=dropout)

    def configure_optimizers(self):
        return one_cycle(self, torch.optim.Adam(self.parameters(), lr=self.hparams.lr))


class ManyMetrics(OneCycle):
    """A mean, an exact pair and a Metric object that serves all stages."""

    def __init__(self) -> None:
        super().__init__()
        self.f1_score = BinaryF1Score()

    def shared_step(self, batch):
        x, y = batch
        hits = self(x).argmax(1)
        self.f1_score.update(hits, y)
        return super().shared_step(batch) | {"hits": ((hits == y).sum(), len(y)), "f1": self.f1_score}


def points(rows: int = 103, seed: int = 0):
    """Two features, and whether their sum is positive: tensors of shape ``(rows, 2)`` and ``(rows,)``."""
    x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed))
    return x, (x.sum(1) > 0).long()


class Points(TensorDataModule):
    """103 rows to train on and 31 to validate on: last batches that are not full."""

    def load(self):
        return Splits(points(103), points(31, 1), points(31, 1))
