"""Imports of torchmetrics without its image, audio and text metrics until they are used."""

import ast
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import CodeType, ModuleType
from typing import Any

SWITCH = "LIGHTMODELS_LAZY_TORCHMETRICS"
PACKAGES = ("torchmetrics", "torchmetrics.functional")


def install() -> None:
    """Makes the two packages import what they export when it is first used, if nothing has imported them yet.

    Their ``__init__`` imports every metric, and with some of them SciPy's signal processing and torchvision:
    a quarter of the seconds of ``import pytorch_lightning``. Each name is still there, and is the same object. The
    environment variable ``LIGHTMODELS_LAZY_TORCHMETRICS=0`` leaves the packages as they are.
    """
    if os.environ.get(SWITCH) != "0" and not sys.modules.keys() & PACKAGES:
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in PACKAGES else None
        if spec is None or spec.origin is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        spec.loader = _Loader(name, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    """Runs an ``__init__.py`` whose imports of metrics are left to its ``__getattr__``."""

    def get_code(self, fullname: str) -> CodeType:
        tree = ast.parse(self.get_data(self.path), self.path)
        self.exports = {
            alias.asname or alias.name: (str(node.module), alias.name)
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and _has_metrics(node)
            for alias in node.names
        }
        kept = [node for node in tree.body if not (_has_metrics(node) or _imports_scipy(node))]
        return compile(ast.Module(kept, tree.type_ignores), self.path, "exec")

    def exec_module(self, module: ModuleType) -> None:
        def export(name: str) -> Any:
            if name in self.exports:
                source, attribute = self.exports[name]
                value = getattr(importlib.import_module(source), attribute)
            elif not name.startswith("_") and find_spec(f"{module.__name__}.{name}"):
                value = importlib.import_module(f"{module.__name__}.{name}")
            else:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            setattr(module, name, value)
            return value

        super().exec_module(module)
        module.__getattr__ = export  # type: ignore[method-assign]
        importlib.import_module("torchmetrics.utilities")  # before torchmetrics.metric: they import each other


def _has_metrics(node: ast.stmt) -> bool:
    """Whether the statement imports from torchmetrics, except from its utilities."""
    parts = (node.module or "").split(".") if isinstance(node, ast.ImportFrom) else []
    return parts[:1] == ["torchmetrics"] and parts[1:2] != ["utilities"]


def _imports_scipy(node: ast.stmt) -> bool:
    """Whether the statement adds ``hamming`` to SciPy, as ``torchmetrics.functional.audio`` does once more."""
    return isinstance(node, ast.If) and any(
        isinstance(each, ast.Import) and each.names[0].name == "scipy.signal" for each in node.body
    )
