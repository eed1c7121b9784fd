"""Linear regression: 400 rows of y = 2·x1 - 3·x2 + 10 + noise of variance 4; 3 parameters.

Reached with the defaults: the least squares solution of the same rows; see the README's table.
"""

from typing import TYPE_CHECKING

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lightmodels.core.light_model import LightModel
from lightmodels.metrics.epoch_means import MetricValue
from lightmodels.optim.fused import fused_kwargs
from lightmodels.optim.lr_schedules import one_cycle
from lightmodels.plots import defaults, regression
from lightmodels.utils import argument_checks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LinearRegression(LightModel):
    """``y = x·w + b``, trained on the mean squared error; metrics mae and mape.

    A batch is ``(x, y)``: x of shape ``(B, num_features)``, y of shape ``(B, 1)``.

    Args:
        num_features: inputs of a row.
        lr: Adam's peak learning rate; it rises, then falls to zero.

    Raises:
        ValueError: a size below 1 or a rate that is no finite number above 0.
    """

    max_epochs = 40

    def __init__(self, num_features: int = 2, lr: float = 0.1) -> None:
        argument_checks.positive(num_features=num_features, lr=lr)
        super().__init__(nn.Linear(num_features, 1))
        self.save_hyperparameters()

    def shared_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, MetricValue]:
        x, y = batch
        error = self(x) - y  # (B, 1)
        # As scikit-learn and torchmetrics do, keep a target of zero from dividing by it.
        relative = error.detach() / y.abs().clamp_min(torch.finfo(y.dtype).eps)
        return {
            "loss": error.square().mean(),
            "mae": (error.detach().abs().sum(), len(x)),
            "mape": (relative.abs().sum(), len(x)),
        }

    def figures(self, batch: tuple[Tensor, Tensor], outputs: Tensor) -> "dict[str, Figure]":
        """The line of each feature, the residuals, and the weights beside the least-squares solution."""
        (x, y), target = batch, self.data_info.get("target", "y")
        names = defaults.feature_names(self, x.shape[1])
        weight, bias = (self.get_parameter(f"net.{name}").flatten() for name in ("weight", "bias"))
        with_ones = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        exact = torch.linalg.lstsq(with_ones.double().cpu(), y.double().cpu()).solution[:, 0]
        learned, label = torch.cat([weight, bias]), "least squares on these rows"
        return {
            "fitted_lines": regression.fitted_lines(x, y[:, 0], weight, float(bias), names, target),
            "residuals": regression.residuals(y, outputs, target),
            "weights": regression.weight_comparison(learned, exact, [*names, "bias"], label),
        }

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return one_cycle(self, torch.optim.Adam(self.parameters(), lr=self.hparams["lr"], **fused_kwargs(self)))
