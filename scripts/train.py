"""Trains one of the tasks: python scripts/train.py --task mnist --gpus 2"""

import inspect
import json
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from console import UsageError, names_flags, run
from jsonargparse import Namespace
from options import PLAIN_DATA, Parser, dump, parse, typed
from tasks import TASKS

from datamodules.base import TensorDataModule
from lightmodels import LightModel, Trainer, processes, run_directory


def main(argv: Sequence[str]) -> None:
    options, parser = parse(argv)
    first = processes.rank() == 0  # of several processes, this one writes
    if options.run_dir and not options.resume and first:
        run_directory.refuse_used(Path(options.run_dir))
    trainer = make_trainer(options, parser)
    check_model_flags(options)
    data = make_data(options)
    pl.seed_everything(options.seed, verbose=False)
    model = make_model(options, parser, data)
    pl.seed_everything(options.seed + processes.rank(), verbose=False)  # each process drops out its own
    run_dir = trainer.open_run(options.resume)
    if first:
        (run_dir / "config.yaml").write_text(dump(parser, options), encoding="utf-8")
        print(headline(options.task, model, data, trainer), flush=True)
    started = time.perf_counter()
    history = fit(trainer, model, data, options.resume)
    seconds = time.perf_counter() - started
    tested = trainer.test(model, datamodule=data, verbose=False)[0]
    if first:
        write_results(run_dir, model, metrics(trainer, model, options.seed, seconds, tested))
        print(ending(trainer, tested, len(history)))


def check_model_flags(options: Namespace) -> None:
    """Finds out before any data is loaded or fetched whether the model takes its options."""
    with torch.device("meta"), names_flags("--model.", list(vars(options.model))):
        TASKS[options.task][0](**vars(options.model))


def make_data(options: Namespace) -> TensorDataModule:
    """The task's data module, with its data loaded: wrong input shows before anything is written."""
    data_class = TASKS[options.task][1]
    names = list(inspect.signature(data_class).parameters)
    plain = {name: options[name] for name in PLAIN_DATA if name in names}
    with names_flags("--data.", names, PLAIN_DATA):
        data = data_class(**vars(options.data), **plain)
        data.prepare_data()
        data.setup()
    return data


def make_model(options: Namespace, parser: Parser, data: TensorDataModule) -> LightModel:
    """The task's model, with the sizes that the data has."""
    chosen = typed(parser, options, "model")
    for name, size in data.sizes.items():
        if chosen.get(name, size) != size:
            raise UsageError(f"--model.{name} {chosen[name]} does not fit the data, which has {size}")
    return TASKS[options.task][0](**(vars(options.model) | data.sizes))


def make_trainer(options: Namespace, parser: Parser) -> Trainer:
    plain = ("gpus", "tpu_cores", "max_epochs", "run_dir")
    arguments = {name: options[name] for name in plain} | typed(parser, options, "trainer")
    try:
        with names_flags("--trainer.", list(inspect.signature(Trainer).parameters), plain):
            return Trainer(default_root_dir=f"runs/{options.task}", **arguments)
    except (ValueError, pl.utilities.exceptions.MisconfigurationException) as error:
        raise UsageError(f"--trainer: {error}") from error


def fit(trainer: Trainer, model: LightModel, data: TensorDataModule, resume: str | None) -> Any:
    """Trains; a new run that the input stopped leaves no directory behind."""
    try:
        with names_flags("--trainer.", ["monitor"]):
            return trainer.fit(model, datamodule=data, ckpt_path=resume)
    except UsageError:
        if not resume and trainer.is_global_zero:
            shutil.rmtree(trainer.run_dir or "", ignore_errors=True)
        raise


def headline(task: str, model: LightModel, data: TensorDataModule, trainer: Trainer) -> str:
    rows = {name: len(tensors[0]) for name, tensors in data.splits._asdict().items()}
    counts = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    device = f"{trainer.world_size} x {trainer.strategy.root_device.type}"
    return (
        f"{task}: {type(model).__name__}, {count_parameters(model):,} parameters; rows: {counts}; on {device}"
    )


def count_parameters(model: LightModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def metrics(
    trainer: Trainer, model: LightModel, seed: int, seconds: float, tested: dict[str, float]
) -> dict[str, Any]:
    """What metrics.json holds."""
    last = model.history[-1]
    values = {name: last[name] for name in last if name.startswith(("train_", "val_"))}
    return {
        "epochs": len(model.history),
        "seconds": seconds,
        **values,
        **tested,
        "best_epoch": trainer.best_epoch,
        "parameters": count_parameters(model),
        "seed": seed,
        "devices": trainer.world_size,
        "torch": torch.__version__,
        "lightning": pl.__version__,
    }


def write_results(run_dir: Path, model: LightModel, values: dict[str, Any]) -> None:
    """Writes metrics.json, history.csv and the pictures."""
    finite = all(math.isfinite(value) for value in values.values() if isinstance(value, float))
    if not finite:
        raise FloatingPointError(f"not all results are finite: {values}")
    (run_dir / "metrics.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    model.history.to_csv(run_dir / "history.csv")
    (run_dir / "figures").mkdir(exist_ok=True)
    model.history.plot().savefig(run_dir / "figures" / "history.png", dpi=120)


def ending(trainer: Trainer, tested: dict[str, float], epochs: int) -> str:
    values = "  ".join(f"{name} {value:.4f}" for name, value in tested.items())
    return "\n".join(
        [
            f"best epoch {trainer.best_epoch} of {epochs}: {values}",
            f"{trainer.run_dir}: metrics.json, history.csv, config.yaml, checkpoints, figures",
            f"tensorboard --logdir {trainer.run_dir}",
        ]
    )


if __name__ == "__main__":
    run(main)
