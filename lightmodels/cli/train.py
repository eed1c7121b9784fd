"""Trains one of the tasks: python scripts/train.py --task mnist --gpus 2"""

import inspect
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytorch_lightning as pl
import torch
from jsonargparse import Namespace
from lightning_fabric.utilities.exceptions import MisconfigurationException

import lightmodels
from lightmodels import LightModel, Trainer, summary
from lightmodels.callbacks.optimizer_state import OverrideOptimizerOptions
from lightmodels.cli import run_report, torchrun_restart
from lightmodels.cli.exit_codes import (
    TERMINATED,
    OutputError,
    UsageError,
    exit_with_message,
    flag_errors,
    set_lightning_log_level,
)
from lightmodels.cli.resume_flags import check_run_dir
from lightmodels.cli.tasks import TASKS
from lightmodels.cli.train_flags import PLAIN_DATA, PLAIN_TRAINER, Parser, changed_options, dump_config
from lightmodels.data.remote_files import RemoteFile
from lightmodels.data.tensor_datamodule import TensorDataModule
from lightmodels.metrics.report import Report
from lightmodels.trainer.repeated_fits import RepeatedFits
from lightmodels.trainer.trainer import NothingTrainedError
from lightmodels.utils import console, distributed
from lightmodels.utils.atomic_file import write_file
from lightmodels.visualization import loggers


def main(parsed: tuple[Namespace, Parser]) -> None:
    """Trains, or shows what would be trained; ``parsed`` is what ``train_flags.parse`` gives."""
    options, parser = parsed
    if options.summary or options.dry_run:
        (show_summary if options.summary else show_plan)(options, parser)
        return
    if options.verbose:
        set_lightning_log_level(logging.INFO)
    with console.verbosity("quiet" if options.quiet else "verbose" if options.verbose else "normal"):
        if options.seeds is None:
            train(options, parser)
        else:
            train_seeds(options, parser)


def show_summary(options: Namespace, parser: Parser) -> None:
    """Prints the model's layers; downloads nothing: without data files the sizes are the default ones."""
    check_model_flags(options)
    data = make_data(options, download=False)
    model = make_model(options, parser, data)
    if missing_files(data):
        shape, dtype = getattr(data, "input_shape", ()), getattr(data, "input_dtype", torch.float32)
        summary(model, shape, dtype=dtype)
    else:
        summary(model, batch=data.splits.train[0][:2])


def show_plan(options: Namespace, parser: Parser) -> None:
    """Prints what would be trained; downloads nothing, and creates no run directory."""
    check_run_dir(options)
    trainer = make_trainer(options, parser)
    check_model_flags(options)
    data = make_data(options, download=False)
    model = make_model(options, parser, data)
    print(run_report.plan(trainer, model, data, options, missing_files(data)))


def train_seeds(options: Namespace, parser: Parser) -> None:
    """Trains ``--seeds`` times, and prints the mean and deviation of the test metrics."""
    results = []
    for seed in range(options.seed, options.seed + options.seeds):
        one = options.clone()
        one.seed = seed
        one.run_dir = options.run_dir and f"{options.run_dir}/seed-{seed}"
        results.append(train(one, parser))
    if distributed.rank() == 0:
        print(f"{options.seeds} seeds: {RepeatedFits(results, [])}")


def train(options: Namespace, parser: Parser) -> dict[str, float]:
    """Trains and tests; returns the test metrics."""
    is_first = distributed.rank() == 0  # this process writes the files
    if is_first:
        check_run_dir(options)
    trainer = make_trainer(options, parser)
    check_model_flags(options)
    data = make_data(options)
    pl.seed_everything(options.seed, verbose=False)
    model = make_model(options, parser, data)
    pl.seed_everything(options.seed + distributed.rank(), verbose=False)  # dropout differs between processes
    run_dir = trainer.open_run(options.resume)
    if is_first:
        with run_report.write_errors(run_dir):
            torchrun_restart.remember_run(run_dir)
            write_file(run_dir / "config.yaml", dump_config(parser, options))
        if options.verbose:
            summary(model, batch=data.splits.train[0][:2])
        if not options.quiet:
            print(run_report.headline(options.task, model, trainer, data), flush=True)
    torchrun_restart.init_process_group(trainer.strategy.root_device, trainer.timeout)
    fit(trainer, model, data, options.resume)
    if trainer.interrupted:
        raise KeyboardInterrupt(f"interrupted; {how_to_resume(run_dir)}")
    tested, report = test(trainer, model, data)
    if is_first:
        run_report.write_metrics(run_dir, run_report.collect_metrics(trainer, model, options.seed, tested, report))
        print(run_report.format_results(trainer, tested, len(model.history), report, options.logger), flush=True)
    loggers.end_run(trainer)
    return tested


def test(trainer: Trainer, model: LightModel, data: TensorDataModule) -> tuple[dict[str, float], Report | None]:
    """The test metrics of the best weights, without checkpoints of the last, and the report on them."""
    is_trial = bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
    best = "best" if trainer.checkpoint_callback and not is_trial else None
    tested = trainer.test(model, datamodule=data, ckpt_path=best, verbose=False) or [{}]
    return tested[0], None if is_trial else run_report.report_on_test(trainer, model, data, best)


def check_model_flags(options: Namespace) -> None:
    """Raises UsageError, before any data is loaded, if the model rejects its options."""
    model_class: type[LightModel] = getattr(lightmodels, options.model_class)  # imports its module, not on "meta"
    with torch.device("meta"), flag_errors("--model.", list(vars(options.model))):
        model_class(**vars(options.model))


def make_data(options: Namespace, download: bool = True) -> TensorDataModule:
    """The task's data module with its data loaded, so that errors appear before anything is written.

    Without ``download``, data that is not in the data directory is not loaded.
    """
    data_class = TASKS[options.task].data_class
    names = list(inspect.signature(data_class).parameters)
    plain = {name: options[name] for name in PLAIN_DATA if name in names}
    with flag_errors("--data.", names, PLAIN_DATA):
        data = data_class(**vars(options.data), **plain)
        if download:
            data.prepare_data()
        if download or not missing_files(data):
            data.setup()
    return data


def missing_files(data: TensorDataModule) -> list[str]:
    """The files of a data module that have not been downloaded yet."""
    files: Mapping[str, RemoteFile] = getattr(data, "files", {})
    return [file.name for file in files.values() if file.find(getattr(data, "data_dir", "")) is None]


def make_model(options: Namespace, parser: Parser, data: TensorDataModule) -> LightModel:
    """The task's model, with the sizes of the data, if its files are here."""
    changed, sizes = changed_options(parser, options, "model"), {} if missing_files(data) else data.sizes
    for name, size in sizes.items():
        if changed.get(name, size) != size:
            raise UsageError(f"--model.{name} {changed[name]} does not fit the data, which has {size}")
    model_class: type[LightModel] = getattr(lightmodels, options.model_class)
    with flag_errors("--model.", list(vars(options.model))):
        return model_class(**(vars(options.model) | sizes))


def make_trainer(options: Namespace, parser: Parser, more: Sequence[pl.Callback] = ()) -> Trainer:
    """The trainer of the flags, with these callbacks too."""
    arguments = {name: options[name] for name in PLAIN_TRAINER} | changed_options(parser, options, "trainer")
    arguments["logger"] = options.logger != "none" and options.logger
    callbacks = [*more, *([OverrideOptimizerOptions()] if options.override else [])]
    names = [name for kind in (Trainer, pl.Trainer) for name in inspect.signature(kind).parameters]
    with trainer_errors(names):
        return Trainer(default_root_dir=f"runs/{options.task}", callbacks=callbacks, **arguments)


def fit(trainer: Trainer, model: LightModel, data: TensorDataModule, resume: str | None) -> None:
    """Trains; always writes the history so far, and removes the directory of a run that never started."""
    run_dir = trainer.open_run(resume)
    try:
        with (
            trainer_errors(["monitor"], trainer),
            suppress(NothingTrainedError) if resume else nullcontext(),  # all epochs are done: test again
        ):
            trainer.fit(model, datamodule=data, ckpt_path=resume)
    except SystemExit as stop:
        if stop.code == TERMINATED:
            exit_with_message(TERMINATED, f"terminated; {how_to_resume(run_dir)}")
        raise
    except UsageError:
        if not resume and trainer.is_global_zero:
            remove_run(run_dir)
        raise
    finally:
        if model.history and trainer.is_global_zero:
            failed = sys.exc_info()[0]  # then report that error, such as a full disk
            with suppress(OutputError) if failed else nullcontext():
                run_report.write_history(run_dir, model)


def remove_run(run_dir: Path) -> None:
    """Removes the directory of a run that never started, and the default ones around it."""
    shutil.rmtree(run_dir, ignore_errors=True)
    with suppress(OSError):  # other runs are in it
        for parent in list(run_dir.parents)[: 2 if run_dir.parts[0] == "runs" else 0]:
            parent.rmdir()


def how_to_resume(run_dir: Path) -> str:
    """The line on what an interrupted run has saved."""
    path = run_dir / "checkpoints" / "last.ckpt"
    return f"the state is saved: to continue, pass --resume {path}" if path.is_file() else "nothing was saved"


@contextmanager
def trainer_errors(names: Sequence[str], trainer: Trainer | None = None) -> Iterator[None]:
    """Turns errors about arguments of the Trainer into UsageErrors, unless ``trainer`` has started to train."""
    try:
        with flag_errors("--trainer.", names, PLAIN_TRAINER):
            yield
    except (ValueError, MisconfigurationException) as error:
        if trainer and trainer.fit_loop.epoch_loop.batch_progress.total.ready:
            raise
        raise UsageError(f"--trainer: {error}") from error
