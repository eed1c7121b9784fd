"""The default path of train.py: checkpoints, TensorBoard, pictures, table, history, exact values, all on."""

import tempfile
from functools import cache

import pytorch_lightning as pl
import torch
import train as command
from options import parse

from benchmarks.clock import timed
from benchmarks.job import Job
from lightmodels.data.tensor_datamodule import TensorDataModule
from lightmodels.utils.console import verbosity


@cache
def loaded(repeat: int, *argv: str) -> TensorDataModule:
    """The data, once for all rounds, with the training rows so many times."""
    data = command.make_data(parse(argv)[0])
    if repeat > 1:
        train = tuple(torch.cat([rows] * repeat) for rows in data.splits.train)
        data._splits = data.splits._replace(train=train)
    return data


def train(job: Job, epochs: int) -> tuple[list[float], float]:
    """Trains for so many epochs, in a run directory that is gone afterwards.

    Returns:
        When each epoch began and the last one ended, and the last validation loss.
    """
    with tempfile.TemporaryDirectory() as directory:
        argv = [*job.argv, "--max_epochs", str(epochs), "--run_dir", f"{directory}/run"]
        options, parser = parse(argv)
        data = loaded(job.repeat, *job.argv)
        with verbosity("quiet" if options.quiet else "normal"):
            trainer = command.make_trainer(options, parser)
            pl.seed_everything(options.seed, verbose=False)
            model = command.make_model(options, parser, data)
            pl.seed_everything(options.seed, verbose=False)
            marks = timed(trainer, lambda: command.fit(trainer, model, data, None))
    return marks, float(model.history[-1]["val_loss"])
