"""The tasks that the commands know: model class, data module class, and the task's own defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datamodules.housing import HousingDataModule
from datamodules.imdb import IMDBDataModule
from datamodules.linear import LinearDataModule
from datamodules.mnist import MNISTDataModule
from datamodules.reuters import ReutersDataModule
from datamodules.ring import RingDataModule
from lightmodels import (
    MLP,
    MNISTCNN,
    LightModel,
    LinearRegression,
    ReutersConv1D,
    RingDNN,
    TextResNet,
    TextSeparableCNN,
)
from lightmodels.data.tensor_datamodule import TensorDataModule


@dataclass(frozen=True)
class Task:
    """A model class with its data module class.

    Args:
        model: the class of its model.
        data: the class of its data module.
        defaults: values of flags, by their names without ``--``, instead of those in the constructors' signatures.
    """

    model: type[LightModel]
    data: type[TensorDataModule]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def max_epochs(self) -> int:
        """The epochs to train by default."""
        return int(self.defaults.get("max_epochs", self.model.max_epochs))


SOURCE_MLP = {"model.initializer": "glorot_uniform", "data.batch_size": 32, "data.val_fraction": 1 / 6}
SOURCE_HOUSING = {
    "model.hidden": [30],
    "model.activation": "elu",
    "model.initializer": "he_normal",
    "model.l2": 0.05,
    "model.optimizer": "nadam",
    "model.lr": 0.01,
    "max_epochs": 5,
}
TASKS = {
    "linear": Task(LinearRegression, LinearDataModule),
    "ring": Task(RingDNN, RingDataModule),
    "mnist": Task(MNISTCNN, MNISTDataModule),
    "reuters": Task(ReutersConv1D, ReutersDataModule),
    "mnist_mlp": Task(MLP, MNISTDataModule, SOURCE_MLP),
    "imdb": Task(TextResNet, IMDBDataModule),
    "imdb_separable": Task(TextSeparableCNN, IMDBDataModule),
    "housing": Task(MLP, HousingDataModule, SOURCE_HOUSING),
}
