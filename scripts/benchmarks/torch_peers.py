"""skorch and torchkeras as their docs write them, but without metrics, which favors them."""

from types import SimpleNamespace

import torch
from torch import nn

from benchmarks.plain import Marks, PlainTask


def train_skorch(task: PlainTask) -> tuple[Marks, float]:
    """``NeuralNet.fit`` with a ``predefined_split`` and a scheduler."""
    from skorch import NeuralNet, callbacks
    from skorch.dataset import Dataset
    from skorch.helper import predefined_split

    marks = Marks()

    class EpochTimes(callbacks.Callback):
        on_epoch_begin = on_train_end = marks

    class Loss(nn.Module):
        forward = staticmethod(task.loss)

    schedule = torch.optim.lr_scheduler.LambdaLR
    scheduler = callbacks.LRScheduler(schedule, step_every="batch", lr_lambda=task.lr_factor)
    torch.manual_seed(task.seed)
    net = NeuralNet(
        task.net,
        criterion=Loss,
        optimizer=task.optimizer.func,
        max_epochs=task.epochs,
        batch_size=task.batch_size,
        iterator_train__shuffle=True,
        train_split=predefined_split(Dataset(*task.val)),
        callbacks=[scheduler, EpochTimes()],
        device=task.device,
        **{f"optimizer__{name}": value for name, value in task.optimizer.keywords.items()},
    )
    net.fit(*task.train)
    return marks, net.history[-1, "valid_loss"]


def train_torchkeras(task: PlainTask) -> tuple[Marks, float]:
    """``KerasModel.fit`` over DataLoaders.

    It clips gradients to a norm of 1, and its loss of an epoch is the mean over the batches. The checkpoint
    that it saves after each validation counts as part of the next epoch.
    """
    from torchkeras import KerasModel

    marks = Marks()
    times = SimpleNamespace(on_fit_start=marks, on_validation_epoch_end=marks)
    torch.manual_seed(task.seed)
    model = KerasModel(task.net, task.loss, {}, *task.configure_optimizers())
    options = {"epochs": task.epochs, "patience": task.epochs, "plot": False, "cpu": task.device == "cpu"}
    history = model.fit(*task.data_loaders(), callbacks=[times], **options)
    return marks, float(history["val_loss"].iloc[-1])
