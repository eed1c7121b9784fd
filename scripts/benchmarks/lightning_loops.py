"""Plain Lightning as its docs write it, and ``train.py``, which is imported only by what uses it."""

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanAbsolutePercentageError, R2Score
from torchmetrics.classification import BinaryAccuracy, MulticlassAccuracy

from benchmarks.plain import BINARY, Marks, PlainTask, tutorial_net


def train_command(flags: Sequence[str]) -> tuple[Marks, float]:
    """The default path of ``train.py``: checkpoints, TensorBoard, figures, table and history are all on."""
    command, options, parser, data, model = prepare([*flags, "--run_dir", "run"])
    trainer = command.make_trainer(options, parser)
    marks = record_epochs(trainer)
    pl.seed_everything(options.seed, verbose=False)
    command.fit(trainer, model, data, None)
    return marks, float(model.history[-1]["val_loss"])


def prepare(flags: Sequence[str]) -> tuple[Any, ...]:
    """The module ``train``, its options and parser, and the data and model that it makes of them."""
    from lightmodels.cli import train as command
    from lightmodels.cli.train_flags import parse

    options, parser = parse(flags)
    data = command.make_data(options)
    pl.seed_everything(options.seed, verbose=False)
    return command, options, parser, data, command.make_model(options, parser, data)


def make_plain_task(flags: Sequence[str]) -> PlainTask:
    """The task with the initial weights, rows, optimizer and learning rates of ``train.py``."""
    _, options, _, data, model = prepare(flags)
    from lightmodels.data.tensor_loader import TensorLoader

    size, seed, epochs = data.batch_size, options.seed, options.max_epochs
    train, val = (prepared(model, *part) for part in (data.splits.train, data.splits.val))
    loader = TensorLoader(*train, batch_size=size, shuffle=True, seed=seed)
    orders = [loader.order(epoch) for epoch in range(epochs)]
    flat = [torch.nn.Flatten()] if train[0].dim() == 4 and options.task == "mnist_mlp" else []
    net = tutorial_net(torch.nn.Sequential(*flat, *model.net) if flat else model.net, model.hparams.get("masking", 0.0))
    smoothing = model.hparams.get("label_smoothing", 0.0)
    optimizer = optimizer_and_rates(model, epochs * len(loader))
    device = "cuda" if options.gpus == "1" else "cpu"
    l2 = model.hparams.get("l2", 0.0)
    return PlainTask(options.task, net, train, val, size, epochs, orders, *optimizer, smoothing, seed, device, l2)


def prepared(model: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as the net takes them: house values are scaled by the model, which a plain loop does beforehand."""
    if getattr(model, "feature_mean", None) is None:
        return x, y
    return (x - model.feature_mean) / model.feature_std, y / model.hparams["target_scale"]


def optimizer_and_rates(model: Any, steps: int) -> tuple["partial[torch.optim.Optimizer]", list[float]]:
    """The optimizer's class in ``torch.optim`` with its arguments, and the learning rate of each step."""
    model.total_steps = steps
    configured = model.configure_optimizers()
    optimizer, factor = configured, lambda step: 1.0
    if isinstance(configured, dict):
        optimizer, (factor,) = configured["optimizer"], configured["lr_scheduler"]["scheduler"].lr_lambdas
    torch_class = next(base for base in type(optimizer).mro() if base.__module__.startswith("torch.optim"))
    names = set(inspect.signature(torch_class).parameters) - {"params", "foreach", "fused"}
    peak = optimizer.param_groups[0].get("initial_lr", optimizer.param_groups[0]["lr"])
    arguments = {name: value for name, value in optimizer.defaults.items() if name in names} | {"lr": peak}
    return partial(torch_class, **arguments), [peak * factor(step) for step in range(steps + 1)]


def train_plain_lightning(task: PlainTask) -> tuple[Marks, float]:
    """DataLoader, ``self.log``, torchmetrics, a default Trainer."""
    pl.seed_everything(task.seed, verbose=False)
    trainer = pl.Trainer(max_epochs=task.epochs, accelerator=task.device, devices=1)
    marks = record_epochs(trainer)
    trainer.fit(PlainModule(task), *task.data_loaders())
    return marks, trainer.callback_metrics["val_loss"].item()


class PlainModule(pl.LightningModule):
    def __init__(self, task: PlainTask) -> None:
        super().__init__()
        self.task, self.net = task, task.net
        self.train_metrics, self.val_metrics = make_metrics(task), make_metrics(task)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        return self.shared_step(batch, "train", self.train_metrics)

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        self.shared_step(batch, "val", self.val_metrics)

    def shared_step(self, batch: Sequence[Tensor], stage: str, metrics: nn.ModuleDict) -> Tensor:
        x, y = batch
        outputs = self.net(x)
        loss = self.task.loss(outputs, y)
        self.log(f"{stage}_loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        for name, metric in metrics.items():
            metric(outputs, y)
            self.log(f"{stage}_{name}", metric, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer, scheduler = self.task.configure_optimizers()
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def make_metrics(task: PlainTask) -> nn.ModuleDict:
    accuracy = partial(MulticlassAccuracy, average="micro")
    metrics = {
        "linear": {"mae": MeanAbsoluteError(), "mape": MeanAbsolutePercentageError()},
        "housing": {"mae": MeanAbsoluteError(), "r2": R2Score()},
        **{name: {"acc": BinaryAccuracy()} for name in BINARY},
        "mnist_mlp": {"acc": accuracy(10)},
        "mnist": {"acc": accuracy(10)},
        "reuters": {"acc": accuracy(46), "top5_acc": accuracy(46, top_k=5)},
    }
    return nn.ModuleDict(metrics[task.name])


def record_epochs(trainer: pl.Trainer) -> Marks:
    """What other callbacks do when training has ended, such as drawing figures, is not part of an epoch."""
    marks = Marks()
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks.append(LambdaCallback(on_train_epoch_start=marks))
    callbacks.insert(0, LambdaCallback(on_train_end=marks))
    return marks
