"""The flags of tune: its own, and those of train, of which some have several values to search."""

from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from lightmodels.cli import train_flags
from lightmodels.cli.exit_codes import Parser, UsageError, command_name, flag_errors, normalize_flag
from lightmodels.tuning.space import RANGE, Choices, Range, Space, parse_range, split_choices
from lightmodels.utils.fast_import import gc_paused

TUNING = """Searches hyper-parameters of a task with Optuna. Trials are compared on the validation rows; the test rows
are not used.

The flags of train are accepted, too. Those whose value is a range or a list are searched; the others are the same
in every trial:
  --model.lr 1e-4..1e-1             a range, logarithmic if its ends differ by a factor of 100 or more
  --data.batch_size 32,64           a list
  --model.hidden "[64],[256,128]"   a list of lists
To continue a study, repeat its command with --run_dir."""
SEARCHABLE = ("--model.", "--data.", "--trainer.")
NOT_FOR_TUNING = ("--resume", "--seeds", "--summary", "--dry_run", "--override", "--print_config")  # flags of train
Flags = dict[str, str]  # values by name, without dashes


class TuneParser(Parser):
    """Leaves all flags that it does not know to train's parser, in ``rest``."""

    def parse(self, argv: Sequence[str]) -> Namespace:
        options, rest = self.parse_known_args([normalize_flag(arg) for arg in argv])
        options.rest = rest
        if find_spec("optuna") is None:
            raise UsageError("tune needs Optuna: pip install optuna")
        if options.trials < 1:
            raise UsageError(f"--trials must be at least 1, got {options.trials}")
        if bool(options.storage) != bool(options.study):
            raise UsageError("--storage and --study must be given together")
        flags = [arg.partition("=")[0] for arg in rest]
        if refused := [flag for flag in flags if flag in NOT_FOR_TUNING]:
            raise UsageError(
                f"{refused[0]} is a flag of train, not of tune; to continue a study, repeat its command with --run_dir"
            )
        return options


def tune_parser() -> Parser:
    """Of ``tune``, without the flags of train."""
    parser = TuneParser(prog=command_name(), usage="%(prog)s [--task TASK] [flags]", allow_abbrev=False)
    parser.description, parser.formatter_class = TUNING, RawDescriptionHelpFormatter
    parser.add_argument(
        "--trials", metavar="N", type=int, default=20, help="number of trials in the study (default: 20)"
    )
    parser.add_argument(
        "--storage", metavar="STORE", help="Optuna's database (URL) or journal file (path), for several processes"
    )
    parser.add_argument("--study", metavar="NAME", help="name of the study in --storage")
    return parser


def parse(argv: Sequence[str]) -> tuple[Namespace, list[str], Space]:
    """The flags of tune itself, those of train that are the same in every trial, and what is searched."""
    own = tune_parser().parse(argv)
    fixed, candidates = split_flags(train_flags.expand_short_names(own.rest))
    return own, fixed, find_space(fixed, candidates)


def split_flags(argv: Sequence[str]) -> tuple[list[str], Flags]:
    """The flags of train with one value, and those that may have several: with a range, or with commas."""
    fixed, candidates, position = list[str](), Flags(), 0
    while position < len(argv):
        name, equals, value = argv[position].partition("=")
        following = argv[position + 1] if not equals and position + 1 < len(argv) else ""
        value = value or following
        if name.startswith(SEARCHABLE) and (RANGE.fullmatch(value) or len(split_choices(value)) > 1):
            candidates[name[2:]] = value
            position += 1 if equals else 2
        else:
            fixed.append(argv[position])
            position += 1
    return fixed, candidates


def find_space(fixed: list[str], candidates: Flags) -> Space:
    """What is searched, of the candidates; the others, lists that train takes as one value, are added to ``fixed``.

    Raises UsageError for a value that train refuses, and if nothing is searched.
    """
    first = {name: split_choices(text.partition("..")[0])[0] for name, text in candidates.items()}

    def value_of(name: str, text: str) -> Any:
        options, _ = train_flags.parse([*fixed, *to_flags(first | {name: text})])
        with gc_paused():  # for PyTorch, which wrong flags need not
            from lightmodels.cli.train import check_model_flags
        check_model_flags(options)
        return options[name]

    space: dict[str, Range | Choices] = {}
    for name, text in candidates.items():
        if RANGE.fullmatch(text):
            with flag_errors("--", [name]):
                found = parse_range(name, text)
            values = [value_of(name, end) for end in text.split("..")]
            whole = found.whole and not any(isinstance(value, float) for value in values)
            space[name] = Range(found.low, found.high, whole)
        elif text.startswith("[") or not is_accepted(value_of, name, text):
            space[name] = Choices(split_choices(text))
            for value in split_choices(text):
                value_of(name, value)
    fixed += to_flags({name: text for name, text in candidates.items() if name not in space})
    if not space:
        train_flags.parse(fixed)  # may name a flag that cannot be searched
        raise UsageError("nothing to search: give a flag a range, such as --model.lr 1e-4..1e-1, or a list of values")
    return space


def is_accepted(value_of: Any, name: str, text: str) -> bool:
    """Whether train takes the text as one value."""
    try:
        value_of(name, text)
    except UsageError:
        return False
    return True


def first_values(space: Space) -> dict[str, Any]:
    """The first choices and the lower ends of ranges."""
    return {
        name: part.values[0] if isinstance(part, Choices) else int(part.low) if part.whole else part.low
        for name, part in space.items()
    }


def to_flags(values: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]
