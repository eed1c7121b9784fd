"""The house: which package may import which, where Lightning's private names stand, what importing costs."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers import ROOT

import lightmodels

LAYERS = [  # each package imports packages of lower layers only, which come first
    ("utils", "plots", "optim"),
    ("inputs",),
    ("checkpointing", "metrics", "data"),
    ("callbacks",),
    ("core",),
    ("models", "loops", "visualization"),
    ("trainer",),
    ("sklearn", "tuning"),
    ("cli",),
]
RANKS = {package: rank for rank, packages in enumerate(LAYERS) for package in packages}
FILES = [path for top in ("lightmodels", "datamodules") for path in sorted((ROOT / top).rglob("*.py"))]
MAX_FILE, MAX_FUNCTION = 400, 50  # lines


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, at any depth, and packages where it takes a name from one."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in names}
    return {name for name in found if name.split(".")[0] in ("lightmodels", "datamodules")}


def package_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def by_module(paths=FILES):
    return pytest.mark.parametrize("path", paths, ids=module_of)


@by_module()
def test_packages_import_lower_ranks_only(path):
    module = module_of(path)
    if module == "lightmodels":
        return  # the public names
    own = package_of(module)
    for used in imports(path):
        if module.startswith("datamodules"):
            allowed = used.startswith("datamodules") or package_of(used) in ("data", "inputs", "utils")
        elif used.startswith("datamodules") or used == "lightmodels":
            allowed = own == "cli"
        else:
            allowed = package_of(used) == own or RANKS[package_of(used)] < RANKS[own]
        assert allowed, f"{module} imports {used}"


def test_no_module_imports_itself_through_others():
    graph = {name: imports(path) - {name} for name, path in MODULES.items()}
    TopologicalSorter(graph).prepare()  # raises a CycleError, which names them


@by_module([path for path in FILES if path.parent.name in ("models", "datamodules") and path.stem != "__init__"])
def test_no_model_imports_a_model_and_no_data_set_a_data_set(path):
    kin = {name for name in MODULES if MODULES[name].parent == path.parent and name != module_of(path)}
    tools = {"datamodules.reviews"}
    assert not imports(path) & (kin - tools)


def private_names(path: Path) -> set[str]:
    """Imports, attributes of other objects and texts that begin with an underscore."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("pytorch_lightning", "lightning_fabric")):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return {name for name in found if name.startswith("_")}


@pytest.fixture(scope="module")
def lightnings_names():
    files = Path(pl.__file__).parent.rglob("*.py")
    return {name for path in files for name in re.findall(r"\b_[a-zA-Z]\w+", path.read_text())}


SEAM = ("lightmodels.loops.", "lightmodels.utils.lightning_internals")


@by_module([path for path in FILES if not module_of(path).startswith(SEAM)])
def test_private_names_of_lightning_stay_behind_the_seam(path, lightnings_names):
    torchs_and_ours = {*dir(torch.nn.Module()), "_orig_mod", "_metrics"}
    assert not private_names(path) & lightnings_names - torchs_and_ours


@by_module()
def test_files_and_functions_are_short(path):
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < MAX_FUNCTION, node.name


def test_every_package_has_a_rank():
    parts = {package_of(module) for module in MODULES if module.startswith("lightmodels.")}
    assert parts == set(RANKS)


NEW = """
import gc, os, sys
gc.disable()  # collections would take as long as the imports, and so would the usual end
import pytorch_lightning
before = set(sys.modules)
from lightmodels import *
print(*{name.split(".")[0] for name in set(sys.modules) - before}, flush=True)
os._exit(0)
"""


def test_importing_lightmodels_loads_nothing_that_lightning_does_not():
    done = subprocess.run([sys.executable, "-c", NEW], capture_output=True, text=True, check=True)
    assert done.stdout == "lightmodels\n"


WATCHED = """
import gc, os, runpy, sys
assert "torch" not in sys.modules
class Watch:
    def find_spec(self, name, *_):
        if name in ("torch", "pytorch_lightning"):
            os._exit(97 if gc.isenabled() else 98)
sys.meta_path.insert(0, Watch())
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ENTRY = "from lightmodels.cli.main import main; main()"


def watched(path, *argv):
    """The exit code of a command: 97 or 98 if it imports PyTorch, with the garbage collector running or paused."""
    return subprocess.run([sys.executable, "-c", WATCHED, path, *argv], capture_output=True).returncode


@pytest.mark.parametrize(
    ("command", "argv"),
    [("train", []), ("evaluate", ["--ckpt", "x"]), ("predict", ["--ckpt", "x", "y"]),
     ("export", ["--ckpt", "x", "--format", "onnx"])],
    ids=["train", "evaluate", "predict", "export"],
)  # fmt: skip
def test_commands_import_pytorch_with_the_garbage_collector_paused(command, argv):
    assert watched(str(ROOT / "scripts" / f"{command}.py"), *argv) == 98


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["--help"], 0), (["--version"], 0), (["nothing"], 2), ([], 2), (["predict", "--help"], 0),
        (["predict", "--ckpt", "x"], 2), (["predict", "--ckpt", "x", "y", "--top", "0"], 2),
        (["export", "--ckpt", "x", "--format", "h5"], 2), (["evaluate", "--nothing"], 2),
        (["tune", "--help"], 0), (["tune", "--trials", "0"], 2), (["runs", "nowhere"], 2),
        (["compare", "nowhere", "nowhere"], 2),
        (["train", "--help"], 0), (["train", "--task", "table", "--help"], 0), (["train", "--print_config"], 0),
        (["train", "--lr", "1"], 2), (["train", "--task", "nothing"], 2), (["train", "--max_epochs", "0"], 2),
        (["train", "--model.width", "x"], 2), (["train", "--seeds", "1"], 2), (["train", "--resume", "last"], 2),
        (["train", "--config", "nowhere.yaml"], 2), (["tune", "--task", "nothing"], 2), (["tune", "--lr", "1"], 2),
        (["tune", "--model.nothing", "1..2"], 2),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else None,
)  # fmt: skip
def test_help_and_wrong_arguments_are_answered_without_importing_pytorch(argv, code, tmp_path):
    (tmp_path / "lightmodels_command.py").write_text(ENTRY)
    assert watched(str(tmp_path / "lightmodels_command.py"), *argv) == code


def test_the_public_names_are_all_there():
    """For checkers of types, on use, and in ``dir``."""
    tree = ast.parse(Path(lightmodels.__file__).read_text())
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.name: node.module for node in checked.body for alias in node.names}
    assert sorted(typed) == sorted(lightmodels.__all__) == sorted(lightmodels._MODULES)
    for name, module in typed.items():
        assert module == f"lightmodels.{lightmodels._MODULES[name]}"
        assert getattr(lightmodels, name).__module__ == module
        assert name in dir(lightmodels)
    with pytest.raises(AttributeError, match=r"^module 'lightmodels' has no attribute 'Nothing'$"):
        lightmodels.Nothing  # noqa: B018
