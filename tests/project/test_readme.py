"""The README's code and commands run, and its claims about files and flags hold."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.commands import command

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
CODE = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line.partition("#")[0].strip() for language, text in BLOCKS if language == "bash" for line in text.splitlines()
]
TRAININGS = [line for line in COMMANDS if line.startswith("python scripts/train.py")]


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("code", CODE)
def test_the_code_runs(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "test_acc" in done.stdout


def test_there_are_commands():
    assert len(TRAININGS) >= 4
    assert len(CODE) == 2


@pytest.mark.parametrize("line", TRAININGS)
def test_every_training_command_is_understood(capfd, line):
    """Up to what is missing here, such as a run to resume."""
    Path("recipe.yaml").write_text("task: ring\n")
    argv = shlex.split(line.partition(">")[0])[2:]
    ended = command(capfd, "train", *argv, "--print_config")
    assert ended.code == 0 or "nothing to resume" in ended.err
    assert "unknown flag" not in ended.err


def test_the_commands_for_synthetic_data_run_one_after_the_other(capfd):
    """Train, resume with more epochs, evaluate, predict, export: as a reader would."""
    assert command(capfd, "train", "--max_epochs", 1).code == 0
    resume = next(line for line in TRAININGS if "--resume" in line)
    argv = shlex.split(resume)[2:]
    assert command(capfd, "train", *[arg if arg != "60" else 2 for arg in argv]).code == 0
    Path("points.csv").write_text("5,0\n0,9\n")
    for name in ("evaluate", "predict", "export"):
        line = next(line for line in COMMANDS if f"{name}.py" in line)
        assert command(capfd, name, *shlex.split(line)[2:]).code == 0


def test_every_make_target_exists():
    targets = re.findall(r"(?m)(?:^|`)make (\w+)", README + (ROOT / "CONTRIBUTING.md").read_text())
    makefile = (ROOT / "Makefile").read_text()
    assert {"train", "test", "lint"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_every_folder_and_file_of_the_tree_exists():
    tree = next(text for language, text in BLOCKS if text.startswith("lightmodels/"))
    top = ROOT
    for line in tree.splitlines():
        name = line.partition("/")[0]
        folder = (top if name.startswith(" ") else ROOT) / name.strip()
        assert folder.is_dir(), line
        assert all((folder / file).is_file() for file in re.findall(r"\w+\.py", line)), line
        top = folder if folder.parent == ROOT else top
