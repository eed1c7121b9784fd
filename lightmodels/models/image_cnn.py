"""A small residual convolutional net for images of any size; 77,562 parameters for grey images of ten classes."""

import difflib
import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from lightmodels.core.light_model import LightModel
from lightmodels.metrics.class_values import class_values
from lightmodels.metrics.epoch_means import MetricValue
from lightmodels.optim.fused import fused_kwargs
from lightmodels.optim.lr_schedules import one_cycle
from lightmodels.utils import argument_checks
from lightmodels.utils.data_error import one_line

GROUP = 8  # channels that GroupNorm normalizes together


class ImageCNN(LightModel):
    """Residual blocks with pooling between them, global average pooling and a dense layer; cross-entropy and accuracy.

    A batch is ``(x, y)`` or ``(x, y, weights)``: x of shape ``(B, channels, height, width)`` in 0..1, or uint8 in
    0..255; y of shape ``(B,)`` with the classes, or, if an image can be of several, ``(B, num_classes)`` with 0 and 1.
    ``forward`` gives logits of shape ``(B, num_classes)``.

    Layers are normalized within each image, so that an image's prediction depends neither on the rest of its batch nor
    on the number of processes.

    With a ``backbone``, the net is one of torchvision's, whose last dense layer is a new one: grey images become color
    ones, all are normalized by the mean and deviation of ImageNet's, and ``width`` and ``blocks`` are not used. It
    starts at random, or with ``weights`` from a file that torchvision offers for download; a checkpoint of this model
    has them all, and is loaded without that file. A smaller ``lr`` than the default suits them.

    Args:
        num_classes: classes.
        channels: 1 for grey images, 3 for color.
        width: channels after the first convolution, a multiple of 8; each further block doubles them.
        blocks: number of residual blocks; images are halved between them.
        lr: AdamW's peak learning rate; it rises, then falls to zero.
        weight_decay: AdamW's decoupled weight decay.
        dropout: probability of dropping an input of the dense layer during training.
        label_smoothing: share of the target that is spread over all classes during training.
        backbone: a net of ``torchvision.models`` to use instead, such as ``resnet18``.
        weights: file of the backbone's weights, a ``state_dict``.
        freeze: whether to train only the new dense layer.

    Raises:
        ValueError: a size below 1, a width that is no multiple of 8, a rate or probability out of range, an unknown
            backbone, or weights that cannot be read or do not fit it.
    """

    max_epochs = 30

    def __init__(  # noqa: PLR0913 (each is a flag of train.py)
        self,
        num_classes: int = 10,
        channels: int = 1,
        width: int = 16,
        blocks: int = 3,
        lr: float = 0.005,
        weight_decay: float = 0.01,
        dropout: float = 0.1,
        label_smoothing: float = 0.0,
        *,
        backbone: str | None = None,
        weights: str | None = None,
        freeze: bool = False,
    ) -> None:
        argument_checks.positive(num_classes=num_classes, channels=channels, width=width, blocks=blocks, lr=lr)
        argument_checks.not_negative(weight_decay=weight_decay)
        argument_checks.probability(dropout=dropout, label_smoothing=label_smoothing)
        if width % GROUP:
            raise ValueError(f"width must be a multiple of {GROUP}, got {width}")
        if backbone is None and (weights or freeze):
            raise ValueError(f"{'weights' if weights else 'freeze'} needs a backbone")
        if backbone is None:
            net: nn.Module = _residual_net(num_classes, channels, width, blocks, dropout)
        else:
            net = Backbone(backbone, num_classes, dropout, weights, freeze)
        super().__init__(net.to(memory_format=torch.channels_last))  # faster on CPUs, with the same parameters
        self.save_hyperparameters(ignore=["weights"])

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = super().forward(x / 255 if x.dtype == torch.uint8 else x)
        return logits

    def on_fit_start(self) -> None:
        if self.hparams["freeze"]:  # on purpose, in evaluation mode
            warnings.filterwarnings("ignore", message=r"Found \d+ module.* in eval mode at the start of training")

    def shared_step(self, batch: Sequence[Tensor]) -> dict[str, MetricValue]:
        x, y, *weights = batch
        logits = self(x)
        smoothing = self.hparams["label_smoothing"] if self.training else 0.0
        return class_values(logits, y, weights, smoothing)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        hparams = self.hparams
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            trained, lr=hparams["lr"], weight_decay=hparams["weight_decay"], **fused_kwargs(self)
        )
        return one_cycle(self, optimizer)


def _residual_net(num_classes: int, channels: int, width: int, blocks: int, dropout: float) -> nn.Sequential:
    widths = [width * 2**block for block in range(blocks)]
    layers: list[nn.Module] = [*_convolution(channels, width), nn.ReLU(), ResidualBlock2d(width, width)]
    for before, after in itertools.pairwise(widths):
        layers += [nn.MaxPool2d(2, ceil_mode=True), ResidualBlock2d(before, after)]  # half the height and width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]  # (B, widths[-1])
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))  # (B, num_classes)


class ResidualBlock2d(nn.Module):
    """Two 3x3 convolutions, ``(B, before, H, W)`` to ``(B, after, H, W)``, added to their input.

    If the numbers of channels differ, a 1x1 convolution of the input makes them equal.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_convolution(before, after), nn.ReLU(), *_convolution(after, after))
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.layers(x) + self.shortcut(x))


def _convolution(before: int, after: int) -> list[nn.Module]:
    """A 3x3 convolution, whose images keep their size, and its normalization."""
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.GroupNorm(after // GROUP, after)]


class Backbone(nn.Module):
    """One of torchvision's classifiers with a new dense layer: images in 0..1 to logits ``(B, num_classes)``.

    Raises ValueError, which begins with ``backbone`` or ``weights``, for a name or a file that does not fit.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, num_classes: int, dropout: float, weights: str | None, freeze: bool) -> None:
        super().__init__()
        with torch.device("cpu"):  # not all can be built on the meta device
            self.net = _torchvision_net(name)
            if weights:
                self.net.load_state_dict(_read_weights(weights, name, self.net.state_dict()))
            self.net.requires_grad_(not freeze)
            self._place, last = _last_layer(self.net, name)
            parent, _, attribute = self._place.rpartition(".")
            layer = nn.Sequential(nn.Dropout(dropout), nn.Linear(last.in_features, num_classes))
            setattr(self.net.get_submodule(parent), attribute, layer)
            for kind, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):  # of ImageNet
                self.register_buffer(kind, torch.tensor(values).reshape(3, 1, 1), persistent=False)
        self._is_frozen = freeze
        self.train()

    def train(self, mode: bool = True) -> "Backbone":
        """Sets the mode; frozen layers stay in evaluation mode, so that batch normalization changes nothing."""
        super().train(mode)
        if self._is_frozen:
            self.net.eval().get_submodule(self._place).train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net((x.expand(-1, 3, -1, -1) - self.mean) / self.std)
        return logits


def _torchvision_net(name: str) -> nn.Module:
    from torchvision import models  # type: ignore[import-untyped]

    known: list[str] = models.list_models(module=models)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1) or ["resnet18"]
        raise ValueError(f"backbone must be a classifier in torchvision.models, such as {close[0]}, got {name!r}")
    return cast(nn.Module, models.get_model(name, weights=None))


def _last_layer(net: nn.Module, name: str) -> tuple[str, nn.Linear]:
    """The name of the last layer with weights, and the layer, which has to be a dense one."""
    place, layer = [each for each in net.named_modules() if isinstance(each[1], (nn.Linear, nn.Conv2d))][-1]
    if not isinstance(layer, nn.Linear) or getattr(net, "aux_logits", False):
        raise ValueError(f"backbone {name} does not end in one dense layer, which could be replaced")
    return place, layer


def _read_weights(path: str, name: str, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in a file; no code in it is run."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can raise anything
        raise ValueError(f"weights {path} cannot be read: {one_line(error)}") from error
    given = found if isinstance(found, Mapping) else {}
    for key, value in own.items():
        shape = getattr(given.get(key), "shape", None)
        if shape != value.shape and not key.endswith("num_batches_tracked"):  # which old files lack
            what = f"there is no {key}" if shape is None else f"{key} has the shape {list(shape)}"
            raise ValueError(f"weights {path} do not fit {name}: {what}")
    return {key: given.get(key, value) for key, value in own.items()}
