"""Write ``shared_step`` once; get right numbers, history, checkpoints and any device."""

from lightmodels.base import LightModel
from lightmodels.history import History
from lightmodels.linear_regression import LinearRegression
from lightmodels.loading import load
from lightmodels.mnist_cnn import MNISTCNN
from lightmodels.reuters_conv1d import ReutersConv1D
from lightmodels.ring_dnn import RingDNN
from lightmodels.trainer import Trainer

__all__ = [
    "MNISTCNN",
    "History",
    "LightModel",
    "LinearRegression",
    "ReutersConv1D",
    "RingDNN",
    "Trainer",
    "load",
]
