"""The console command: ``lightmodels train …`` does what ``python scripts/train.py …`` does."""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightmodels
from lightmodels.cli.arguments import PARSERS
from lightmodels.cli.exit_codes import INVALID_INPUT, UsageError, format_warning, quick_end, run
from lightmodels.utils.console import printable
from lightmodels.utils.fast_import import gc_paused

COMMANDS = {
    "train": "train one of the tasks",
    "tune": "search the hyper-parameters of a task",
    "evaluate": "test a checkpoint on the test set of its task",
    "predict": "predict with a trained model, from its checkpoint",
    "export": "export a trained model to ONNX or torch.export",
    "runs": "list the runs in a directory",
    "compare": "show the settings and metrics in which runs differ",
}
USAGE = "\n".join(
    ["usage: lightmodels COMMAND [flags]", ""]
    + [f"  {name:10}{text}" for name, text in COMMANDS.items()]
    + ["", "lightmodels COMMAND --help lists the flags of a command."]
)


def program(name: str = "") -> None:
    """Runs a command, or the one that is named first, as all that this process does."""
    with quick_end():
        run_command(name) if name else main()


def main() -> None:
    """Runs the command that is named first."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        run_command(name, sys.argv[2:])
    elif name in ("-h", "--help"):
        print(USAGE)
    elif name == "--version":
        print(f"lightmodels {lightmodels.__version__}")
    else:
        unknown = f"lightmodels: unknown command {name}, choose one of {', '.join(COMMANDS)}"
        print(printable(unknown) if name else USAGE, file=sys.stderr)
        sys.exit(INVALID_INPUT)


def run_command(name: str, argv: Sequence[str] | None = None) -> None:
    """Parses a command's arguments, imports and runs it; ``argv`` is by default what follows the name of the script."""

    def command(argv: Sequence[str]) -> None:
        given = parse(name, argv)
        require_datamodules()
        with gc_paused():
            module = importlib.import_module(f"lightmodels.cli.{name}")
        warnings.formatwarning = format_warning  # again, as Lightning has set its own; ``run`` restores it
        module.main(given)

    run(command, argv)


def parse(name: str, argv: Sequence[str]) -> Any:
    """The arguments of a command, as its ``main`` takes them."""
    if name in PARSERS:
        return PARSERS[name]().parse(argv)
    flags = importlib.import_module(f"lightmodels.cli.{name}_flags")  # with jsonargparse, which the others need not
    return flags.parse(argv)


def require_datamodules() -> None:
    """Raises UsageError if another package or file hides ``datamodules``."""
    spec, own = find_spec("datamodules"), Path(lightmodels.__file__).parents[1] / "datamodules"
    found = Path(str(spec and spec.origin).removesuffix("__init__.py"))
    if found.resolve() != own.resolve():
        raise UsageError(f"{found} hides {own}, which the commands need: rename it, or take it off the path")
