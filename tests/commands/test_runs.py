"""lightmodels runs and compare: what the files of runs say, without PyTorch."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.commands import command, error_line, read_json

from lightmodels.trainer.run_directory import RunLock


@pytest.fixture
def two(runs):
    """Two runs of ring, of which the second differs in a setting, and one that was stopped."""
    for name in ("one", "two", "stopped"):
        shutil.copytree(runs / "ring", Path("runs") / name)
    config = Path("runs/two/config.yaml")
    config.write_text(config.read_text().replace("lr: 0.03", "lr: 0.5"))
    Path("runs/stopped/metrics.json").unlink()
    return Path("runs")


def test_runs_are_listed_with_their_state_and_metrics(capfd, two):
    ended = command(capfd, "lightmodels", "runs")
    assert (ended.code, ended.err) == (0, "")
    head, *lines = ended.out.splitlines()
    assert head.split() == ["run", "task", "epochs", "started", "state", "metrics"]
    by_run = {line.split()[0]: line for line in lines}
    metrics = read_json("runs/one/metrics.json")
    row = by_run["runs/one"].split()
    assert row[1:3] == ["ring", "2"]
    assert row[5] == "finished"
    assert row[-4:] == ["test_loss", f"{metrics['test_loss']:.4g}", "test_acc", f"{metrics['test_acc']:.4g}"]
    assert " resumable" in by_run["runs/stopped"]
    lock = RunLock(two / "stopped")
    assert " running" in command(capfd, "lightmodels", "runs", "runs/stopped").out
    lock.release()
    shutil.rmtree("runs/stopped/checkpoints")
    assert " failed" in command(capfd, "lightmodels", "runs", "runs/stopped").out


def test_differing_settings_stand_beside_the_metrics(capfd, two):
    ended = command(capfd, "lightmodels", "compare", "runs/one", "runs/two")
    assert (ended.code, ended.err) == (0, "")
    head, *lines = ended.out.splitlines()
    assert head.split() == ["runs/one", "runs/two"]
    table = {line.split()[0]: line.split()[1:] for line in lines}
    assert [name for name in table if name.startswith("--")] == ["--model.lr"]
    assert table["--model.lr"] == ["0.03", "0.5"]
    value = f"{read_json('runs/one/metrics.json')['test_acc']:.5g}"
    assert table["test_acc"] == [value, value]
    assert command(capfd, "lightmodels", "compare", "runs/one", "runs/stopped").code == 0


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["runs", "nowhere"], "lightmodels runs: nowhere: no such directory"),
        (["runs", "empty"], "lightmodels runs: empty: holds no runs (directories with a config.yaml)"),
        (["runs", "damaged"], "lightmodels runs: damaged/1: a damaged run (JSONDecodeError: "),
        (["compare", "damaged/1"], "lightmodels compare: at least two run directories are needed"),
        (["compare", "empty", "empty"], "lightmodels compare: empty: not a run directory (no config.yaml)"),
    ],
    ids=["missing", "empty", "damaged", "one run", "no run"],
)
def test_directories_that_cannot_be_used_have_one_line(capfd, argv, line):
    Path("empty").mkdir()
    Path("damaged/1").mkdir(parents=True)
    Path("damaged/1/config.yaml").write_text("task: ring\n")
    Path("damaged/1/metrics.json").write_text(json.dumps({"a": 1})[:-1])
    assert error_line(command(capfd, "lightmodels", *argv)).startswith(line)
