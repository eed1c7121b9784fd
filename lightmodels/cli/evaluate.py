"""Tests a checkpoint and prints its metrics as one JSON line: python scripts/evaluate.py --ckpt best.ckpt"""

import json
from argparse import Namespace

from lightmodels import Trainer
from lightmodels.cli.exit_codes import flag_errors
from lightmodels.cli.from_checkpoint import load_model, make_datamodule


def main(options: Namespace) -> None:
    with flag_errors("--", ["gpus", "tpu_cores"]):
        trainer = Trainer(gpus=options.gpus, tpu_cores=options.tpu_cores, logger=False, enable_checkpointing=False)
    model, checkpoint = load_model(options.ckpt)
    data = make_datamodule(checkpoint, options.ckpt, options.data_dir)
    print(json.dumps(trainer.test(model, datamodule=data, verbose=False)[0]))
