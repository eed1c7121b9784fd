"""README and docs: their code and commands run, the site builds, and the files and targets they name exist."""

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
from helpers import ROOT
from helpers.commands import command

from lightmodels import Trainer

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
FURTHER = [*sorted(ROOT.glob("C*.md")), ROOT / "examples" / "from_torchkeras.md"]


def blocks(page: Path, language: str) -> str:
    """All that a page has in one language, as one program."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL))


BASH = "".join(blocks(page, "bash") for page in PAGES).replace("\\\n", "")
LINES = [shlex.split(line, comments=True) for line in BASH.splitlines()]
KINDS = ("flat", "house")
COMMANDS = [(Path(line[1]).stem, *line[2:]) for line in LINES if line[:1] == ["python"]]
TRAININGS = dict.fromkeys(command for command in COMMANDS if command[0] == "train")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, capsys):
    """With the files that a reader has."""
    pl.seed_everything(0, verbose=False)
    rows = [f"{area},{kind},{area * (3_000 + 500 * (kind == 'house'))}" for area in range(40, 100) for kind in KINDS]
    Path("houses.csv").write_text("\n".join(["area,kind,price", *rows]))
    Path("new_houses.csv").write_text("area,kind\n50,flat\n")
    exec(compile(blocks(page, "python"), page.name, "exec"), {"__name__": page.stem})
    assert page != README or capsys.readouterr().out.count("'test_acc'") == 2


@pytest.mark.parametrize("words", TRAININGS, ids=" ".join)
def test_the_training_commands_are_understood(capfd, words):
    """Up to what is missing here, such as a run to resume."""
    Path("configs").symlink_to(ROOT / "configs")
    Path("recipe.yaml").write_text("task: ring\n")
    flags = words[1 : words.index(">")] if ">" in words else words[1:]
    ended = command(capfd, "train", *flags, "--print_config")
    assert ended.code == 0 or "nothing to resume" in ended.err
    assert "unknown flag" not in ended.err


def test_the_commands_for_synthetic_data_run_one_after_the_other(capfd):
    """Train, resume with more epochs, evaluate, predict, export: as a reader would."""
    assert len(TRAININGS) >= 4
    assert command(capfd, "train", "--max_epochs", 1).code == 0
    resume = next(words for words in TRAININGS if "--resume" in words)
    assert command(capfd, *[word if word != "60" else 2 for word in resume]).code == 0
    Path("points.csv").write_text("5,0\n0,9\n")
    for name in ("evaluate", "predict", "export"):
        assert command(capfd, *next(words for words in COMMANDS if words[0] == name)).code == 0


def test_the_page_on_lightning_names_every_option_of_our_trainer():
    text = (ROOT / "docs" / "lightning.md").read_text()
    options = set(inspect.signature(Trainer).parameters) - set(inspect.signature(pl.Trainer).parameters) - {"options"}
    assert sorted(name for name in options if f"`{name}`" not in text) == []


def test_the_site_builds_without_warnings(tmp_path):
    # With --quiet, mkdocs does not count warnings as errors.
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(mkdocs, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {path.parent.name: path.read_text() for path in (tmp_path / "site" / "reference").glob("*/index.html")}
    for page, names in {
        "core": ["train_on_batch", "from_net"],
        "trainer": ["cross_validate", "validation_split"],
    }.items():
        assert all(name in pages[page] for name in names)
    assert "train_on_batch" not in pages["models"]  # inherited
    examples = [
        [text.count(prompt + "&gt;&gt;&gt;") for prompt in ("", '<span class="gp">')] for text in pages.values()
    ]
    assert sum(map(sum, examples)) > 50
    assert all(found == highlighted for found, highlighted in examples)


def test_every_make_target_exists():
    targets = re.findall(r"(?m)(?:^|`)make ([\w-]+)", README.read_text() + (ROOT / "CONTRIBUTING.md").read_text())
    makefile = (ROOT / "Makefile").read_text()
    assert {"train", "test", "lint"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_every_file_of_the_tree_exists():
    tree = re.search(r"```\n(lightmodels/\n.*?)```", README.read_text(), re.DOTALL)[1]
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


@pytest.mark.parametrize("page", PAGES + FURTHER, ids=lambda page: page.stem)
def test_every_path_in_the_text_exists(page):
    paths = set(re.findall(r"`((?:docs|examples|lightmodels|datamodules|scripts|tests)/[\w./]+)", page.read_text()))
    assert all((ROOT / path).exists() for path in paths if "spiral" not in path), paths
