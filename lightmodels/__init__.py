"""Write ``shared_step`` once; get right numbers, history, checkpoints and any device."""

from lightmodels.quick_import import collector_at_rest

with collector_at_rest():
    from lightmodels.base import LightModel
    from lightmodels.core.embedding import Embedding
    from lightmodels.epoch_means import EpochMeans
    from lightmodels.history import History
    from lightmodels.linear_regression import LinearRegression
    from lightmodels.loading import load
    from lightmodels.mnist_cnn import MNISTCNN
    from lightmodels.model_summary import summary
    from lightmodels.repeated import cross_validate, fit_seeds
    from lightmodels.reuters_conv1d import ReutersConv1D
    from lightmodels.ring_dnn import RingDNN
    from lightmodels.trainer import Trainer

__all__ = [
    "MNISTCNN",
    "Embedding",
    "EpochMeans",
    "History",
    "LightModel",
    "LinearRegression",
    "ReutersConv1D",
    "RingDNN",
    "Trainer",
    "cross_validate",
    "fit_seeds",
    "load",
    "summary",
]
