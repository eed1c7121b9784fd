"""Write ``shared_step`` once; get right numbers, history, checkpoints and any device.

Importing the package imports nothing else: each name brings its module along when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lightmodels.utils import lazy_torchmetrics
from lightmodels.utils.fast_import import gc_paused

if TYPE_CHECKING:
    from lightmodels.core.embedding import Embedding
    from lightmodels.core.light_model import LightModel
    from lightmodels.core.loading import load
    from lightmodels.core.summary import summary
    from lightmodels.data.image_datamodule import ImageFolderDataModule
    from lightmodels.data.table_datamodule import TableDataModule
    from lightmodels.data.text_datamodule import TextDataModule
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
    from lightmodels.tuning.tune import tune

__version__ = "0.1.0"
lazy_torchmetrics.install()
_MODULES = {
    "cross_validate": "trainer.repeated_fits",
    "Embedding": "core.embedding",
    "EpochMeans": "metrics.epoch_means",
    "fit_seeds": "trainer.repeated_fits",
    "History": "metrics.history",
    "ImageCNN": "models.image_cnn",
    "ImageFolderDataModule": "data.image_datamodule",
    "LightModel": "core.light_model",
    "LinearRegression": "models.linear_regression",
    "load": "core.loading",
    "MLP": "models.mlp",
    "MNISTCNN": "models.mnist_cnn",
    "ReutersConv1D": "models.reuters_conv1d",
    "RingDNN": "models.ring_dnn",
    "summary": "core.summary",
    "TableDataModule": "data.table_datamodule",
    "TextCNN": "models.text_cnn",
    "TextDataModule": "data.text_datamodule",
    "TextResNet": "models.text_res_net",
    "TextSeparableCNN": "models.text_separable_cnn",
    "Trainer": "trainer.trainer",
    "tune": "tuning.tune",
}
__all__ = [
    "MLP",
    "MNISTCNN",
    "Embedding",
    "EpochMeans",
    "History",
    "ImageCNN",
    "ImageFolderDataModule",
    "LightModel",
    "LinearRegression",
    "ReutersConv1D",
    "RingDNN",
    "TableDataModule",
    "TextCNN",
    "TextDataModule",
    "TextResNet",
    "TextSeparableCNN",
    "Trainer",
    "cross_validate",
    "fit_seeds",
    "load",
    "summary",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with gc_paused():
        value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
