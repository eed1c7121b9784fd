"""Write ``shared_step`` once; get right numbers, history, checkpoints and any device."""

from lightmodels.utils.fast_import import gc_paused

with gc_paused():
    from lightmodels.core.embedding import Embedding
    from lightmodels.core.light_model import LightModel
    from lightmodels.core.loading import load
    from lightmodels.core.summary import summary
    from lightmodels.data.table_datamodule import TableDataModule
    from lightmodels.metrics.epoch_means import EpochMeans
    from lightmodels.metrics.history import History
    from lightmodels.models.image_cnn import ImageCNN
    from lightmodels.models.linear_regression import LinearRegression
    from lightmodels.models.mlp import MLP
    from lightmodels.models.mnist_cnn import MNISTCNN
    from lightmodels.models.reuters_conv1d import ReutersConv1D
    from lightmodels.models.ring_dnn import RingDNN
    from lightmodels.models.text_cnn import TextCNN
    from lightmodels.models.text_res_net import TextResNet
    from lightmodels.models.text_separable_cnn import TextSeparableCNN
    from lightmodels.trainer.repeated_fits import cross_validate, fit_seeds
    from lightmodels.trainer.trainer import Trainer

__all__ = [
    "MLP",
    "MNISTCNN",
    "Embedding",
    "EpochMeans",
    "History",
    "ImageCNN",
    "LightModel",
    "LinearRegression",
    "ReutersConv1D",
    "RingDNN",
    "TableDataModule",
    "TextCNN",
    "TextResNet",
    "TextSeparableCNN",
    "Trainer",
    "cross_validate",
    "fit_seeds",
    "load",
    "summary",
]
