"""Writes what train's parser needs of the constructors to lightmodels/cli/signatures: make flags"""

import inspect
import subprocess
import sys
import textwrap
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import docstring_parser
import pytorch_lightning as pl

import lightmodels
from lightmodels.cli.tasks import TASKS
from lightmodels.cli.train_flags import PLAIN_DATA, PLAIN_TRAINER

ROOT = Path(__file__).parents[1]
DIRECTORY = ROOT / "lightmodels" / "cli" / "signatures"
HEAD = '''"""Flags of train from the constructors of the {}, without PyTorch; written by make flags."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Literal
'''
# Options of the Trainer that take an object too: as flags only names, as a class path can run any code.
BY_NAME = {"accelerator": "str = 'auto'", "strategy": "str = 'auto'", "profiler": "str | None = None"}
NOT_FLAGS = (*PLAIN_DATA, *PLAIN_TRAINER, *BY_NAME, "callbacks", "plugins", "default_root_dir")


def files() -> dict[Path, str]:
    """The texts of the files."""
    models = {name: getattr(lightmodels, name) for task in TASKS.values() for name in task.models}.values()
    data = {task.data: task.data_class for task in TASKS.values()}.values()
    trainer = arguments_of(lightmodels.Trainer) | arguments_of(pl.Trainer) | BY_NAME
    stubs = {
        "models": [stub(each, {"max_epochs": f"ClassVar = {each.max_epochs}"} | arguments_of(each)) for each in models],
        "data": [stub(each, arguments_of(each)) for each in data],
        "trainer": [stub(lightmodels.Trainer, trainer)],
    }
    return {DIRECTORY / f"{name}.py": formatted("".join([HEAD.format(name), *stubs[name]])) for name in stubs}


def arguments_of(kind: type) -> dict[str, str]:
    """The type and the default of each argument that is a flag."""
    hints, found = get_type_hints(kind.__init__), {}
    for name, argument in inspect.signature(kind).parameters.items():
        if name not in NOT_FLAGS and argument.kind != argument.VAR_KEYWORD:
            default = "" if argument.default is argument.empty else f" = {argument.default!r}"
            found[name] = type_text(hints[name]) + default
    return found


def type_text(kind: Any) -> str:
    """The annotation, the same with every version of Python."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " | ".join(map(type_text, parts))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, parts))}]"
    name = "None" if kind is NoneType else "Any" if kind is Any else (origin or kind).__name__
    return f"{name}[{', '.join(map(type_text, parts))}]" if parts else name


def stub(kind: type, arguments: dict[str, str]) -> str:
    """A class with these arguments and their help texts; those of the Trainer are in ``help_page.TRAINER_HELP``."""
    helps = {each.arg_name: " ".join(each.description.split()) for each in docstring_parser.parse(kind.__doc__).params}
    wrap = textwrap.TextWrapper(120, initial_indent=" " * 8, subsequent_indent=" " * 12, break_on_hyphens=False)
    lines = [wrap.fill(f"{name}: {helps[name]}") for name in arguments if name in helps]
    about = [] if kind is lightmodels.Trainer else ['    """', "    Args:", *lines, '    """', ""]
    fields = [f"    {name}: {text}" for name, text in arguments.items()]
    # Not its own name, as jsonargparse looks for that in the package, which would import the class.
    return "\n".join(["@dataclass(kw_only=True)", f"class {kind.__name__}Flags:", *about, *fields, ""])


def formatted(text: str) -> str:
    """The text without unused imports, as ruff formats it."""
    for command in ("check --quiet --fix --select=F401", "format"):
        ruff = [sys.executable, "-m", "ruff", *command.split(), "--stdin-filename", "flags.py", "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, check=True, text=True, cwd=ROOT).stdout
    return text


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
