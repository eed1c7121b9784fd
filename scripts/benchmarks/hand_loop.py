"""A training loop as tutorials write it by hand: a shuffled DataLoader, ``item()`` each step."""

from time import perf_counter

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.plain import Plain

Loader = DataLoader[tuple[Tensor, ...]]


def train(plain: Plain, epochs: int) -> tuple[list[float], float]:
    """Trains for so many epochs.

    Returns:
        When each epoch began and the last one ended, and the last validation loss.
    """
    torch.manual_seed(plain.seed)
    plain.net.to(plain.device)
    train_rows, val_rows = loaders(plain)
    optimizer = plain.optimizer(plain.net.parameters(), **plain.options)
    scheduler = LambdaLR(optimizer, plain.rate_factor)
    marks, loss = [perf_counter()], 0.0
    for _ in range(epochs):
        train_epoch(plain, train_rows, optimizer, scheduler)
        loss = validate(plain, val_rows)
        marks.append(perf_counter())
    return marks, loss


def loaders(plain: Plain) -> tuple[Loader, Loader]:
    """Without worker processes, which lose where there are few cores."""
    train_rows = DataLoader(TensorDataset(*plain.train), batch_size=plain.batch_size, shuffle=True)
    return train_rows, DataLoader(TensorDataset(*plain.val), batch_size=plain.batch_size)


def train_epoch(plain: Plain, rows: Loader, optimizer: Optimizer, scheduler: LambdaLR) -> float:
    """One epoch of training; the mean loss."""
    plain.net.train()
    total, scores, count = 0.0, [0.0, 0.0], 0
    for x, y in rows:
        x, y = x.to(plain.device), y.to(plain.device)
        optimizer.zero_grad()
        outputs = plain.outputs(x)
        loss = plain.loss(outputs, y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        total += loss.item() * len(x)
        scores = [a + b.item() for a, b in zip(scores, plain.scores(outputs.detach(), y), strict=False)]
        count += len(x)
    return total / count


@torch.no_grad()
def validate(plain: Plain, rows: Loader) -> float:
    """The mean loss."""
    plain.net.eval()
    total, scores, count = 0.0, [0.0, 0.0], 0
    for x, y in rows:
        x, y = x.to(plain.device), y.to(plain.device)
        outputs = plain.outputs(x)
        total += plain.loss(outputs, y).item() * len(x)
        scores = [a + b.item() for a, b in zip(scores, plain.scores(outputs, y), strict=False)]
        count += len(x)
    return total / count
