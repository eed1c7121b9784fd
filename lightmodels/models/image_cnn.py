"""A small residual convolutional net for images of any size; 77,562 parameters for grey images of ten classes."""

import itertools
from collections.abc import Sequence

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from lightmodels.core.light_model import LightModel
from lightmodels.metrics.epoch_means import MetricValue
from lightmodels.metrics.weighted_loss import weighted_loss
from lightmodels.optim.fused import fused_kwargs
from lightmodels.optim.lr_schedules import one_cycle
from lightmodels.utils import argument_checks

GROUP = 8  # channels that GroupNorm normalizes together


class ImageCNN(LightModel):
    """Residual blocks with pooling between them, global average pooling and a dense layer; cross-entropy and accuracy.

    A batch is ``(x, y)`` or ``(x, y, weights)``: x of shape ``(B, channels, height, width)`` in 0..1, or uint8 in
    0..255; y of shape ``(B,)`` with the classes. ``forward`` gives logits of shape ``(B, num_classes)``.

    Layers are normalized within each image, so that an image's prediction depends neither on the rest of its batch nor
    on the number of processes.

    Args:
        num_classes: classes.
        channels: 1 for grey images, 3 for color.
        width: channels after the first convolution, a multiple of 8; each further block doubles them.
        blocks: residual blocks; between two of them, images are halved.
        lr: AdamW's peak learning rate; it rises, then falls to zero.
        weight_decay: AdamW's, decoupled.
        dropout: probability of leaving out an input of the dense layer, while training.
        label_smoothing: share of the target spread over all classes while training.

    Raises:
        ValueError: a size below 1, a width that is no multiple of 8, or a rate or probability out of range.
    """

    max_epochs = 10

    def __init__(
        self,
        num_classes: int = 10,
        channels: int = 1,
        width: int = 16,
        blocks: int = 3,
        lr: float = 0.005,
        weight_decay: float = 0.01,
        dropout: float = 0.1,
        label_smoothing: float = 0.0,
    ) -> None:
        argument_checks.positive(num_classes=num_classes, channels=channels, width=width, blocks=blocks, lr=lr)
        argument_checks.not_negative(weight_decay=weight_decay)
        argument_checks.probability(dropout=dropout, label_smoothing=label_smoothing)
        if width % GROUP:
            raise ValueError(f"width must be a multiple of {GROUP}, got {width}")
        widths = [width * 2**block for block in range(blocks)]
        layers: list[nn.Module] = [*_convolution(channels, width), nn.ReLU(), ResidualBlock2d(width, width)]
        for before, after in itertools.pairwise(widths):
            layers += [nn.MaxPool2d(2, ceil_mode=True), ResidualBlock2d(before, after)]  # half the height and width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]  # (B, widths[-1])
        net = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))  # (B, num_classes)
        super().__init__(net.to(memory_format=torch.channels_last))  # faster on CPUs, with the same parameters
        self.save_hyperparameters()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = super().forward(x / 255 if x.dtype == torch.uint8 else x)
        return logits

    def shared_step(self, batch: Sequence[Tensor]) -> dict[str, MetricValue]:
        x, y, *weights = batch
        logits = self(x)
        smoothing = self.hparams["label_smoothing"] if self.training else 0.0
        losses = F.cross_entropy(logits, y, label_smoothing=smoothing, reduction="none")  # (B,)
        return {"loss": weighted_loss(losses, weights), "acc": ((logits.argmax(dim=1) == y).sum(), len(x))}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        hparams = self.hparams
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=hparams["lr"], weight_decay=hparams["weight_decay"], **fused_kwargs(self)
        )
        return one_cycle(self, optimizer)


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
