"""A project of its own, in another directory and environment, trains on the wheel of this one."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from helpers import ROOT

PROJECT = ROOT / "examples" / "own_project"
WHERE = """
from importlib.util import find_spec
print(find_spec("lightmodels").origin, find_spec("datamodules").origin)
"""
MYPY = """
[mypy]
[mypy-torch.*,torchmetrics.*,torchvision.*,pytorch_lightning.*,lightning_utilities.*,lightning_fabric.*,numpy.*,matplotlib.*,pandas.*]
follow_imports = skip
"""
TYPED = """
from lightmodels import Trainer
from lightmodels.data.tensor_datamodule import TensorDataModule
reveal_type(Trainer(gpus=0).best_epoch)
reveal_type(TensorDataModule().batch_size)
Trainer(patience="three")
"""


def run(*command, cwd, code=0):
    """What a command prints; it inherits nothing that would show it this tree."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tracked files, so that nothing is left among them."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("the tracked files are known in a git repository only")
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    for name in filter(None, run("git", "ls-files", "-z", cwd=ROOT).split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    pip = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index"]
    run(*pip, "--quiet", "--wheel-dir", built, cwd=copy)
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """A new environment with the wheel in it; its dependencies are those of the running one."""
    home = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", home, cwd=ROOT)
    python = home / "bin" / "python"
    pip = [
        python,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        "--disable-pip-version-check",
    ]
    run(*pip, wheel, cwd=home)
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    # Afterwards, so that pip knows of no other installation; an editable one is not looked for in there.
    (Path(packages) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project, elsewhere."""
    return shutil.copytree(PROJECT, tmp_path_factory.mktemp("elsewhere") / "project")


def test_the_wheel_holds_both_packages_and_their_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("lightmodels", "datamodules"):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert files | {f"{package}/py.typed"} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lightmodels", "datamodules"}


def test_the_project_trains_on_the_installed_package(python, project):
    where = run(python, "-c", WHERE, cwd=project)
    assert all(Path(file).is_relative_to(python.parents[1]) for file in where.split())
    run(python, "make_csv.py", "digits.csv", cwd=project)
    metrics = json.loads(run(python, "train.py", "digits.csv", cwd=project).splitlines()[-1])
    assert metrics["test_acc"] > 0.95
    assert (project / "runs" / "1" / "checkpoints" / "best.ckpt").is_file()


def test_the_types_of_the_installed_package_are_seen(python, project):
    (project / "mypy.ini").write_text(MYPY)
    (project / "typed.py").write_text(TYPED)
    mypy = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--python-executable", python]
    found = run(*mypy, "typed.py", "train.py", cwd=project, code=1)
    assert found.count('Revealed type is "int"') + found.count('Revealed type is "builtins.int"') == 2
    assert 'Argument "patience" to "Trainer" has incompatible type "str"' in found
    assert "Found 1 error in 1 file" in found


def test_the_project_is_small_and_uses_public_names_only():
    assert len((PROJECT / "train.py").read_text().splitlines()) < 40
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 10
    for path in PROJECT.rglob("*.py"):
        text = path.read_text()
        assert "from lightmodels." not in text
        assert not re.search(r"\._(?!_)", text)
