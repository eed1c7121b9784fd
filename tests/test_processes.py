"""Two processes train, test and predict what one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).parent / "two_processes.py"


def run(what, directory):
    """What one process saw, and what each of two did."""
    for processes in (1, 2):
        command = [sys.executable, WORKER, what, directory, str(processes)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((directory / f"{what}-{run}.json").read_text()) for run in ("1-0", "2-0", "2-1")]


def test_two_processes_train_as_one(tmp_path):
    one, *two = run("ring", tmp_path)
    for ours in two:
        assert len(ours["history"]) == len(one["history"]) == 3
        for row, expected in zip(ours["history"], one["history"], strict=True):
            assert list(row) == list(expected)
            for name in set(row) - {"seconds", "samples_per_second"}:
                assert row[name] == pytest.approx(expected[name], rel=1e-6)
    assert two[0]["weights"] == two[1]["weights"]


def test_few_rows_are_tested_exactly_and_predicted_in_order(tmp_path):
    one, *two = run("evaluate", tmp_path)
    assert len(one) == 50
    for ours in two:
        for case, expected in one.items():
            tested = ours[case]["tested"]
            assert tested["test_acc"] == expected["tested"]["test_acc"], case
            assert tested == pytest.approx(expected["tested"], rel=1e-6), case
            if case.startswith("tensors"):
                assert tested["test_exact"] == pytest.approx(expected["tested"]["test_exact"], rel=1e-14), (
                    case
                )
            for row, wanted in zip(
                *(values.get("predicted", []) for values in (ours[case], expected)), strict=True
            ):
                assert row == pytest.approx(wanted, rel=1e-5), case
