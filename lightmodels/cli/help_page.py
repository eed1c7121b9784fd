"""The page that ``train --help`` shows: the flags that most runs need, in a few words each."""

import argparse
import json
import shutil
from argparse import SUPPRESS, Action
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser
from jsonargparse import DefaultHelpFormatter as JsonFormatter

DESCRIPTION = "Trains a model on a task, tests its best weights, and saves the results in a run directory."
TITLES = {
    "options": "General",
    "model": "Model of --task {task}",
    "data": "Data of --task {task}",
    "trainer": "Training (more options: --print_config)",
}
TRAINER_HELP = {  # the options of the Trainer that are shown; the others are in --print_config
    "monitor": "metric that decides which epoch is best (default: val_loss)",
    "mode": "whether its lowest or its highest value is best",
    "patience": "stop after N epochs without improvement",
    "figures": "draw the model's figures",
    "steps_per_execution": "optimizer steps between calls of callbacks",
    "compile": "compile the training step with torch.compile",
    "tf32": "use TF32 for float32 matrix multiplications",
    "precision": "numerical precision, such as bf16-mixed or 16-mixed",
    "accumulate_grad_batches": "batches per optimizer step",
    "gradient_clip_val": "maximum norm of the gradient",
    "check_val_every_n_epoch": "validate every N epochs",
    "limit_train_batches": "train on this number or fraction of the batches",
    "max_time": "stop after this time, DD:HH:MM:SS",
    "num_nodes": "number of machines",
}
SIZES = (  # arguments of models that follow from the data
    "num_features", "num_classes", "channels", "num_words", "length", "feature_mean", "feature_std", "target_scale",
    "target_mean", "target_std", "cardinalities",
)  # fmt: skip
MAX_NAMES = 24  # characters of all choices, above which they are not listed
TYPES = {bool: "true|false", int: "N", float: "X", str: "TEXT"}
VALUES = {"config": "FILE", "data_dir": "DIR", "run_dir": "DIR", "resume": "PATH|last"}
VALUES |= {"data.path": "PATH", "data.test_path": "PATH", "model.weights": "FILE", "trainer.max_time": "TIME"}
VALUES |= dict.fromkeys(("max_epochs", "seed", "seeds", "gpus", "tpu_cores", "save_every_n_steps"), "N")


class Formatter(JsonFormatter):
    """One line per flag where it fits: name, meaning and default."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size((110, 24)).columns, 110)
        argparse.HelpFormatter.__init__(self, prog, max_help_position=min(42, width * 5 // 12), width=width)

    def _format_action_invocation(self, action: Action) -> str:
        name = next((flag for flag in action.option_strings if flag.startswith("--")), "")
        return name if action.nargs == 0 or "print_config" in name else f"{name} {value_name(action)}"

    def _expand_help(self, action: Action) -> str:
        text = str(action.help).replace("``", "").replace('"', "").rstrip(".")
        if action.default in (None, SUPPRESS) or action.nargs == 0 or action.dest == "task":
            return text
        default = (
            f"{action.default:.4g}" if isinstance(action.default, float) else json.dumps(action.default).strip('"')
        )
        return f"{text} (default: {default})"


def value_name(action: Action) -> str:
    """What stands for the value of a flag: ``true|false``, other choices, or a letter."""
    if action.choices:
        return f"{{{','.join(map(str, action.choices))}}}"
    names = "|".join(dict.fromkeys(value_names(getattr(action, "_typehint", None))))
    return VALUES.get(action.dest, names if 0 < len(names) <= MAX_NAMES else "X")


def value_names(kind: Any) -> list[str]:
    """What stands for values of a type, empty for None and for other types."""
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if kind in TYPES:
        return [TYPES[kind]]
    is_union = get_origin(kind) in (Union, UnionType)
    return [name for part in get_args(kind) for name in value_names(part)] if is_union else []


@contextmanager
def shortened_help(parser: ArgumentParser, short_names: Mapping[str, str]) -> Iterator[None]:
    """Temporarily hides the less common flags, and gives the others titles, short names and short texts.

    Only temporarily, as flags without help are left out of ``--print_config`` too. Flags with a short name
    that are false by default are shown without a value.
    """
    before = [(action, action.help, action.option_strings, action.nargs) for action in parser._actions]
    for action, _, names, _ in before:
        action.help = short_help(action)
        if short := [short_names[name] for name in names if name in short_names]:
            action.option_strings = short
            action.nargs = 0 if action.default is False else action.nargs
    for group in parser._action_groups:
        members = {action.dest.partition(".")[0] for action in group._group_actions}
        title = TITLES.get(str(group.title if len(members) > 1 else next(iter(members), "")), group.title)
        group.title = title and title.format(task=parser.get_default("task"))
    try:
        yield
    finally:
        for action, text, names, nargs in before:
            action.help, action.option_strings, action.nargs = text, names, nargs


def short_help(action: Action) -> str | None:
    """The text for a flag; ``SUPPRESS`` hides it."""
    group, _, name = action.dest.partition(".")
    if action.dest in TITLES or name.endswith(".help"):  # "--model FILE" and the like
        return SUPPRESS
    if group == "model" and name in SIZES:
        return SUPPRESS
    if group == "trainer":
        return TRAINER_HELP.get(name, SUPPRESS)
    if action.dest == "print_config" or "--print_config" in action.option_strings:
        return "print all options as YAML for --config, and exit"
    return "print this page, and exit" if "--help" in action.option_strings else action.help
