"""Trains in processes that the Trainer spawns or forks: python spawned.py STRATEGY writes STRATEGY.json."""

import json
import sys
from pathlib import Path

from lightmodels import Trainer  # first, as in a command: what it imports is quicker

# isort: split
import pytorch_lightning as pl

from helpers.checkpoints import TIMES
from helpers.models import Points
from lightmodels import RingDNN


class Floats(Points):
    """Targets of shape ``(N, 1)``."""

    def load(self):
        return type(splits := super().load())(*((x, y[:, None].float()) for x, y in splits))


def train(strategy, processes):
    """The history, the weights and, unless that takes another start of processes, the test's values of two epochs."""
    pl.seed_everything(0, verbose=False)
    options = {"accelerator": "cpu", "devices": processes, "logger": False, "figures": False}
    trainer, model = Trainer(max_epochs=2, strategy=strategy, run_dir=strategy, **options), RingDNN()
    history = trainer.fit(model, Floats(batch_size=25))
    rows = [{name: row[name] for name in row if name not in TIMES} for row in history]
    weights = {name: value.tolist() for name, value in model.state_dict().items()}
    tested = {}
    if strategy != "ddp_spawn":
        tested = trainer.test(datamodule=Floats(batch_size=25), verbose=False)[0]
    return {"rows": rows, "weights": weights, "tested": tested, "best": trainer.best_epoch, "step": trainer.global_step}


if __name__ == "__main__":
    Path(sys.argv[1]).with_suffix(".json").write_text(json.dumps(train(sys.argv[1], 2)))
