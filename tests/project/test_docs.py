"""The documentation builds without warnings, and its code runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.commands import command

PAGES = sorted((ROOT / "docs").glob("*.md"))


def code(page: Path) -> str:
    """All Python of a page, as one program."""
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))


@pytest.mark.parametrize("page", [page for page in PAGES if code(page)], ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code(page), page.name, "exec"), {"__name__": page.stem})


COMMANDS = [
    line
    for page in PAGES
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("python scripts/train.py") and "--resume" not in line
]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_of_a_page_are_valid(capfd, line):
    argv = shlex.split(line, comments=True)[2:]
    assert command(capfd, "train", *argv, "--print_config").code == 0


def test_the_site_builds_without_warnings(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    # With --quiet, mkdocs does not count warnings as errors.
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "site" / "reference" / "index.html").read_text()
    for name in ("train_on_batch", "from_net", "cross_validate", "validation_split"):
        assert name in reference
