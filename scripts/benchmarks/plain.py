"""A task as plain tensors and functions: all that a loop without lightmodels needs. Imports torch alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

UNKNOWN = 2  # the token that masked words of reuters become
Scores = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


def errors(outputs: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Sums of absolute and of relative errors."""
    error = (outputs - y).abs()
    return error.sum(), (error / y.abs().clamp_min(torch.finfo(y.dtype).eps)).sum()


def hits_of_two(outputs: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return (((outputs > 0) == (y > 0.5)).sum(),)


def hits(outputs: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return ((outputs.argmax(1) == y).sum(),)


def hits_of_five(outputs: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    found = outputs.topk(min(5, outputs.shape[1]), dim=1).indices == y[:, None]
    return found[:, 0].sum(), found.sum()


LOSSES: dict[str, Callable[..., Tensor]] = {
    "linear": F.mse_loss,
    "ring": F.binary_cross_entropy_with_logits,
    "mnist": F.cross_entropy,
    "reuters": F.cross_entropy,
}
SCORES: dict[str, Scores] = {
    "linear": errors,
    "ring": hits_of_two,
    "mnist": hits,
    "reuters": hits_of_five,
}


@dataclass
class Plain:
    """A task, ready to be trained by hand.

    Attributes:
        task: its name.
        net: with its first weights.
        train, val: inputs and targets.
        batch_size: rows in a batch.
        seed: of the order of the rows, and of what is random in the net.
        optimizer: its class.
        options: its arguments.
        rates: the learning rate of each step.
        masking: probability of a word's being replaced while training.
        smoothing: label smoothing while training.
        device: where it is to be trained.
    """

    task: str
    net: nn.Module
    train: tuple[Tensor, ...]
    val: tuple[Tensor, ...]
    batch_size: int
    seed: int
    optimizer: type[torch.optim.Optimizer] = torch.optim.Adam
    options: dict[str, Any] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    masking: float = 0.0
    smoothing: float = 0.0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return -(-len(self.train[0]) // self.batch_size)

    def rate_factor(self, step: int) -> float:
        """The rate of a step as a share of the peak, for LambdaLR, which asks for one step more."""
        return self.rates[min(step, len(self.rates) - 1)] / float(self.options["lr"])

    def outputs(self, x: Tensor) -> Tensor:
        """The net's outputs of a batch; while it trains, of inputs that are masked if the task says so."""
        if self.masking and self.net.training:
            masked = torch.rand(x.shape, device=x.device) < self.masking
            x = x.masked_fill(masked & (x > UNKNOWN), UNKNOWN)
        outputs: Tensor = self.net(x)
        return outputs

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        smoothing = {"label_smoothing": self.smoothing} if self.smoothing and self.net.training else {}
        return LOSSES[self.task](outputs, y, **smoothing)

    def scores(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """Sums over the batch of the values that the model's ``shared_step`` gives besides the loss."""
        return SCORES[self.task](outputs, y)


class Transposed(nn.Module):
    """``(B, length, channels)`` to ``(B, channels, length)``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def ordinary(net: nn.Module | None) -> nn.Module:
    """The net as tutorials write it, in the default layout, with none of our classes in it."""
    assert net is not None
    layers = list(net.children()) if isinstance(net, nn.Sequential) else [net]
    for here in range(len(layers) - 1):
        if isinstance(layers[here], nn.MaxPool2d) and isinstance(layers[here + 1], nn.ReLU):
            layers[here], layers[here + 1] = layers[here + 1], layers[here]  # tutorials pool last
    return nn.Sequential(*map(_bare, layers)).to(memory_format=torch.contiguous_format)


def _bare(layer: nn.Module) -> nn.Module:
    if type(layer).__name__ == "ToChannelsFirst2d":
        return Transposed()
    if isinstance(layer, nn.MaxPool2d) and isinstance(layer.kernel_size, tuple):
        return nn.MaxPool1d(layer.kernel_size[1])
    if not isinstance(layer, nn.Conv1d):
        return layer
    bare = nn.Conv1d(layer.in_channels, layer.out_channels, layer.kernel_size[0])
    bare.weight, bare.bias = layer.weight, layer.bias
    return bare


class ChannelsLast(nn.Module):
    """``(B, length, channels)`` as ``(B, channels, 1, length)``, channels last: nothing is moved."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).unsqueeze(2)


def widened(net: nn.Module) -> nn.Module:
    """An ``ordinary`` net, channels last: convolutions over a row are ones over a picture of height 1."""
    return nn.Sequential(*map(_widened, net.children())).to(memory_format=torch.channels_last)


def _widened(layer: nn.Module) -> nn.Module:
    if isinstance(layer, Transposed):
        return ChannelsLast()
    if isinstance(layer, nn.MaxPool1d):
        assert isinstance(layer.kernel_size, int)
        return nn.MaxPool2d((1, layer.kernel_size))
    if not isinstance(layer, nn.Conv1d):
        return layer
    wide = nn.Conv2d(layer.in_channels, layer.out_channels, (1, layer.kernel_size[0]))
    wide.weight, wide.bias = nn.Parameter(layer.weight.detach().unsqueeze(2)), layer.bias
    return wide
