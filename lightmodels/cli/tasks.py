"""The tasks that the commands know: model class, data module class, and the task's own defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import lightmodels
from lightmodels.cli.signatures import models

if TYPE_CHECKING:
    from lightmodels.data.tensor_datamodule import TensorDataModule


@dataclass(frozen=True)
class Task:
    """A model class with its data module class, by name, as importing them imports PyTorch.

    Args:
        model: the class of its model, in ``lightmodels``.
        data: the class of its data module, in ``datamodules`` or ``lightmodels``.
        defaults: values of flags, by their names without ``--``, instead of those in the constructors' signatures;
            those of ``--model.…`` are for ``model`` only.
        others: classes of other models for the same data, which ``--model`` chooses.
    """

    model: str
    data: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    others: Sequence[str] = ()

    @property
    def models(self) -> list[str]:
        """The models that can be trained, the usual one first."""
        return [self.model, *self.others]

    @property
    def data_class(self) -> "type[TensorDataModule]":
        """The class of its data module."""
        import datamodules  # imports PyTorch

        home = lightmodels if self.data in lightmodels.__all__ else datamodules
        data_class: type[TensorDataModule] = getattr(home, self.data)
        return data_class

    def with_model(self, name: str) -> "Task":
        """The task with another of its models; the defaults for the usual one do not apply to it."""
        if name == self.model:
            return self
        kept = {flag: value for flag, value in self.defaults.items() if flag.startswith("data.")}
        return replace(self, model=name, defaults=kept, others=())

    @property
    def max_epochs(self) -> int:
        """The epochs to train by default."""
        return int(self.defaults.get("max_epochs", getattr(models, f"{self.model}Flags").max_epochs))


SOURCE_MLP = {
    "model.hidden": [512, 256, 128],
    "model.activation": "relu",
    "model.dropout": 0.0,
    "model.initializer": "glorot_uniform",
    "model.lr": 1e-4,
    "model.schedule": "constant",
    "data.batch_size": 32,
    "data.val_fraction": 1 / 6,
    "max_epochs": 10,
}
SOURCE_HOUSING = {
    "model.hidden": [30],
    "model.activation": "elu",
    "model.dropout": 0.0,
    "model.initializer": "he_normal",
    "model.l2": 0.05,
    "model.optimizer": "nadam",
    "model.lr": 0.01,
    "model.schedule": "constant",
    "max_epochs": 5,
}
TEXTS = {"max_epochs": 5}
TASKS = {
    "linear": Task("LinearRegression", "LinearDataModule"),
    "ring": Task("RingDNN", "RingDataModule"),
    "mnist": Task("MNISTCNN", "MNISTDataModule", others=["ImageCNN"]),
    "reuters": Task("ReutersConv1D", "ReutersDataModule", others=["TextCNN"]),
    "mnist_mlp": Task("MLP", "MNISTDataModule", SOURCE_MLP),
    "imdb": Task("TextResNet", "IMDBDataModule"),
    "imdb_separable": Task("TextSeparableCNN", "IMDBDataModule"),
    "housing": Task("MLP", "HousingDataModule", SOURCE_HOUSING),
    "table": Task("MLP", "TableDataModule"),
    "texts": Task("TextCNN", "TextDataModule", TEXTS, others=["TextResNet", "TextSeparableCNN", "ReutersConv1D"]),
    "images": Task("ImageCNN", "ImageFolderDataModule"),
}
