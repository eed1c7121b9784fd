"""The page that ``train --help`` shows: the flags that most runs need, in a few words each."""

import argparse
import shutil
from argparse import SUPPRESS, Action
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from jsonargparse import ArgumentParser
from jsonargparse import DefaultHelpFormatter as JsonFormatter

DESCRIPTION = "Trains a task, tests the best weights and saves all results in a run directory."
TITLES = {
    "options": "General",
    "model": "Model of --task {task}",
    "data": "Data of --task {task}",
    "trainer": "Training (more options: --print_config)",
}
TRAINER_HELP = {  # the options of the Trainer that are shown; the others are in --print_config
    "monitor": "metric of the best epoch, val_loss if left out",
    "mode": "whether min or max of it is best",
    "patience": "stop after X epochs without improvement",
    "figures": "draw the model's figures",
    "steps_per_execution": "steps between callbacks, or auto",
    "compile": "compile the training step with torch.compile",
    "tf32": "use TF32 for float32 matrix multiplications",
    "precision": "such as bf16-mixed or 16-mixed",
    "accumulate_grad_batches": "batches per optimizer step",
    "gradient_clip_val": "maximum gradient norm",
    "check_val_every_n_epoch": "epochs between validations",
    "limit_train_batches": "batches per epoch, as a number or fraction",
    "max_time": "stop after DD:HH:MM:SS",
    "num_nodes": "machines",
}
SIZES = (  # arguments of models that follow from the data
    "num_features", "num_classes", "channels", "num_words", "length", "feature_mean", "feature_std", "target_scale",
    "target_mean", "target_std", "cardinalities",
)  # fmt: skip
VALUES = {"config": "FILE", "data_dir": "DIR", "run_dir": "DIR", "resume": "PATH"}
VALUES |= dict.fromkeys(("max_epochs", "seed", "seeds", "gpus", "tpu_cores", "save_every_n_steps"), "N")


class Formatter(JsonFormatter):
    """One line per flag where it fits: name, meaning and default."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, 110)
        argparse.HelpFormatter.__init__(self, prog, max_help_position=min(42, width * 5 // 12), width=width)

    def _format_action_invocation(self, action: Action) -> str:
        name = next((flag for flag in action.option_strings if flag.startswith("--")), "")
        choices = ",".join(map(str, action.choices or ()))
        value = f"{{{choices}}}" if choices else VALUES.get(action.dest, "X")
        return name if action.nargs == 0 or "print_config" in name else f"{name} {value}"

    def _expand_help(self, action: Action) -> str:
        text = str(action.help).replace("``", "").replace('"', "").rstrip(".")
        if action.default in (None, False, SUPPRESS) or action.nargs == 0 or action.dest == "task":
            return text
        default = f"{action.default:.4g}" if isinstance(action.default, float) else action.default
        return f"{text} (default: {default})"


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
        return "print all options as YAML, for --config"
    return "show this page" if "--help" in action.option_strings else action.help
