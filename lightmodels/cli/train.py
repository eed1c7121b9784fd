"""Trains one of the tasks: python scripts/train.py --task mnist --gpus 2"""

import inspect
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress

# before PyTorch, as this is quick at importing it
from lightmodels.cli.exit_codes import OutputError, UsageError, names_flags, quiet

# isort: split
import pytorch_lightning as pl
import torch
from jsonargparse import Namespace
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightmodels import LightModel, Trainer, summary
from lightmodels.callbacks.optimizer_state import OverrideOptimizerOptions
from lightmodels.cli import torchrun_restart
from lightmodels.cli.resume_flags import probe, record
from lightmodels.cli.run_report import ending, headline, metrics, write_history, write_metrics, writing
from lightmodels.cli.tasks import TASKS
from lightmodels.cli.train_flags import PLAIN_DATA, Parser, dump, parse, typed
from lightmodels.data.remote_files import RemoteFile
from lightmodels.data.tensor_datamodule import TensorDataModule
from lightmodels.trainer.repeated_fits import RepeatedFits
from lightmodels.utils import console, distributed
from lightmodels.visualization.tensorboard_callback import TensorBoardCallback


def main(argv: Sequence[str]) -> None:
    options, parser = parse(argv)
    if options.summary:
        show_summary(options, parser)
        return
    if options.verbose:
        quiet(logging.INFO)
    with console.verbosity("quiet" if options.quiet else "verbose" if options.verbose else "normal"):
        train_all(options, parser)


def show_summary(options: Namespace, parser: Parser) -> None:
    """Prints the model's layers; fetches no data: without its files the sizes are the constructors'."""
    check_model_flags(options)
    data = make_data(options, fetch=False)
    if lacks_files(data):
        model = TASKS[options.task][0](**vars(options.model))
        dtype = getattr(data, "input_dtype", torch.float32)
        summary(model, data.input_shape, dtype=dtype)
    else:
        summary(make_model(options, parser, data), batch=data.splits.train[0][:2])


def train_all(options: Namespace, parser: Parser) -> None:
    """Trains once, or once a seed."""
    if options.seeds is None:
        train(options, parser)
        return
    results = [train(of_seed(options, number), parser) for number in range(options.seeds)]
    if distributed.rank() == 0:
        print(f"{options.seeds} seeds: {RepeatedFits(results, [])}")


def of_seed(options: Namespace, number: int) -> Namespace:
    """The options of one of ``--seeds`` runs."""
    options = options.clone()
    options.seed += number
    if options.run_dir:
        options.run_dir = f"{options.run_dir}/seed-{options.seed}"
    return options


def train(options: Namespace, parser: Parser) -> dict[str, float]:
    """Trains and tests as the options say; the test's values."""
    first = distributed.rank() == 0  # of several processes, this one writes
    if first:
        probe(options)
    trainer = make_trainer(options, parser)
    check_model_flags(options)
    data = make_data(options)
    pl.seed_everything(options.seed, verbose=False)
    model = make_model(options, parser, data)
    pl.seed_everything(options.seed + distributed.rank(), verbose=False)  # each process drops out its own
    run_dir = trainer.open_run(options.resume)
    if first:
        with writing(run_dir):
            record(run_dir, dump(parser, options))
        introduce(options, model, data, trainer)
    torchrun_restart.connect(trainer.strategy.root_device)
    fit(trainer, model, data, options.resume)
    if trainer.interrupted:
        raise KeyboardInterrupt
    tested: dict[str, float] = (trainer.test(model, datamodule=data, verbose=False) or [{}])[0]
    if first:
        write_metrics(run_dir, metrics(trainer, model, options.seed, tested))
        print(ending(trainer, tested, len(model.history)), flush=True)
    return tested


def introduce(options: Namespace, model: LightModel, data: TensorDataModule, trainer: Trainer) -> None:
    """Says what is trained on what: nothing if quiet, the layers too if verbose."""
    if options.verbose:
        summary(model, batch=data.splits.train[0][:2])
    if not options.quiet:
        print(headline(options.task, model, data, trainer), flush=True)


def check_model_flags(options: Namespace) -> None:
    """Finds out before any data is loaded or fetched whether the model takes its options."""
    with torch.device("meta"), names_flags("--model.", list(vars(options.model))):
        TASKS[options.task][0](**vars(options.model))


def make_data(options: Namespace, fetch: bool = True) -> TensorDataModule:
    """The task's data module, with its data loaded: wrong input shows before anything is written.

    Without ``fetch``, nothing is downloaded, and nothing loaded if files are not there.
    """
    data_class = TASKS[options.task][1]
    names = list(inspect.signature(data_class).parameters)
    plain = {name: options[name] for name in PLAIN_DATA if name in names}
    with names_flags("--data.", names, PLAIN_DATA):
        data = data_class(**vars(options.data), **plain)
        if fetch:
            data.prepare_data()
        if fetch or not lacks_files(data):
            data.setup()
    return data


def lacks_files(data: TensorDataModule) -> bool:
    """Whether a data module has files that are not there yet."""
    files: Mapping[str, RemoteFile] = getattr(data, "files", {})
    return any(file.find(getattr(data, "data_dir", "")) is None for file in files.values())


def make_model(options: Namespace, parser: Parser, data: TensorDataModule) -> LightModel:
    """The task's model, with the sizes that the data has."""
    chosen = typed(parser, options, "model")
    for name, size in data.sizes.items():
        if chosen.get(name, size) != size:
            raise UsageError(f"--model.{name} {chosen[name]} does not fit the data, which has {size}")
    return TASKS[options.task][0](**(vars(options.model) | data.sizes))


def make_trainer(options: Namespace, parser: Parser) -> Trainer:
    plain = ("gpus", "tpu_cores", "max_epochs", "run_dir", "save_every_n_steps")
    arguments = {name: options[name] for name in plain} | typed(parser, options, "trainer")
    callbacks: list[pl.Callback] = [OverrideOptimizerOptions()] if options.override else []
    callbacks.append(TensorBoardCallback(histograms=options.histograms))
    with refuses("--trainer", list(inspect.signature(Trainer).parameters), plain):
        return Trainer(default_root_dir=f"runs/{options.task}", callbacks=callbacks, **arguments)


def fit(trainer: Trainer, model: LightModel, data: TensorDataModule, resume: str | None) -> None:
    """Trains; keeps the history of what was trained, and no directory of a run that never began."""
    run_dir = trainer.open_run(resume)
    try:
        with refuses("--trainer", ["monitor"], unless=lambda: began(trainer)):
            trainer.fit(model, datamodule=data, ckpt_path=resume)
    except UsageError:
        if not resume and trainer.is_global_zero:
            shutil.rmtree(run_dir, ignore_errors=True)
        raise
    finally:
        if model.history and trainer.is_global_zero:
            ending_early = sys.exc_info()[0]  # then its reason is the one to tell, such as a full disk
            with suppress(OutputError) if ending_early else nullcontext():
                write_history(run_dir, model)


def began(trainer: Trainer) -> bool:
    """Whether a batch has been trained on."""
    return trainer.fit_loop.epoch_loop.batch_progress.total.ready > 0


@contextmanager
def refuses(
    flag: str, names: Sequence[str], plain: Sequence[str] = (), unless: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Makes errors of ours that name an argument, and Lightning's before training, one line about a flag."""
    try:
        with names_flags(f"{flag}.", names, plain):
            yield
    except (ValueError, MisconfigurationException) as error:
        if unless():
            raise
        raise UsageError(f"{flag}: {error}") from error
