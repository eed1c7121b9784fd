"""Trainings in processes that the Trainer spawns or forks end like others: with weights, history and metrics here."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import run_watched
from helpers.models import Points

from lightmodels import RingDNN, Trainer

SCRIPT = f"""
import json, sys
from lightmodels import Trainer  # first, as in a command: what it imports is quicker
sys.path.append({str(Path(__file__).parent)!r})
from test_spawned import Path, train

if __name__ == "__main__":
    Path(sys.argv[1] + ".json").write_text(json.dumps(train(sys.argv[1], 2)))
"""
TIMES = ("seconds", "samples_per_second")


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


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("spawned")
    (directory / "script.py").write_text(SCRIPT)
    with ThreadPoolExecutor(2) as pool:
        strategies = ("ddp_spawn", "ddp_notebook")
        jobs = [pool.submit(run_watched, [sys.executable, "script.py", name], cwd=directory) for name in strategies]
        for job in jobs:
            job.result()
    return {name: json.loads((directory / f"{name}.json").read_text()) for name in strategies}


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook"])
def test_the_results_come_back(runs, strategy):
    ours, expected = runs[strategy], train("auto", 1)
    assert (ours["best"], ours["step"]) == (expected["best"], expected["step"])
    for row, other in zip(ours["rows"], expected["rows"], strict=True):
        assert row == pytest.approx(other, rel=1e-5)
    assert strategy == "ddp_spawn" or ours["tested"] == pytest.approx(expected["tested"], rel=1e-5)
    for name, value in ours["weights"].items():
        torch.testing.assert_close(torch.tensor(value), torch.tensor(expected["weights"][name]))
