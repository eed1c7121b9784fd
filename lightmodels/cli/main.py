"""The console command: ``lightmodels train --task mnist`` is ``python scripts/train.py --task mnist``."""

import importlib
import sys

from lightmodels.cli.exit_codes import INPUT_WRONG, run

COMMANDS = ("train", "evaluate", "predict", "export")
USAGE = f"usage: lightmodels {{{','.join(COMMANDS)}}} …   (lightmodels COMMAND --help shows its flags)"


def main() -> None:
    """Runs the command that is named first."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("-h", "--help"):
        print(USAGE)
        return
    if name not in COMMANDS:
        print(USAGE, file=sys.stderr)
        sys.exit(INPUT_WRONG)
    sys.argv = [f"lightmodels {name}", *sys.argv[2:]]
    run(importlib.import_module(f"lightmodels.cli.{name}").main)
