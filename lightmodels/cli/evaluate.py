"""Tests a checkpoint and prints its metrics as one JSON line: python scripts/evaluate.py --ckpt best.ckpt"""

import json
from collections.abc import Sequence

from lightmodels import Trainer
from lightmodels.cli.exit_codes import Parser, names_flags
from lightmodels.cli.from_checkpoint import restore, restore_data


def main(argv: Sequence[str]) -> None:
    parser = Parser(prog="evaluate.py", description="Tests a checkpoint on the test set of its task.")
    parser.add_argument("--ckpt", required=True, help="checkpoint file of a training run")
    parser.add_argument("--data_dir", help="where the data files are (default: where they were in training)")
    parser.add_argument("--gpus", help="GPUs: a count, -1 for all, 0,1 for those; 0 is the CPU")
    parser.add_argument("--tpu_cores", help="TPU cores: a count, -1 for all, 0,1 for those")
    options = parser.parse(argv)
    with names_flags("--", ["gpus", "tpu_cores"]):
        trainer = Trainer(
            gpus=options.gpus, tpu_cores=options.tpu_cores, logger=False, enable_checkpointing=False
        )
    model, checkpoint = restore(options.ckpt)
    data = restore_data(checkpoint, options.ckpt, options.data_dir)
    print(json.dumps(trainer.test(model, datamodule=data, verbose=False)[0]))
