"""The tasks and two training loops in plain PyTorch, which is all that this module imports."""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

Batches = Iterable[Sequence[Tensor]]
UNKNOWN_TOKEN = 2  # replaces masked words of reuters
POOLINGS = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d)
BINARY = ("ring", "imdb", "imdb_separable")  # tasks with one logit
LOSSES = {"linear": F.mse_loss, "housing": F.mse_loss, **dict.fromkeys(BINARY, F.binary_cross_entropy_with_logits)}


class Marks(list[float]):
    """The times of its calls: the beginning of each epoch and the end of the last one. Fits any callback."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        self.append(perf_counter())


@dataclass
class PlainTask:
    """A task, ready to be trained."""

    name: str
    net: nn.Module  # with its initial weights
    train: tuple[Tensor, ...]  # inputs and targets
    val: tuple[Tensor, ...]
    batch_size: int
    epochs: int
    row_orders: list[Tensor]  # of each epoch, for loops that share the order of lightmodels
    optimizer: "partial[Optimizer]"  # takes the parameters
    learning_rates: list[float]  # of each step, and one more, which schedulers want at the end
    label_smoothing: float  # in training
    seed: int
    device: str
    l2: float = 0.0  # penalty on weights in training

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        if self.name in LOSSES:
            loss = LOSSES[self.name](outputs, y)
            if self.l2 and self.net.training:
                weights = [parameter for parameter in self.net.parameters() if parameter.dim() > 1]
                loss = loss + self.l2 * torch.stack([weight.square().sum() for weight in weights]).sum()
            return loss
        return F.cross_entropy(outputs, y, label_smoothing=self.label_smoothing * self.net.training)

    def metric_sums(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """The metrics, summed over the batch: MAE and MAPE, or what R² needs; accuracy; and top-5 accuracy."""
        if self.name == "linear":
            error = (outputs - y).abs()
            return error.sum(), (error / y.abs().clamp_min(torch.finfo(y.dtype).eps)).sum()
        if self.name == "housing":
            error = outputs - y
            return error.abs().sum(), error.square().sum(), y.sum(), y.square().sum()
        if self.name == "reuters":
            hits = outputs.topk(5, dim=1).indices == y[:, None]
            return hits[:, 0].sum(), hits.sum()
        hits = (outputs > 0) == (y > 0.5) if self.name in BINARY else outputs.argmax(1) == y
        return (hits.sum(),)

    def configure_optimizers(self) -> tuple[Optimizer, LambdaLR]:
        optimizer = self.optimizer(self.net.parameters())
        return optimizer, LambdaLR(optimizer, self.lr_factor)

    def lr_factor(self, step: int) -> float:
        return self.learning_rates[step] / self.optimizer.keywords["lr"]

    def data_loaders(self) -> tuple[Batches, Batches]:
        """For training and for validation; without worker processes, which are slower on a few cores."""
        train, val = TensorDataset(*self.train), TensorDataset(*self.val)
        return DataLoader(train, self.batch_size, shuffle=True), DataLoader(val, self.batch_size)


class MaskWords(nn.Module):
    """Replaces words by the unknown one at random in training."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        masked = torch.rand(x.shape, device=x.device) < self.probability
        return x.masked_fill(masked & (x > UNKNOWN_TOKEN), UNKNOWN_TOKEN)


class ChannelsFirst(nn.Module):
    """``(B, length, channels)`` to ``(B, channels, length)``."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def tutorial_net(net: nn.Module, mask_probability: float = 0.0) -> nn.Module:
    """The same net as tutorials write it: plain layers in the default layout, pooling after ReLU."""

    def plain(layer: nn.Module) -> nn.Module:
        if isinstance(layer, nn.MaxPool2d) and isinstance(layer.kernel_size, tuple):
            return nn.MaxPool1d(layer.kernel_size[1])
        if isinstance(layer, nn.AdaptiveMaxPool2d) and is_text:
            return nn.AdaptiveMaxPool1d(1)
        if isinstance(layer, nn.Conv1d):
            return with_parameters_of(layer, nn.Conv1d(*conv_arguments(layer), **conv_options(layer)))
        is_own = not type(layer).__module__.startswith("torch.nn.") and not list(layer.children())
        return ChannelsFirst() if is_own else layer

    is_text = any(isinstance(layer, nn.Embedding) for layer in net.modules())
    net = replace_layers(nn.Sequential(*copy.deepcopy(net if isinstance(net, nn.Sequential) else [net])), plain)
    for layers in [part for part in net.modules() if isinstance(part, nn.Sequential)]:
        for i in range(len(layers) - 1):
            if isinstance(layers[i], POOLINGS) and isinstance(layers[i + 1], nn.ReLU):
                layers[i], layers[i + 1] = layers[i + 1], layers[i]
    mask = [MaskWords(mask_probability)] if mask_probability else []
    return nn.Sequential(*mask, *net).to(memory_format=torch.contiguous_format)


def channels_last_net(net: nn.Module) -> nn.Module:
    """A ``tutorial_net`` in channels-last layout; 1d convolutions become 2d ones over images of height 1."""

    def wide(layer: nn.Module) -> nn.Module:
        if isinstance(layer, ChannelsFirst):
            return nn.Sequential(layer, nn.Unflatten(2, (1, -1)))  # without a copy
        if isinstance(layer, nn.MaxPool1d):
            return nn.MaxPool2d((1, layer.kernel_size))
        if isinstance(layer, nn.AdaptiveMaxPool1d):
            return nn.AdaptiveMaxPool2d(1)
        if not isinstance(layer, nn.Conv1d):
            return layer
        options = conv_options(layer) | {"padding": (0, *layer.padding)}
        conv = nn.Conv2d(layer.in_channels, layer.out_channels, (1, *layer.kernel_size), **options)
        return with_parameters_of(layer, conv)

    return replace_layers(copy.deepcopy(net), wide).to(memory_format=torch.channels_last)


def replace_layers(net: nn.Module, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """The net itself, with each layer replaced by what ``change`` makes of it, also within blocks."""
    for name, layer in list(net.named_children()):
        changed = change(layer)
        setattr(net, name, changed if changed is not layer else replace_layers(layer, change))
    return net


def conv_arguments(layer: nn.Conv1d) -> tuple[Any, ...]:
    return layer.in_channels, layer.out_channels, layer.kernel_size


def conv_options(layer: nn.Conv1d) -> dict[str, Any]:
    return {"padding": layer.padding, "groups": layer.groups, "bias": layer.bias is not None}


def with_parameters_of(layer: nn.Conv1d, conv: Any) -> nn.Module:
    """The new convolution with the weight and bias of another one, whose weight may lack a dimension."""
    conv.weight, conv.bias = nn.Parameter(layer.weight.detach().reshape(conv.weight.shape)), layer.bias
    return conv


def train_floor(task: PlainTask) -> tuple[Marks, float]:
    """Tensors in memory, a fused optimizer, channels-last layout, and the row order of lightmodels."""
    task.net = channels_last_net(task.net).to(task.device)
    torch.manual_seed(task.seed)  # after the new layers have drawn weights that are not used
    train, val = ([tensor.to(task.device) for tensor in split] for split in (task.train, task.val))
    fused = {"fused": True} if task.optimizer.func in (Adam, AdamW) else {}
    optimizer, learning_rates = task.optimizer(task.net.parameters(), **fused), iter(task.learning_rates)

    def schedule() -> None:
        optimizer.param_groups[0]["lr"] = next(learning_rates)

    def batches(tensors: Iterable[Tensor]) -> Batches:
        return zip(*(tensor.split(task.batch_size) for tensor in tensors), strict=True)

    schedule()
    marks, loss = Marks(), 0.0
    for order in task.row_orders:
        marks()
        rows = order.to(task.device)
        shuffled = batches(tensor.index_select(0, rows) for tensor in train)
        train_sums = run_epoch(task, shuffled, optimizer, schedule)
        sums = torch.stack([*run_epoch(task, batches(val)), *train_sums])
        loss = sums.tolist()[0] / len(val[0])  # the only synchronization
    marks()
    return marks, loss


def train_floor_keeping_buffers(task: PlainTask) -> tuple[Marks, float]:
    """As ``train_floor``, but glibc reuses freed buffers instead of mapping new ones in each step."""
    torch.empty(31 * 2**20, dtype=torch.uint8)  # glibc always maps buffers of 32 MiB or more
    return train_floor(task)


def train_by_hand(task: PlainTask) -> tuple[Marks, float]:
    """As tutorials write it: a shuffled DataLoader, a scheduler, and ``item()`` in each step."""
    torch.manual_seed(task.seed)
    task.net.to(task.device)
    train, val = task.data_loaders()
    optimizer, scheduler = task.configure_optimizers()

    def batches(loader: Batches) -> Batches:
        return ([tensor.to(task.device) for tensor in batch] for batch in loader)

    marks, loss = Marks(), 0.0
    for _ in range(task.epochs):
        marks()
        run_epoch(task, batches(train), optimizer, scheduler.step, read=Tensor.item)
        loss = run_epoch(task, batches(val), read=Tensor.item)[0] / len(task.val[0])
    marks()
    return marks, loss


def run_epoch(
    task: PlainTask, batches: Batches, optimizer: Any = None, schedule: Any = None, read: Any = Tensor.detach
) -> list[Any]:
    """Sums of the loss and the metrics over all rows; trains if there is an optimizer."""
    task.net.train(optimizer is not None)
    totals: list[Any] = []
    with torch.inference_mode(optimizer is None):
        for x, y in batches:
            outputs = task.net(x)
            loss = task.loss(outputs, y)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule()
            values = [read(loss) * len(y), *map(read, task.metric_sums(outputs.detach(), y))]
            totals = [a + b for a, b in zip(totals, values, strict=True)] if totals else values
    return totals
