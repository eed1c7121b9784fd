"""Projects of users: with the wheel in a new environment, and with a folder ``datamodules`` of their own."""

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
WHERE = "from importlib.util import find_spec as find\nprint(find('lightmodels').origin, find('datamodules').origin)"
MYPY = """
[mypy]
follow_imports = skip
[mypy-lightmodels.*,datamodules.*,digits8x8.*]
follow_imports = normal
"""
FOREIGN = """
import sys
import datamodules
from lightmodels import LinearRegression, Trainer, cross_validate, load
import torch
from lightmodels.cli.exit_codes import quick_end
from lightmodels.cli.main import run_command

assert datamodules.__file__ == sys.argv[1]
x = torch.randn(40, 2)
data = x, x.sum(1, keepdim=True)
model, trainer = LinearRegression(), Trainer(gpus=0, max_epochs=1, run_dir="run", figures=False)
trainer.fit(model, train_data=data, validation_split=0.25)
assert torch.equal(load("run/checkpoints/best.ckpt")(x), trainer.predict(model, x))
cross_validate(LinearRegression, data, k=2, gpus=0, max_epochs=1)
sys.argv = ["scripts/train.py"]
with quick_end():
    run_command("train")
"""
TYPED = """
from lightmodels import Trainer
from lightmodels.data.tensor_datamodule import TensorDataModule
reveal_type(Trainer(gpus=0).best_epoch)
reveal_type(TensorDataModule().batch_size)
Trainer(patience="three")
"""


def run(*command, cwd, code=0, python_path=""):
    """The output of a command that does not find this repository through its environment; of code 2, the errors."""
    environment = os.environ | {"PYTHONPATH": python_path}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code == 2 else done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tracked files, so that no build files are left among them."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs a git repository, which knows the tracked files")
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
    """Python of a new environment with the wheel; its dependencies are those of the current one."""
    home = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=ROOT)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=home)
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home).strip()
    # Afterwards, so that pip sees no other installation; .pth files in there are not read.
    (Path(packages) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project in another directory."""
    return shutil.copytree(PROJECT, tmp_path_factory.mktemp("elsewhere") / "project")


def test_the_wheel_has_all_packages_their_types_and_the_command(wheel):
    archive = zipfile.ZipFile(wheel)
    names = set(archive.namelist())
    for package in ("lightmodels", "datamodules"):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert files | {f"{package}/py.typed"} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lightmodels", "datamodules"}
    (entry_points,) = [name for name in names if name.endswith("/entry_points.txt")]
    assert b"lightmodels = lightmodels.cli.main:program" in archive.read(entry_points)


def test_the_project_trains_on_the_installed_package(python, project):
    where = run(python, "-c", WHERE, cwd=project)
    assert all(Path(file).is_relative_to(python.parents[1]) for file in where.split())
    run(python, "make_csv.py", "digits.csv", cwd=project)
    metrics = json.loads(run(python, "train.py", "digits.csv", cwd=project).splitlines()[-1])
    assert metrics["test_acc"] > 0.95
    assert (project / "runs" / "1" / "checkpoints" / "best.ckpt").is_file()


def test_the_console_command_trains_in_two_processes(python, tmp_path):
    """Lightning starts the second process with the command line of the first."""
    small = "--max_epochs 1 --data.num_rows 200 --data.test_rows 50 --trainer.figures false"
    processes = "--trainer.accelerator cpu --trainer.devices 2 --trainer.strategy ddp"
    console = python.with_name("lightmodels")
    out = run(console, "train", *f"--task ring {small} {processes}".split(), cwd=tmp_path)
    assert out.splitlines()[-1] == "tensorboard --logdir runs/ring/1"
    assert json.loads((tmp_path / "runs/ring/1/metrics.json").read_text())["devices"] == 2


def test_a_folder_datamodules_of_the_user_hides_only_the_commands(tmp_path):
    foreign = tmp_path / "datamodules" / "__init__.py"
    foreign.parent.mkdir()
    foreign.touch()
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    told = run(sys.executable, "-c", FOREIGN, foreign, cwd=tmp_path, code=2, python_path=path)
    reason = f"{foreign.parent} hides {ROOT / 'datamodules'}, which the commands need"
    assert told == f"train.py: {reason}: rename it, or take it off the path\n"


def test_mypy_sees_the_types_of_the_installed_package(python, project):
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
        assert not re.search(r"from (lightmodels\.(?!data\.)|datamodules)", text)
        assert not re.search(r"\._(?!_)", text)
