"""Each run directory is claimed by one run, also if several start at once."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from lightmodels.trainer.run_directory import RunDirectoryError, claim, claim_next


def test_the_next_number_follows_the_highest(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "best").mkdir()
    assert [claim_next(tmp_path).name for _ in range(2)] == ["8", "9"]


def test_an_empty_directory_can_be_claimed_once(tmp_path):
    (tmp_path / "run").mkdir()
    assert claim(tmp_path / "run") == tmp_path / "run"
    with pytest.raises(RunDirectoryError, match="run: the directory is not empty; choose a new one, or resume"):
        claim(tmp_path / "run")


def test_a_file_in_the_way_is_reported(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(RunDirectoryError, match="run: not a directory"):
        claim(tmp_path / "run")
    with pytest.raises(RunDirectoryError, match=r"run/1: cannot create .* \(Not a directory\)"):
        claim_next(tmp_path / "run")


def test_eight_processes_get_eight_directories(tmp_path):
    source = ROOT / "lightmodels" / "trainer" / "run_directory.py"
    code = source.read_text() + "\nimport sys\nprint(claim_next(Path(sys.argv[1])))"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    claimed = {process.communicate(timeout=600)[0].strip() for process in started}
    assert len(claimed) == 8
    assert all((Path(directory) / "checkpoints").is_dir() for directory in claimed)
