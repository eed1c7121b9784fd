"""A multilayer perceptron, for classes and for numbers: 567,434 parameters on digits, 301 on house values."""

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import R2Score

from lightmodels.core.light_model import LightModel
from lightmodels.metrics.class_values import class_values, is_multi_label
from lightmodels.metrics.epoch_means import MetricValue
from lightmodels.metrics.weighted_loss import weighted_loss
from lightmodels.optim.fused import fused_kwargs, nadam_class
from lightmodels.optim.lr_schedules import one_cycle
from lightmodels.plots import defaults, images, plane, regression
from lightmodels.utils import argument_checks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACTIVATIONS = {"relu": nn.ReLU, "elu": nn.ELU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
INITIALIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "he_normal": nn.init.kaiming_normal_,
    "he_uniform": nn.init.kaiming_uniform_,
    "glorot_uniform": nn.init.xavier_uniform_,
}


class MLP(LightModel):
    """Dense layers; cross-entropy and accuracy for classes, mean squared error, mae and R² for a number.

    A batch is ``(x, y)`` or ``(x, y, weights)``: x of shape ``(B, ...)`` with ``num_features`` values a row; y of shape
    ``(B,)`` with classes, ``(B, 1)`` with numbers, or, if a row can be of several classes, ``(B, num_classes)`` with 0
    and 1. ``forward`` gives logits ``(B, num_classes)``, or values ``(B, 1)`` in the unit of y. Weights are in the loss
    only.

    With several classes a row, ``acc`` is the share of rows of which all classes are right, and ``label_acc`` the share
    of right ones among all yes-or-no answers. The loss of a number is the mean squared error in units of its
    ``target_std``.

    The penalty on weights, without biases, is in the training loss only: not in ``val_loss``, nor in mse.

    Args:
        num_features: values of a row.
        num_classes: classes; 0 for a regression.
        hidden: units of each hidden layer.
        activation: ``relu``, ``elu``, ``gelu``, ``silu`` or ``tanh``.
        dropout: probability of dropping a hidden unit during training.
        l2: factor of the sum of squared weights in the loss.
        initializer: initializer of the weights, such as ``he_normal``.
        optimizer: ``adam`` or ``nadam``.
        lr: learning rate; its peak with ``one_cycle``.
        schedule: ``constant`` or ``one_cycle``.
        feature_mean: subtracted from each feature; nothing by default.
        feature_std: each feature is divided by it; features that do not vary are not.
        target_scale: unit of y in which mse and mae are reported, and in which ``target_mean`` and ``target_std`` are.
        target_mean: a regression's net computes differences from it.
        target_std: a regression's net computes in this unit.
        cardinalities: the last values of a row are categories, whole numbers below these; each gets an embedding.

    Raises:
        ValueError: a size, rate or factor out of range, or moments of another length than ``num_features``.
    """

    max_epochs = 30
    feature_mean: Tensor | None
    feature_std: Tensor | None

    def __init__(  # noqa: PLR0913 (each is a flag of train.py)
        self,
        num_features: int = 784,
        num_classes: int = 10,
        *,
        hidden: Sequence[int] | str = (256, 128),
        activation: Literal["relu", "elu", "gelu", "silu", "tanh"] = "relu",
        dropout: float = 0.1,
        l2: float = 0.0,
        initializer: Literal["torch", "he_normal", "he_uniform", "glorot_uniform"] = "torch",
        optimizer: Literal["adam", "nadam"] = "adam",
        lr: float = 1e-3,
        schedule: Literal["constant", "one_cycle"] = "one_cycle",
        feature_mean: Sequence[float] | None = None,
        feature_std: Sequence[float] | None = None,
        target_scale: float = 1.0,
        target_mean: float = 0.0,
        target_std: float = 1.0,
        cardinalities: Sequence[int] | None = None,
    ) -> None:
        argument_checks.positive(num_features=num_features, lr=lr, target_scale=target_scale, target_std=target_std)
        argument_checks.not_negative(num_classes=num_classes, l2=l2)
        argument_checks.probability(dropout=dropout)
        hidden = argument_checks.whole_numbers(1, hidden=hidden)
        cardinalities = list(cardinalities or ())
        for cardinality in cardinalities:
            argument_checks.at_least(1, cardinalities=cardinality)
        if len(cardinalities) > num_features:
            raise ValueError(f"cardinalities must be at most {num_features} numbers, got {len(cardinalities)}")
        embeddings = CategoryEmbeddings(cardinalities)
        sizes = [num_features + embeddings.added_features, *hidden, num_classes or 1]
        super().__init__(_dense_layers(sizes, ACTIVATIONS[activation], dropout))
        self.category_embeddings = embeddings
        for layer in self._dense()[:-1]:
            if initializer != "torch":
                INITIALIZERS[initializer](layer.weight)
        for name, moments, for_zero in (("feature_mean", feature_mean, 0.0), ("feature_std", feature_std, 1.0)):
            if moments is not None and len(moments) != num_features:
                raise ValueError(f"{name} must have {num_features} numbers, got {len(moments)}")
            values = None if moments is None else torch.tensor([float(each) or for_zero for each in moments])
            self.register_buffer(name, values)
        if not num_classes:
            self.r2 = R2Score()
        self.save_hyperparameters()

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)  # (B, num_features)
        if self.feature_mean is not None:
            x = x - self.feature_mean
        if self.feature_std is not None:
            x = x / self.feature_std
        outputs: Tensor = super().forward(self.category_embeddings(x))
        if self.hparams["num_classes"]:
            return outputs  # (B, num_classes)
        values: Tensor = (outputs * self.hparams["target_std"] + self.hparams["target_mean"]) * self.hparams[
            "target_scale"
        ]
        return values  # (B, 1)

    def shared_step(self, batch: Sequence[Tensor]) -> dict[str, MetricValue]:
        x, y, *weights = batch
        outputs = self(x)
        values = self._values(outputs, y, weights)
        if self.training and self.hparams["l2"]:
            values["loss"] = values["loss"] + self._penalty()
        return values

    def _values(self, outputs: Tensor, y: Tensor, weights: Sequence[Tensor]) -> dict[str, Any]:
        """The loss without the penalty, and what is reported of the batch."""
        if self.hparams["num_classes"]:
            return class_values(outputs, y, weights)
        error = (outputs - y) / self.hparams["target_scale"]  # (B, 1)
        squares = error.square()
        self.r2.update(outputs.detach(), y)
        return {
            "loss": weighted_loss(squares / self.hparams["target_std"] ** 2, weights),
            "mse": squares.detach().mean(),
            "mae": (error.detach().abs().sum(), len(y)),
            "r2": self.r2,
        }

    def _penalty(self) -> Tensor:
        squares = torch.stack([layer.weight.square().sum() for layer in self._dense()])
        return float(self.hparams["l2"]) * squares.sum()

    def _dense(self) -> list[nn.Linear]:
        return [layer for layer in self.get_submodule("net").children() if isinstance(layer, nn.Linear)]

    def figures(self, batch: Sequence[Tensor], outputs: Tensor) -> "dict[str, Figure]":
        """Of images, the weights of the first hidden layer; of a regression, residuals and errors on the map."""
        x, y = batch[:2]
        if self.hparams["num_classes"] and is_multi_label(y):
            return {}
        figures = super().figures(batch, outputs)
        if self.hparams["num_classes"]:
            if x.dim() == 4:
                weights = self._dense()[0].weight.reshape(-1, *x.shape[1:])  # (units, channels, height, width)
                figures["first_layer_weights"] = images.image_grid(weights, "Weights of the first hidden units")
            return figures
        target, names = self.data_info.get("target", "target"), defaults.feature_names(self, x.shape[1])
        figures["predicted_against_true"] = regression.predicted_against_true(y, outputs, target)
        figures["residuals"] = regression.residuals(y, outputs, target)
        if {"longitude", "latitude"} <= set(names) and self.data_info.get("kind") != "frame":
            places = x[:, [names.index("longitude"), names.index("latitude")]]
            figures["error_by_place"] = plane.values_in_plane(
                places, (outputs - y)[:, 0], ("longitude", "latitude"), f"predicted - true {target}"
            )
        return figures

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if self.hparams["optimizer"] == "nadam":
            optimizer: Any = nadam_class(self)(self.parameters(), lr=self.hparams["lr"])
        else:
            optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams["lr"], **fused_kwargs(self))
        return one_cycle(self, optimizer) if self.hparams["schedule"] == "one_cycle" else optimizer


class CategoryEmbeddings(nn.Module):
    """Replaces the last values of a row, which are categories, by learned vectors: ``(B, n)`` to ``(B, n + added)``.

    A category of ``n`` has min(50, 1.6 n^0.56) values, as fastai's. Category 0, unknown in training, begins with zeros.
    """

    def __init__(self, cardinalities: Sequence[int]) -> None:
        super().__init__()
        widths = [min(50, round(1.6 * float(size) ** 0.56)) for size in cardinalities]
        tables = list(map(nn.Embedding, cardinalities, widths))
        for table in tables:
            nn.init.zeros_(table.weight[0])
        self.tables = nn.ModuleList(tables)
        self.added_features = sum(widths) - len(widths)

    def forward(self, x: Tensor) -> Tensor:
        if not self.tables:
            return x
        start = x.shape[1] - len(self.tables)
        vectors = [table(x[:, start + place].long()) for place, table in enumerate(self.tables)]
        return torch.cat([x[:, :start], *vectors], dim=1)


def _dense_layers(sizes: Sequence[int], activation: type[nn.Module], dropout: float) -> nn.Sequential:
    """Linear layers between these sizes, with activation and dropout after all but the last."""
    layers: list[nn.Module] = []
    for size, following in itertools.pairwise(sizes):
        layers += [nn.Linear(size, following), activation(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers[: len(layers) - (2 if dropout else 1)])
