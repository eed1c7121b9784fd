"""A small net that tells an inner ring of points from an outer one; 61 parameters.

The best that anything can do is an accuracy of 0.9332, with the circle of radius 6.5 as boundary.
"""

from typing import TYPE_CHECKING

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from lightmodels.core.light_model import LightModel
from lightmodels.metrics.epoch_means import MetricValue
from lightmodels.optim.fused import fused_kwargs
from lightmodels.optim.lr_schedules import one_cycle
from lightmodels.plots import defaults, plane
from lightmodels.utils import argument_checks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPTIMAL_RADIUS = 6.5  # where both classes are equally likely


class RingDNN(LightModel):
    """Linear 2-4-8-1 with ReLU, trained on the binary cross-entropy; metric accuracy.

    A batch is ``(x, y)``: x of shape ``(B, num_features)``, y of shape ``(B, 1)`` with 0.0 or 1.0.
    ``forward`` gives the logit of class 1, of shape ``(B, 1)``.

    Args:
        num_features: inputs of a row.
        lr: Adam's peak learning rate; it rises, then falls to zero.

    Raises:
        ValueError: a size below 1 or a rate that is no finite number above 0.
    """

    max_epochs = 30

    def __init__(self, num_features: int = 2, lr: float = 0.03) -> None:
        argument_checks.positive(num_features=num_features, lr=lr)
        super().__init__(
            nn.Sequential(
                nn.Linear(num_features, 4),  # (B, 4)
                nn.ReLU(),
                nn.Linear(4, 8),  # (B, 8)
                nn.ReLU(),
                nn.Linear(8, 1),  # (B, 1)
            )
        )
        self.save_hyperparameters()

    def shared_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, MetricValue]:
        x, y = batch
        logits = self(x)
        correct = (logits > 0) == (y > 0.5)
        return {"loss": F.binary_cross_entropy_with_logits(logits, y), "acc": (correct.sum(), len(x))}

    def figures(self, batch: tuple[Tensor, Tensor], outputs: Tensor) -> "dict[str, Figure]":
        """The true and predicted classes, and the decision boundary beside the optimal circle."""
        x, y = batch
        if x.shape[1] != 2:
            return super().figures(batch, outputs)
        true, predicted = y[:, 0].long(), (outputs[:, 0] > 0).long()
        names, features = defaults.class_names(self, 2), defaults.feature_names(self, 2)
        return {
            "classes": plane.classes_side_by_side(x, true, predicted, names, features),
            "decision_boundary": plane.decision_boundary(
                lambda points: self(points).sigmoid(), x, true, names, features, OPTIMAL_RADIUS
            ),
        }

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return one_cycle(self, torch.optim.Adam(self.parameters(), lr=self.hparams["lr"], **fused_kwargs(self)))
