"""Runs of all built-in tasks, for the commands that take a checkpoint."""

import pytest
from helpers.commands import BUILT_IN, use_tiny_files

from lightmodels.cli import train
from lightmodels.cli.train_flags import parse


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A directory with a run of each built-in task; the data files, of which the runs know, are in ``moved`` now."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_files(patch, root / "files")
        for task in BUILT_IN:
            options = ["--task", task, "--max_epochs", "2", "--trainer.figures", "false"]
            small = ["--data.num_rows", "400", "--data.test_rows", "100"]
            options += small if task in ("linear", "ring") else ["--data_dir", str(root / "files")]
            train.main(parse([*options, "--run_dir", str(root / task)]))
    (root / "files").rename(root / "moved")
    return root


@pytest.fixture
def checkpoints(runs):
    """The best checkpoint of each built-in task."""
    return {task: runs / task / "checkpoints" / "best.ckpt" for task in BUILT_IN}


@pytest.fixture
def data_files(runs, monkeypatch):
    """The directory of the data files of the runs, which the data modules accept."""
    use_tiny_files(monkeypatch, runs / "moved")
    return runs / "moved"
