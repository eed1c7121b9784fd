"""The import rule of the project, and what importing it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"core", "utils", "visualization"}
FILES = sorted((ROOT / "lightmodels").glob("*.py")) + sorted((ROOT / "datamodules").glob("*.py"))
MODELS = {"linear_regression", "ring_dnn", "mnist_cnn", "reuters_conv1d"}
DATASETS = {"linear", "rings", "mnist", "reuters"}
ALLOWED = {"data_arguments.py": {"datamodules.arrays.ArrayDataModule"}}  # arrays that are given to a Trainer
PURE = {"figures", "plane_figures", "image_figures", "devices", "epoch_means", "history", "loaders", "files"}
PURE |= {"layout", "quick_import"}  # of the figures; of everything else


def imports(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def ours(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] in ("lightmodels", "datamodules", "scripts")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_go_one_way(path):
    package, used = path.parent.name, ours(path)
    assert all(name.split(".")[0] == package for name in used - ALLOWED.get(path.name, set()))
    modules = {name.split(".")[1] for name in used if "." in name}
    if path.stem != "__init__":  # through the package's own names everything could import everything
        assert modules <= {file.stem for file in FILES} | PACKAGES
    if path.stem in MODELS | DATASETS:
        assert not modules & (MODELS | DATASETS)
    if path.stem in PURE:
        assert used <= {"lightmodels.layout"}


NEW = """
import sys, time, pytorch_lightning
before, start = set(sys.modules), time.perf_counter()
import lightmodels
print(time.perf_counter() - start)
print(*{name.split(".")[0] for name in set(sys.modules) - before})
"""


def test_importing_lightmodels_loads_nothing_that_lightning_does_not_and_costs_little():
    done = subprocess.run([sys.executable, "-c", NEW], capture_output=True, text=True, check=True)
    seconds, *modules = done.stdout.split()
    assert modules == ["lightmodels"]
    assert float(seconds) < 0.3


WATCHED = """
import gc, os, runpy, sys
assert "torch" not in sys.modules
class Watch:
    def find_spec(self, name, *_):
        if name in ("torch", "pytorch_lightning"):
            os._exit(3 if gc.isenabled() else 0)
sys.meta_path.insert(0, Watch())
sys.path.insert(0, os.path.dirname(sys.argv[1]))
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "export"])
def test_commands_import_pytorch_while_the_garbage_collector_rests(command):
    path = str(ROOT / "scripts" / f"{command}.py")
    assert subprocess.run([sys.executable, "-c", WATCHED, path], timeout=60).returncode == 0
