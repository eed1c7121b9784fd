"""The data sets of the tasks, one per file, each matched to a model of ``lightmodels.models``."""

from datamodules.housing import HousingDataModule
from datamodules.imdb import IMDBDataModule
from datamodules.linear import LinearDataModule
from datamodules.mnist import MNISTDataModule
from datamodules.reuters import ReutersDataModule
from datamodules.ring import RingDataModule
from lightmodels.data.tensor_datamodule import TensorDataModule

__all__ = [
    "HousingDataModule",
    "IMDBDataModule",
    "LinearDataModule",
    "MNISTDataModule",
    "ReutersDataModule",
    "RingDataModule",
    "TensorDataModule",
]
