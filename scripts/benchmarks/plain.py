"""The tasks and two training loops in plain PyTorch, which is all that this module imports."""

from collections.abc import Iterable, Sequence
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
LOSSES = {"linear": F.mse_loss, "ring": F.binary_cross_entropy_with_logits}  # else the cross-entropy


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

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        if self.name in LOSSES:
            return LOSSES[self.name](outputs, y)
        return F.cross_entropy(outputs, y, label_smoothing=self.label_smoothing * self.net.training)

    def metric_sums(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """The metrics, summed over the batch: MAE and MAPE; accuracy; accuracy and top-5 accuracy."""
        if self.name == "linear":
            error = (outputs - y).abs()
            return error.sum(), (error / y.abs().clamp_min(torch.finfo(y.dtype).eps)).sum()
        if self.name == "reuters":
            hits = outputs.topk(5, dim=1).indices == y[:, None]
            return hits[:, 0].sum(), hits.sum()
        hits = (outputs > 0) == (y > 0.5) if self.name == "ring" else outputs.argmax(1) == y
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
        if isinstance(layer, nn.Conv1d):
            conv = nn.Conv1d(layer.in_channels, layer.out_channels, layer.kernel_size)
            conv.weight, conv.bias = layer.weight, layer.bias
            return conv
        return layer if type(layer).__module__.startswith("torch.nn.") else ChannelsFirst()

    layers = [plain(layer) for layer in (net if isinstance(net, nn.Sequential) else [net])]
    for i in range(len(layers) - 1):
        if isinstance(layers[i], (nn.MaxPool1d, nn.MaxPool2d)) and isinstance(layers[i + 1], nn.ReLU):
            layers[i], layers[i + 1] = layers[i + 1], layers[i]
    mask = [MaskWords(mask_probability)] if mask_probability else []
    return nn.Sequential(*mask, *layers).to(memory_format=torch.contiguous_format)


def channels_last_net(net: nn.Module) -> nn.Module:
    """A ``tutorial_net`` in channels-last layout; 1d convolutions become 2d ones over images of height 1."""

    def wide(layer: nn.Module) -> nn.Module:
        if isinstance(layer, ChannelsFirst):
            return nn.Sequential(layer, nn.Unflatten(2, (1, -1)))  # without a copy
        if isinstance(layer, nn.MaxPool1d):
            return nn.MaxPool2d((1, layer.kernel_size))
        if not isinstance(layer, nn.Conv1d):
            return layer
        conv = nn.Conv2d(layer.in_channels, layer.out_channels, (1, *layer.kernel_size))
        conv.weight, conv.bias = nn.Parameter(layer.weight.detach().unsqueeze(2)), layer.bias
        return conv

    return nn.Sequential(*map(wide, net.children())).to(memory_format=torch.channels_last)


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
