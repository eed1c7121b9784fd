"""The flags of train.py: a few plain ones, and dotted ones from the constructors' signatures."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace

from lightmodels import Trainer
from lightmodels.cli import torchrun_restart
from lightmodels.cli.exit_codes import UsageError, with_underscores
from lightmodels.cli.help_page import DESCRIPTION, Formatter, shortened_help
from lightmodels.cli.resume_flags import find_checkpoint, parse_resumed
from lightmodels.cli.shorthands import expand_shorthands
from lightmodels.cli.tasks import TASKS

PLAIN_DATA = ("seed", "data_dir")  # arguments of data modules that have a plain flag
OURS = ("gpus", "tpu_cores", "run_dir", "max_epochs", "save_every_n_steps")
OURS += ("callbacks", "logger", "plugins", "default_root_dir")
NOT_SAVED = ("config", "run_dir", "resume", "override", "print_config", "seeds")
NOT_SAVED += ("summary", "quiet", "verbose")


KINDS = {
    "<class 'float'>": "a finite number",
    "<class 'int'>": "a whole number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "text",
}


class Parser(ArgumentParser):
    """A parser whose errors are one line each, and whose help is a page."""

    def format_help(self) -> str:
        with shortened_help(self):
            return super().format_help()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(self._one_line(message)) from ex

    def _one_line(self, message: str) -> str:
        if unknown := re.search(r"[Uu]nrecognized arguments: (\S+)", message):
            flag = unknown[1].partition("=")[0]
            near = difflib.get_close_matches(flag, self._option_string_actions, n=1)
            return f"unknown flag {flag}" + (f"; did you mean {near[0]}?" if near else "")
        if key := re.search(r'Parser key "([^"]+)":', message):
            value = re.search(r"(?:Given|Got) value: (.*)", message)
            found = re.findall(r"Expected an? (.+?)(?:\. Got.*)?$", message, re.MULTILINE)
            kinds = " or ".join(
                dict.fromkeys(
                    KINDS.get(kind, kind.replace("typing.Literal", "one of "))
                    for kind in found
                    if "None" not in kind
                )
            )
            if value and kinds:
                return f"--{key[1]} must be {kinds}, got {value[1]}"
        return message.removeprefix("argument ")


def parse(argv: Sequence[str]) -> tuple[Namespace, Parser]:
    """Reads the command line of train.py.

    Returns:
        The options, and the parser, which can dump them.

    Raises:
        UsageError: a flag or a value that is not known; the line names it.
    """
    argv = expand_shorthands([with_underscores(arg) for arg in argv])
    task = chosen_task(argv)
    parser = make_parser(task)
    resume, run_dir = flag_value(argv, "--resume"), flag_value(argv, "--run_dir")
    options = None if resume else parser.parse_args(argv)
    if options is None or torchrun_restart.goes_on(options.run_dir):
        checkpoint = find_checkpoint(resume or "last", options.run_dir if options else run_dir, task)
        options = parse_resumed(parser, argv, checkpoint)
    if options.max_epochs is None:
        options.max_epochs = TASKS[task][0].max_epochs
    check_ranges(options)
    return options, parser


def check_ranges(options: Namespace) -> None:
    """Raises UsageError for a number outside its range."""
    for name, least in (("max_epochs", 1), ("seed", 0)):
        if options[name] < least:
            raise UsageError(f"--{name} must be at least {least}, got {options[name]}")
    if options.quiet and options.verbose:
        raise UsageError("--quiet and --verbose: leave one out")
    last_seed = options.seed + (options.seeds or 1) - 1
    if last_seed >= 2**32:
        raise UsageError(f"--seed must be below 2**32, got {last_seed}")
    if options.seeds is not None and (options.seeds < 2 or options.resume):
        raise UsageError(f"--seeds must be at least 2, and without --resume, got {options.seeds}")


def chosen_task(argv: Sequence[str]) -> str:
    """The task named on the command line, else in the last configuration that has one, else ring."""
    configured = [task for path in flag_values(argv, "--config") if (task := configured_task(path))]
    named = [*configured, *flag_values(argv, "--task")]
    task = named[-1] if named else resumed_task(argv) or "ring"
    if task not in list(TASKS):
        raise UsageError(f"--task must be one of {', '.join(TASKS)}, got {task}")
    return task


def flag_values(argv: Sequence[str], flag: str) -> list[str]:
    """All values that the command line gives to a flag."""
    values = []
    for arg, following in zip(argv, [*argv[1:], None], strict=False):  # of no words, one too many
        if arg == flag and following is not None:
            values.append(following)
        elif arg.startswith(flag + "="):
            values.append(arg[len(flag) + 1 :])
    return values


def flag_value(argv: Sequence[str], flag: str) -> str | None:
    """The last value that the command line gives to a flag."""
    return next(reversed(flag_values(argv, flag)), None)


def resumed_task(argv: Sequence[str]) -> str | None:
    """The task in the configuration of the run that the command line names for ``--resume``."""
    resume, run_dir = flag_value(argv, "--resume"), flag_value(argv, "--run_dir")
    named = None if resume in (None, "last") else Path(str(resume)).parent.parent
    config = (Path(run_dir) if run_dir else named or Path()) / "config.yaml"
    return configured_task(str(config)) if resume and config.is_file() else None


def configured_task(path: str) -> str | None:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--config {path} cannot be read ({getattr(error, 'strerror', 'not text')})"
        ) from error
    except yaml.YAMLError as error:
        raise UsageError(f"--config {path} is no YAML file") from error
    if not isinstance(content, dict):
        raise UsageError(f"--config {path} holds no options")
    return content.get("task")


def make_parser(task: str) -> Parser:
    model, data = TASKS[task]
    parser = Parser(prog="train.py", description=DESCRIPTION, formatter_class=Formatter, allow_abbrev=False)
    parser.usage = "train.py [--task TASK] [flags]"
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file of options; flags after it win")
    add_plain_flags(parser, task)
    parser.add_class_arguments(model, "model")
    parser.add_class_arguments(data, "data", skip=set(PLAIN_DATA))
    parser.add_class_arguments(Trainer, "trainer", skip=set(OURS), fail_untyped=False)
    parser.add_argument("--trainer.logger", type=bool, default=True, help="write TensorBoard's event files")
    return parser


def add_plain_flags(parser: Parser, task: str) -> None:
    """The flags without a dot, in the groups that ``--help`` shows."""
    epochs = TASKS[task][0].max_epochs
    add = parser.add_argument_group("What to train").add_argument
    add("--task", choices=list(TASKS), default=task, help="the task; it also decides the flags below")
    add("--max_epochs", type=int | None, help=f"epochs to train, {epochs} if left out")
    add("--seed", type=int, default=0, help="seed of data, weights and order")
    add("--seeds", type=int | None, help="train so many times, from --seed on; print mean ± deviation")
    add = parser.add_argument_group("Where").add_argument
    add("--gpus", type=int | str | None, help="a count, -1 for all, 0,1 for those; 0 is the CPU")
    add("--tpu_cores", type=int | str | None, help="a count, -1 for all, 0,1 for those")
    add("--data_dir", type=str, default="data", help="where the data files are, or are put")
    add("--run_dir", type=str | None, help="directory of this run, else the next of runs/TASK/1, 2, …")
    add = parser.add_argument_group("Going on after a stop").add_argument
    add("--resume", type=str | None, help="checkpoint to go on from, or 'last' for the newest run's")
    add("--override", action="store_true", help="resume with other settings than before")
    add("--save_every_n_steps", type=int | None, help="save last.ckpt inside epochs too")
    add = parser.add_argument_group("What is shown").add_argument
    add("--quiet", action="store_true", help="only the results and errors")
    add("--verbose", action="store_true", help="the model's layers and Lightning's messages too")
    add("--histograms", action="store_true", help="weights and gradients of each epoch in TensorBoard")
    add("--summary", action="store_true", help="the model's layers and sizes; trains nothing")


def typed(parser: Parser, options: Namespace, group: str) -> dict[str, Any]:
    """The options of a group that differ from their defaults."""
    defaults = parser.get_defaults()[group]
    return {name: value for name, value in vars(options[group]).items() if value != defaults[name]}


def dump(parser: Parser, options: Namespace) -> str:
    """The options as the YAML text of ``config.yaml``, good for ``--config``."""
    saved = options.clone()
    for name in NOT_SAVED:
        saved.pop(name, None)
    return parser.dump(saved, skip_validation=True)
