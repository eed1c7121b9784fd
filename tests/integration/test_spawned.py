"""Trainings in processes that the Trainer spawns or forks end like others: with weights, history and metrics here."""

import json
from pathlib import Path

import pytest
import torch
from helpers import spawned
from helpers.apart import run_apart


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook"])
def test_the_results_come_back(strategy):
    run_apart(spawned.__file__, strategy)
    ours, expected = json.loads(Path(f"{strategy}.json").read_text()), spawned.train("auto", 1)
    assert (ours["best"], ours["step"]) == (expected["best"], expected["step"])
    for row, other in zip(ours["rows"], expected["rows"], strict=True):
        assert row == pytest.approx(other, rel=1e-5)
    assert strategy == "ddp_spawn" or ours["tested"] == pytest.approx(expected["tested"], rel=1e-5)
    for name, value in ours["weights"].items():
        torch.testing.assert_close(torch.tensor(value), torch.tensor(expected["weights"][name]))
