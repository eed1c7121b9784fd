"""The floor: what is left of training when there are only PyTorch and tensors in memory."""

from collections.abc import Iterator
from time import perf_counter

import torch
from torch import Tensor
from torch.optim import Optimizer

from benchmarks.plain import Plain, widened
from lightmodels.data.tensor_loader import TensorLoader

FUSED = {"Adam", "AdamW"}  # classes of optimizers that have a fused step
Tensors = tuple[Tensor, ...]


def train(plain: Plain, epochs: int) -> tuple[list[float], float]:
    """Trains for so many epochs, in the order of rows that ours has too.

    Returns:
        When each epoch began and the last one ended, and the last validation loss.
    """
    plain.net = widened(plain.net).to(plain.device)
    torch.manual_seed(plain.seed)  # after new layers have drawn their weights, which they then do not use
    rows, val = (tuple(t.to(plain.device) for t in part) for part in (plain.train, plain.val))
    loader = TensorLoader(*rows, batch_size=plain.batch_size, shuffle=True, seed=plain.seed)
    optimizer, rates, marks, loss = make_optimizer(plain), iter(plain.rates), [perf_counter()], 0.0
    for epoch in range(epochs):
        order = loader.order(epoch)
        trained = train_epoch(plain, optimizer, tuple(t.index_select(0, order) for t in rows), rates)
        validated = validate(plain, val)
        loss = (torch.stack([trained, validated])[1, 0] / len(val[0])).item()  # the only wait for the device
        marks.append(perf_counter())
    return marks, loss


def make_optimizer(plain: Plain) -> Optimizer:
    fused = {"fused": True} if plain.optimizer.__name__ in FUSED else {}
    return plain.optimizer(plain.net.parameters(), **plain.options | fused)


def train_epoch(plain: Plain, optimizer: Optimizer, rows: Tensors, rates: Iterator[float]) -> Tensor:
    """One epoch of training; sums of the loss and of the scores over all rows."""
    plain.net.train()
    totals = None
    for (x, y), rate in zip(batches(rows, plain.batch_size), rates, strict=False):
        optimizer.param_groups[0]["lr"] = rate
        outputs = plain.outputs(x)
        loss = plain.loss(outputs, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals = added(totals, sums(plain, loss, outputs, y))
    return torch.stack(totals or [])


@torch.inference_mode()
def validate(plain: Plain, rows: Tensors) -> Tensor:
    """Sums of the loss and of the scores over all rows."""
    plain.net.eval()
    totals = None
    for x, y in batches(rows, plain.batch_size):
        outputs = plain.outputs(x)
        totals = added(totals, sums(plain, plain.loss(outputs, y), outputs, y))
    return torch.stack(totals or [])


def batches(rows: Tensors, size: int) -> Iterator[Tensors]:
    return zip(*(t.split(size) for t in rows), strict=True)


def sums(plain: Plain, loss: Tensor, outputs: Tensor, y: Tensor) -> list[Tensor]:
    """Of a batch, on the device; the scores' as floats."""
    return [loss.detach() * len(y), *plain.scores(outputs.detach(), y)]


def added(totals: list[Tensor] | None, values: list[Tensor]) -> list[Tensor]:
    return values if totals is None else [total + value for total, value in zip(totals, values, strict=True)]
