"""Training with a Lightning that lacks a private name: Lightning's own loops, a warning, the same results."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
from helpers import ROOT
from helpers.models import OneCycle, points

from lightmodels.utils import lightning_internals
from lightmodels.utils.lightning_internals import REQUIRED

PARTS = {name: re.split("[.:]", name) for name in REQUIRED}
WORDS = sorted({part for parts in PARTS.values() for part in parts if part.startswith("_") or part is parts[-1]})


def test_every_private_name_of_lightning_in_use_is_listed():
    names = set()
    for path in (*(ROOT / "lightmodels" / "loops").glob("*.py"), Path(lightning_internals.__file__)):
        for node in ast.walk(ast.parse(path.read_text())):
            found = [getattr(node, part, None) for part in ("attr", "name", "value")]
            names |= {part for part in found if isinstance(part, str)}
    folders = [Path(pl.__file__).parent / name for name in ("loops", "trainer")]
    sources = "".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))
    assert names & set(re.findall(r"\b_[a-zA-Z]\w+", sources)) <= set(WORDS) <= names


@pytest.fixture(scope="module")
def fits():
    """A fit with Lightning as it is, and for each name one without it."""
    command = [sys.executable, "-m", "helpers.renamed_lightning", *WORDS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return dict(zip(["", *WORDS], map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("word", WORDS)
def test_without_a_name_training_in_lightnings_loops_gives_the_same_results(fits, word):
    whole, fit = fits[""], fits[word]
    assert (whole["loop"], whole["warnings"]) == ("lightmodels.loops.fast_training_loop", [])
    assert fit["loop"] == "pytorch_lightning.loops.training_epoch_loop"
    assert fit["results"] == whole["results"]
    names = [name for name, parts in PARTS.items() if word in parts]
    missing = f": pytorch-lightning {pl.__version__} does not have {', '.join(names)}"
    assert fit["warnings"] == [f"training in Lightning's own loops, slower with the same results{missing}"]
    refused = [f"{option} is not available{missing}" for option in ("steps_per_execution=2", "compile=True")]
    assert fit["refused"] == refused


@pytest.mark.parametrize("name", ["_configure_optimizers", "_configure_schedulers_automatic_opt"])
def test_training_without_a_trainer_names_what_is_missing(name, monkeypatch):
    monkeypatch.delattr(lightning_internals.lightning_optimizer, name)
    message = f"training without a Trainer needs pytorch_lightning.core.optimizer.{name}, which pytorch-li"
    with pytest.raises(RuntimeError, match=message):
        OneCycle().train_on_batch(points())


def test_an_exact_resume_names_what_is_missing():
    with pytest.raises(RuntimeError, match=r"an exact resume needs SimpleNamespace._data_fetcher, which"):
        lightning_internals.restart_loaders(SimpleNamespace(fit_loop=SimpleNamespace()))
