"""Tests a checkpoint and prints its metrics as one JSON line: python scripts/evaluate.py --ckpt best.ckpt"""

import json
from collections.abc import Sequence

from lightmodels import Trainer
from lightmodels.cli.exit_codes import Parser, command_name, flag_errors
from lightmodels.cli.from_checkpoint import load_model, make_datamodule


def main(argv: Sequence[str]) -> None:
    parser = Parser(prog=command_name(), description="Tests a checkpoint on the test set of its task.")
    parser.add_argument("--ckpt", required=True, help="checkpoint file of a training run")
    parser.add_argument("--data_dir", help="directory of the data files (default: as in training)")
    parser.add_argument("--gpus", help="count, -1 (all), indices like 0,1, or 0 (CPU)")
    parser.add_argument("--tpu_cores", help="count, -1 (all), or indices like 0,1")
    options = parser.parse(argv)
    with flag_errors("--", ["gpus", "tpu_cores"]):
        trainer = Trainer(gpus=options.gpus, tpu_cores=options.tpu_cores, logger=False, enable_checkpointing=False)
    model, checkpoint = load_model(options.ckpt)
    data = make_datamodule(checkpoint, options.ckpt, options.data_dir)
    print(json.dumps(trainer.test(model, datamodule=data, verbose=False)[0]))
