"""The README's code and commands run, and the files, flags and make targets that it names exist."""

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
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples" / "from_torchkeras.md"]
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


def test_every_file_of_the_tree_exists():
    tree = next(text for _, text in BLOCKS if text.startswith("lightmodels/\n"))
    top, folders = ROOT, set()
    for line in tree.splitlines():
        name, _, description = line.strip().partition(" ")
        top = top if line.startswith(" ") else ROOT / name
        folder = top / name if line.startswith(" ") else top
        folders.add(folder)
        for path in [folder, *(folder / each for each in re.findall(r"\w+(?:\.(?:py|md|ipynb)\b|/)", description))]:
            assert path.exists(), path
    packages = {path.parent for path in (ROOT / "lightmodels").glob("*/__init__.py")}
    assert packages < folders


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_in_the_text_exists(page):
    paths = set(re.findall(r"`((?:docs|examples|lightmodels|datamodules|scripts|tests)/[\w./]+)", page.read_text()))
    assert all((ROOT / path).exists() for path in paths if "spiral" not in path), paths
