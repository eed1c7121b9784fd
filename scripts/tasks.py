"""The tasks that the commands know: name -> model class, data module class."""

from datamodules.base import TensorDataModule
from datamodules.linear import LinearDataModule
from datamodules.mnist import MNISTDataModule
from datamodules.reuters import ReutersDataModule
from datamodules.rings import RingsDataModule
from lightmodels import MNISTCNN, LightModel, LinearRegression, ReutersConv1D, RingDNN

TASKS: dict[str, tuple[type[LightModel], type[TensorDataModule]]] = {
    "linear": (LinearRegression, LinearDataModule),
    "ring": (RingDNN, RingsDataModule),
    "mnist": (MNISTCNN, MNISTDataModule),
    "reuters": (ReutersConv1D, ReutersDataModule),
}
