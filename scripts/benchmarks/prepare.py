"""A task as a ``Plain``, made by the functions of train.py."""

import inspect
from typing import Any

import pytorch_lightning as pl
import torch
import train as command
from options import parse
from torch.optim import Optimizer

from benchmarks.job import Job
from benchmarks.plain import Plain, ordinary
from lightmodels import LightModel


def plain(job: Job, epochs: int) -> Plain:
    """The task with the weights, rows, optimizer and rates that train.py starts with."""
    options, parser = parse([*job.argv, "--max_epochs", str(epochs)])
    data = command.make_data(options)
    pl.seed_everything(options.seed, verbose=False)
    model = command.make_model(options, parser, data)
    made = Plain(
        job.task,
        ordinary(model.net),
        train=data.splits.train,
        val=data.splits.val,
        batch_size=data.batch_size,
        seed=options.seed,
        masking=model.hparams.get("masking", 0.0),
        smoothing=model.hparams.get("label_smoothing", 0.0),
        device=torch.device("cuda" if job.gpus else "cpu"),
    )
    made.optimizer, made.options, made.rates = optimization(model, made.steps * epochs)
    return made


def optimization(model: LightModel, steps: int) -> tuple[type[Optimizer], dict[str, Any], list[float]]:
    """torch's class of the model's optimizer, its arguments, and the rate of each step."""
    model.total_steps = steps  # type: ignore[assignment]
    configured: Any = model.configure_optimizers()
    optimizer, (factor,) = configured["optimizer"], configured["lr_scheduler"]["scheduler"].lr_lambdas
    torchs = next(base for base in type(optimizer).mro() if base.__module__.startswith("torch.optim"))
    names = set(inspect.signature(torchs).parameters) - {"params", "foreach", "fused"}
    peak = optimizer.param_groups[0]["initial_lr"]
    options = {name: value for name, value in optimizer.defaults.items() if name in names} | {"lr": peak}
    return torchs, options, [peak * factor(step) for step in range(steps)]


def write(job: Job, epochs: int) -> str:
    """Writes ``plain`` to the job's file of tensors, for processes that train it; the file's name."""
    torch.save(plain(job, epochs), job.tensors)
    return job.tensors
