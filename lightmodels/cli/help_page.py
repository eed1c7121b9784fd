"""What ``train.py --help`` shows: one page, with the flags that most trainings need."""

import argparse
import re
from argparse import SUPPRESS, Action
from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import ArgumentParser
from jsonargparse import DefaultHelpFormatter as JsonFormatter

from lightmodels.cli.shorthands import LONG, SWITCHES

DESCRIPTION = "Trains one of the tasks, tests its best weights and keeps all of it in a directory of its own."
TITLES = {
    "model": "The model of --task {task}",
    "data": "The data of --task {task}",
    "trainer": "The training; other options of Lightning's Trainer work too: --print_config names all",
}
USUAL = {  # options of Lightning's Trainer that are shown, in fewer words than its own
    "steps_per_execution": "optimizer steps between two rounds of callbacks, or auto",
    "compile": "one graph of a whole training step, by torch.compile",
    "tf32": "products of matrices in TF32, on NVIDIA GPUs",
    "precision": "such as bf16-mixed or 16-mixed",
    "accumulate_grad_batches": "batches to a step of the optimizer",
    "gradient_clip_val": "largest norm of a gradient",
    "check_val_every_n_epoch": "epochs between validations",
    "limit_train_batches": "train on so many batches of an epoch, or on that share",
    "max_time": "stop after this time, DD:HH:MM:SS",
    "num_nodes": "machines",
}
VALUES = {"config": "FILE", "data_dir": "DIR", "run_dir": "DIR", "resume": "PATH"}
VALUES |= dict.fromkeys(("max_epochs", "seed", "seeds", "gpus", "tpu_cores", "save_every_n_steps"), "N")
OUR_OWN = ("monitor", "mode", "patience", "figures")


class Formatter(JsonFormatter):
    """A flag a line where it fits: its name, what it means and, if there is one, its default."""

    def __init__(self, prog: str) -> None:
        argparse.HelpFormatter.__init__(self, prog, max_help_position=42, width=110)

    def _format_action_invocation(self, action: Action) -> str:
        name = next((flag for flag in action.option_strings if flag.startswith("--")), "")
        name = LONG.get(name, name)
        takes_value = action.nargs != 0 and not name.startswith(("--help", "--print_config", *SWITCHES))
        return f"{name} {self._value(action)}" if takes_value else name

    def _value(self, action: Action) -> str:
        return (
            "{" + ",".join(map(str, action.choices)) + "}"
            if action.choices
            else VALUES.get(action.dest, "VALUE")
        )

    def _expand_help(self, action: Action) -> str:
        text = str(action.help).replace("``", "").replace('"', "").rstrip(".")
        if action.default in (None, False, SUPPRESS) or action.nargs == 0:
            return text
        return f"{text} (default: {action.default})"


@contextmanager
def shortened_help(parser: ArgumentParser) -> Iterator[None]:
    """Hides, for a while, what few need, titles the groups, and says the rest in few words.

    For a while only, as options without help are left out of configurations too.
    """
    before = [(action, action.help) for action in parser._actions]
    for action in parser._actions:
        action.help = short_help(action)
    for found in parser._action_groups:
        names = {re.split(r"[.]", action.dest)[0] for action in found._group_actions}
        for group, title in TITLES.items():
            if group in names:
                found.title = title.format(task=parser.get_default("task"))
    try:
        yield
    finally:
        for action, text in before:
            action.help = text


def short_help(action: Action) -> str | None:
    """What the page says of an option; nothing of one that few need."""
    group, _, name = action.dest.partition(".")
    if action.dest in TITLES or name.endswith(".help"):  # "--model FILE" and the like
        return SUPPRESS
    if group == "trainer" and name not in OUR_OWN:
        return USUAL.get(name, SUPPRESS)
    if action.dest == "print_config" or "--print_config" in action.option_strings:
        return "print every option there is, as YAML for --config; trains nothing"
    return "show this page" if "--help" in action.option_strings else action.help
