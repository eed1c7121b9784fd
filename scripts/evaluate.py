"""Tests a checkpoint and prints its metrics as one JSON line: python scripts/evaluate.py --ckpt best.ckpt"""

import inspect
import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any, NoReturn

from console import UsageError, names_flags, run
from options import with_underscores
from tasks import TASKS

from datamodules.base import TensorDataModule
from lightmodels import LightModel, Trainer, checkpoints


class Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message.removeprefix("argument "))


def main(argv: Sequence[str]) -> None:
    parser = Parser(prog="evaluate.py", description="Tests a checkpoint on the test set of its task.")
    parser.add_argument("--ckpt", required=True, help="checkpoint file of a training run")
    parser.add_argument("--data_dir", help="where the data files are (default: where they were in training)")
    parser.add_argument("--gpus", help="GPUs: a count, -1 for all, 0,1 for those; 0 is the CPU")
    parser.add_argument("--tpu_cores", help="TPU cores: a count, -1 for all, 0,1 for those")
    options = parser.parse_args([with_underscores(arg) for arg in argv])
    with names_flags("--", ["gpus", "tpu_cores"]):
        trainer = Trainer(
            gpus=options.gpus, tpu_cores=options.tpu_cores, logger=False, enable_checkpointing=False
        )
    model, data = restore(options.ckpt, options.data_dir)
    print(json.dumps(trainer.test(model, datamodule=data, verbose=False)[0]))


def restore(path: str, data_dir: str | None) -> tuple[LightModel, TensorDataModule]:
    """The model of a checkpoint and the data module that it was trained with.

    Raises:
        UsageError: a file that is no checkpoint of one of the tasks, or is damaged.
    """
    try:
        checkpoint = checkpoints.load(path)
    except checkpoints.CheckpointError as error:
        raise UsageError(f"--ckpt {error}") from error
    by_model = {model.__name__: (model, data) for model, data in TASKS.values()}
    if checkpoint.get("model_class") not in by_model or "datamodule_hyper_parameters" not in checkpoint:
        raise UsageError(f"--ckpt {path}: not a checkpoint of {', '.join(TASKS)}")
    model_class, data_class = by_model[checkpoint["model_class"]]
    model = model_class(**checkpoint["hyper_parameters"])
    model.load_state_dict(checkpoint["state_dict"])
    return model, make_data(data_class, checkpoint["datamodule_hyper_parameters"], data_dir)


def make_data(
    data_class: type[TensorDataModule], saved: dict[str, Any], data_dir: str | None
) -> TensorDataModule:
    if data_dir is not None and "data_dir" in inspect.signature(data_class).parameters:
        saved = saved | {"data_dir": data_dir}
    return data_class(**saved)


if __name__ == "__main__":
    run(main)
