"""The flags of train.py: a few plain ones, and dotted ones from the constructors' signatures; without PyTorch."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from lightmodels.cli import config_files, exit_codes, torchrun_restart
from lightmodels.cli.arguments import GPUS, TPU_CORES
from lightmodels.cli.config_files import configured
from lightmodels.cli.exit_codes import UsageError, command_name, normalize_flag
from lightmodels.cli.help_page import DESCRIPTION, SIZES, Formatter, shortened_help
from lightmodels.cli.parse_errors import explain
from lightmodels.cli.resume_flags import find_checkpoint, newest_run, parse_resumed
from lightmodels.cli.signatures import data, models, trainer
from lightmodels.cli.tasks import TASKS, Task
from lightmodels.visualization import LOGGERS

PLAIN_DATA = ("seed", "data_dir")  # arguments of data modules with a plain flag
PLAIN_TRAINER = ("gpus", "tpu_cores", "run_dir", "max_epochs", "save_every_n_steps", "logger")  # the Trainer's
NOT_SAVED = (
    "config", "run_dir", "resume", "override", "print_config", "seeds", "summary", "dry_run", "quiet", "verbose",
)  # fmt: skip
# Long name: short name.
SHORT_NAMES = {f"--trainer.{name}": f"--{name}" for name in ("compile", "precision", "steps_per_execution", "tf32")}
SHORT_NAMES["--model_class"] = "--model"
SWITCHES = ("--compile", "--tf32")  # need no value
TYPE_NAMES = {
    "<class 'float'>": "a finite number",
    "<class 'int'>": "a whole number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "text",
}


class Parser(ArgumentParser):
    """A parser with one-line errors and a one-page help."""

    def format_help(self, formatter: argparse.HelpFormatter | None = None) -> str:
        with shortened_help(self, SHORT_NAMES):
            return super().format_help()

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(self._one_line(message)) from ex

    def _one_line(self, message: str) -> str:
        key = re.search(r'Parser key "([^"]+)":', message)
        value = re.search(r"(?:Given|Got) value: (.*)", message)
        types = re.findall(r"Expected an? (.+?)(?:\. Got.*)?$", message, re.MULTILINE)
        names = [TYPE_NAMES.get(kind, kind.replace("typing.Literal", "one of ")) for kind in types]
        expected = " or ".join(dict.fromkeys(name for name in names if "None" not in name))
        if key and value and expected:
            return f"--{key[1]} must be {expected}, got {value[1]}"
        message = explain(message, [flag for flag in self._option_string_actions if is_shown(flag)])
        return re.sub(r"(?<!-)\b(?=(?:data|model)\.)", "--", message)


def is_shown(flag: str) -> bool:
    """Whether a flag is one that users give; not ``--model``, ``--model.help``, ``--model.hidden+`` and sizes."""
    group, dot, name = flag.removeprefix("--").partition(".")
    return not (flag.endswith("+") or (group in ("model", "data", "trainer") and (not dot or name in ("help", *SIZES))))


def parse(argv: Sequence[str]) -> tuple[Namespace, Parser]:
    """The options on the command line of train.py, and the parser, which can dump them.

    Raises UsageError, which names it, for an unknown flag or an invalid value.
    """
    argv = expand_short_names([normalize_flag(arg) for arg in argv])
    first = first_pass(argv)
    task = choose_task(first)
    parser = make_parser(task, choose_model(first, task))
    options = None if first.resume else parser.parse_args(argv)
    if options is None or torchrun_restart.is_restart(options.run_dir):
        run_dir = options.run_dir if options else first.run_dir
        options = parse_resumed(parser, argv, find_checkpoint(first.resume or "last", run_dir, task))
    if options.max_epochs is None:
        options.max_epochs = TASKS[task].with_model(options.model_class).max_epochs
    check_values(options)
    return options, parser


def expand_short_names(argv: Sequence[str]) -> list[str]:
    """Replaces short names of flags by the names that the parser knows.

    Examples:
        >>> expand_short_names(["--precision", "bf16-mixed", "--compile", "--seed=1"])
        ['--trainer.precision', 'bf16-mixed', '--trainer.compile=true', '--seed=1']
    """
    long_names = {short: name for name, short in SHORT_NAMES.items()}
    expanded = []
    for arg, following in zip(argv, [*argv[1:], ""], strict=False):  # strict fails on an empty argv
        name, equals, value = arg.partition("=")
        switch = "=true" if name in SWITCHES and not equals and following not in ("true", "false") else ""
        expanded.append(long_names.get(name, name) + equals + value + switch)
    return expanded


def first_pass(argv: Sequence[str]) -> argparse.Namespace:
    """Parses only the flags that decide which other flags there are."""
    parser = exit_codes.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="append", default=[])
    for flag in ("--task", "--model_class", "--resume", "--run_dir"):
        parser.add_argument(flag)
    return parser.parse_known_args(argv)[0]


def choose_task(first: argparse.Namespace) -> str:
    """The task of the command line, else of the last configuration or the resumed run, else ring."""
    task = _chosen(first, "task") or "ring"
    if task not in list(TASKS):
        raise UsageError(f"--task must be one of {', '.join(TASKS)}, got {task}")
    return str(task)


def choose_model(first: argparse.Namespace, task: str) -> str:
    """The name of the model's class, found as the task's is; by default the task's usual model."""
    names = TASKS[task].models
    name = _chosen(first, "model_class", task) or names[0]
    if name not in names:
        raise UsageError(f"--model must be one of {', '.join(names)} for --task {task}, got {name}")
    return str(name)


def _chosen(first: argparse.Namespace, name: str, task: str | None = None) -> Any:
    """The option of the command line, else of the last configuration that has it, else of the resumed run."""
    configured_values = [value for path in first.config if (value := configured(path, name))]
    named = configured_values if getattr(first, name) is None else [getattr(first, name)]
    if named or not first.resume:
        return named[-1] if named else None
    run_dir = Path(first.run_dir or Path(first.resume).parent.parent)
    if first.resume == "last" and not first.run_dir:
        run_dir = newest_run(Path("runs") / task) if task else run_dir
    config = run_dir / "config.yaml"
    return configured(str(config), name) if config.is_file() else None


def check_values(options: Namespace) -> None:
    """Raises UsageError for a number out of range, or flags that exclude each other."""
    for name, minimum in (("max_epochs", 1), ("seed", 0)):
        if options[name] < minimum:
            raise UsageError(f"--{name} must be at least {minimum}, got {options[name]}")
    every, monitor = options.trainer.check_val_every_n_epoch, options.trainer.monitor
    if every is not None and every > options.max_epochs and not (monitor or "").startswith("train_"):
        limit = f"at most --max_epochs, which is {options.max_epochs}"
        raise UsageError(f"--trainer.check_val_every_n_epoch must be {limit}, got {every}: no epoch would be validated")
    if options.quiet and options.verbose:
        raise UsageError("--quiet cannot be combined with --verbose")
    last_seed = options.seed + (options.seeds or 1) - 1
    if last_seed >= 2**32:
        raise UsageError(f"--seed must be below 2**32, got {last_seed}")
    if options.seeds is not None and options.resume:
        raise UsageError("--seeds cannot be combined with --resume")
    if options.seeds is not None and options.seeds < 2:
        raise UsageError(f"--seeds must be at least 2, got {options.seeds}")


def make_parser(task_name: str, model: str) -> Parser:
    """The parser for a task and one of its models."""
    task, prog = TASKS[task_name].with_model(model), command_name()
    parser = Parser(prog=prog, description=DESCRIPTION, formatter_class=Formatter, allow_abbrev=False)
    parser.parser_mode = config_files.MODE
    parser.usage = f"{prog} [--task TASK] [flags]"
    parser.add_argument("--config", action="config", help="YAML file of options; flags after it override it")
    add_plain_flags(parser, task_name, task)
    parser.add_class_arguments(getattr(models, f"{task.model}Flags"), "model")
    parser.add_class_arguments(getattr(data, f"{task.data}Flags"), "data")
    parser.add_class_arguments(trainer.TrainerFlags, "trainer")
    defaults = {name: value for name, value in task.defaults.items() if name != "max_epochs"}
    parser.set_defaults(defaults)
    return parser


def add_plain_flags(parser: Parser, name: str, task: Task) -> None:
    """The flags without a dot, in the groups that ``--help`` shows."""
    names = TASKS[name].models
    add = parser.add_argument_group("Run").add_argument
    add(
        "--task",
        choices=list(TASKS),
        default=name,
        help="task to train (default: ring); it decides which flags follow below",
    )
    about = "class of the model" if len(names) > 1 else argparse.SUPPRESS
    add("--model_class", choices=names, default=task.model, help=about)
    add("--max_epochs", type=int | None, help=f"number of epochs (default: {task.max_epochs})")
    add("--seed", type=int, default=0, help="seed of the data, the weights and the order of the rows")
    add("--seeds", type=int | None, help="train N times with consecutive seeds")
    add = parser.add_argument_group("Devices and directories").add_argument
    add("--gpus", type=int | str | None, help=GPUS)
    add("--tpu_cores", type=int | str | None, help=TPU_CORES)
    add("--data_dir", type=str, default="data", help="directory of the data files")
    add("--run_dir", type=str | None, help="directory of this run (default: runs/TASK/1, 2, …)")
    add = parser.add_argument_group("Resuming").add_argument
    add("--resume", type=str | None, help="continue from a checkpoint, or from the last one of the newest run")
    add("--override", action="store_true", help="resume even if settings have changed")
    add("--save_every_n_steps", type=int | None, help="save last.ckpt every N steps, not only after each epoch")
    add = parser.add_argument_group("Output").add_argument
    add("--logger", choices=[*LOGGERS, "none"], default="tensorboard", help="where to log metrics")
    add("--quiet", action="store_true", help="print only results and errors")
    add("--verbose", action="store_true", help="also print the model's layers and Lightning's messages")
    add("--summary", action="store_true", help="print the model's layers, and exit")
    add("--dry_run", action="store_true", help="print what would be trained, and exit")


def changed_options(parser: Parser, options: Namespace, group: str) -> dict[str, Any]:
    """The options of a group that differ from their defaults."""
    defaults = parser.get_defaults()[group]
    return {name: value for name, value in vars(options[group]).items() if value != defaults[name]}


def dump_config(parser: Parser, options: Namespace) -> str:
    """The options as the YAML text of ``config.yaml``, valid for ``--config``."""
    saved = options.clone()
    for name in NOT_SAVED:
        saved.pop(name, None)
    return str(parser.dump(saved, skip_validation=True))
