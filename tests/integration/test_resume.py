"""A run that is killed with SIGKILL and resumed ends bit-identical to an uninterrupted run."""

import json

import pytest
import torch
from helpers import ROOT
from helpers.apart import run_apart
from helpers.checkpoints import different

from lightmodels.utils import preserve

WORKER = ROOT / "tests/helpers/killed_runs.py"
SOME_OF_12 = [[1, 5, 7, 11], [2, 6, 12]]
# Three epochs of 53 rows in batches of 10: 18 steps.
SETTINGS = {  # name -> settings, and the steps at which runs are killed
    "every-step": (
        {"save_every": 1},
        [*([k] for k in (1, 6, 7, 12, 18)), [2, 6, 7, 12, 18], [3, 9, 17], [5, 13]],
    ),
    "every-fourth-step": ({"save_every": 4}, [[3], [12], [9, 17], [5, 9, 14]]),
    "epoch-ends": ({}, [[1], [6, 12], [7, 15]]),
    "figures": ({"figures": True}, [[7]]),
    "validation-every-2-steps": ({"save_every": 1, "val_check_interval": 2, "epochs": 2}, SOME_OF_12),
    "validation-twice": ({"save_every": 1, "val_check_interval": 0.5, "epochs": 2}, SOME_OF_12),
    "accumulated-gradients": ({"save_every": 1, "accumulate": 2}, [[1, 4, 7], [2, 5, 8], [3, 6]]),
    "data-loader": ({"loader": "0"}, [[7], [13, 17]]),
    "data-loader-2-workers": ({"loader": "2"}, [[7, 13]]),
}


def name_of(setting, kills):
    return "-".join([setting, *map(str, kills)])


CASES = [(setting, kills) for setting, (_, many) in SETTINGS.items() for kills in many]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The directory of all runs: killed and resumed ones, and uninterrupted ones."""
    root = tmp_path_factory.mktemp("runs")
    cases = [
        {"name": name_of(setting, kills), "kills": kills, **options}
        for setting, (options, many) in SETTINGS.items()
        for kills in [[], *many]
    ]
    (root / "cases.json").write_text(json.dumps(cases))
    run_apart(WORKER, root, root / "cases.json", directory=root, seconds=900)
    return root


@pytest.mark.parametrize(("setting", "kills"), CASES, ids=lambda part: str(part))
def test_a_resumed_run_is_bit_identical(runs, setting, kills):
    killed, uninterrupted = runs / name_of(setting, kills), runs / setting
    codes, output = json.loads((killed / "codes").read_text()), (killed / "output").read_text()
    assert codes == [-9] * len(kills) + [0], output
    assert different(load(killed), load(uninterrupted)) == {}
    assert steps(killed) == steps(uninterrupted)


def load(run):
    return torch.load(run / "run/checkpoints/last.ckpt", weights_only=True)


def steps(run):
    """Each step with its samples; a step that was lost and repeated counts once if they agree."""
    return set((run / "samples").read_text().splitlines())


def test_random_states_can_be_saved_and_restored(tmp_path):
    import random

    import numpy as np

    def draw():
        return torch.rand(3).tolist(), np.random.randn(3).tolist(), random.random(), random.gauss(0, 1)

    np.random.randn()  # draws a pair and keeps half of it
    random.gauss(0, 1)
    torch.save(preserve.get_rng_state(), tmp_path / "states")
    drawn = draw()
    preserve.set_rng_state(torch.load(tmp_path / "states", weights_only=True))
    assert draw() == drawn
