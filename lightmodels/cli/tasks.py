"""The tasks that the commands know: name -> model class, data module class."""

from datamodules.linear import LinearDataModule
from datamodules.mnist import MNISTDataModule
from datamodules.reuters import ReutersDataModule
from datamodules.ring import RingDataModule
from lightmodels import MNISTCNN, LightModel, LinearRegression, ReutersConv1D, RingDNN
from lightmodels.data.tensor_datamodule import TensorDataModule

TASKS: dict[str, tuple[type[LightModel], type[TensorDataModule]]] = {
    "linear": (LinearRegression, LinearDataModule),
    "ring": (RingDNN, RingDataModule),
    "mnist": (MNISTCNN, MNISTDataModule),
    "reuters": (ReutersConv1D, ReutersDataModule),
}
