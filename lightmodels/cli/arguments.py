"""The arguments of all commands but train; parsed before PyTorch is imported, which takes seconds."""

from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib.util import find_spec

from lightmodels.cli.exit_codes import Parser, UsageError, command_name, normalize_flag

FORMATS = {"onnx": ".onnx", "torch_export": ".pt2"}  # with the suffixes of their files
CHECKPOINT = "checkpoint file of a training run"


def evaluate_parser() -> Parser:
    """Of ``evaluate``."""
    parser = Parser(prog=command_name(), description="Tests a checkpoint on the test set of its task.")
    parser.add_argument("--ckpt", required=True, help=CHECKPOINT)
    parser.add_argument("--data_dir", help="directory of the data files (default: as in training)")
    parser.add_argument("--gpus", help="count, -1 (all), indices like 0,1, or 0 (CPU)")
    parser.add_argument("--tpu_cores", help="count, -1 (all), or indices like 0,1")
    return parser


def predict_parser() -> Parser:
    """Of ``predict``."""
    parser = Parser(prog=command_name(), description="Predicts with a trained model from its checkpoint.")
    parser.add_argument("--ckpt", required=True, help=CHECKPOINT)
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="image file, text, text file or CSV file")
    parser.add_argument("--json", action="store_true", help="print one JSON line per prediction")
    parser.add_argument("--top", type=_at_least_one, default=3, help="most probable classes to show (default: 3)")
    return parser


def _at_least_one(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise UsageError(f"--top: invalid int value: {text!r}") from None
    if number < 1:
        raise UsageError(f"--top must be at least 1, got {number}")
    return number


def export_parser() -> Parser:
    """Of ``export``."""
    parser = Parser(prog=command_name(), description="Exports a trained model to ONNX or torch.export.")
    parser.add_argument("--ckpt", required=True, help=CHECKPOINT)
    parser.add_argument("--format", required=True, choices=list(FORMATS), help="format of the file")
    parser.add_argument("--output", help="file to write (default: beside the checkpoint, .onnx or .pt2)")
    parser.add_argument("--data_dir", help="directory of the data files (default: as in training)")
    return parser


def runs_parser() -> Parser:
    """Of ``runs``."""
    parser = Parser(prog=command_name(), description="Lists the runs in a directory, the newest last.")
    parser.add_argument("directory", metavar="DIR", nargs="?", default="runs", help="directory (default: runs)")
    return parser


def compare_parser() -> Parser:
    """Of ``compare``."""
    parser = Parser(prog=command_name(), description="Shows the settings in which runs differ, and their metrics.")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directory")
    return parser


TUNING = """Searches the hyper-parameters of a task by Optuna, on its validation rows; the test rows are not used.

Flags are those of train. A range, --model.lr 1e-4..1e-1 (logarithmic if its ends differ a hundredfold), or a list
of values, --data.batch_size 32,64 or --model.hidden "[64],[256,128]", is searched; all others are the same in
each trial. The same command with the --run_dir of a study continues it."""
NOT_FOR_TUNING = ("--resume", "--seeds", "--summary", "--dry_run", "--override", "--print_config")  # flags of train


class TuneParser(Parser):
    """Leaves all flags that it does not know to train's parser, in ``rest``."""

    def parse(self, argv: Sequence[str]) -> Namespace:
        options, rest = self.parse_known_args([normalize_flag(arg) for arg in argv])
        options.rest = rest
        if find_spec("optuna") is None:
            raise UsageError("tune needs Optuna: pip install 'lightmodels[tune]'")
        if options.trials < 1:
            raise UsageError(f"--trials must be at least 1, got {options.trials}")
        if bool(options.storage) != bool(options.study):
            raise UsageError("--storage and --study go together: where the study is, and its name there")
        flags = [arg.partition("=")[0] for arg in rest]
        if refused := [flag for flag in flags if flag in NOT_FOR_TUNING]:
            raise UsageError(f"{refused[0]} is a flag of train only; a study continues with the same --run_dir")
        return options


def tune_parser() -> Parser:
    """Of ``tune``, without the flags of train."""
    parser = TuneParser(prog=command_name(), usage="%(prog)s [--task TASK] [flags]", allow_abbrev=False)
    parser.description, parser.formatter_class = TUNING, RawDescriptionHelpFormatter
    parser.add_argument("--trials", type=int, default=20, help="trials of the study in all (default: 20)")
    parser.add_argument("--storage", help="database (URL) or journal file (path) of Optuna, for several processes")
    parser.add_argument("--study", help="name of the study in --storage")
    return parser


PARSERS = {
    "tune": tune_parser,
    "evaluate": evaluate_parser,
    "predict": predict_parser,
    "export": export_parser,
    "runs": runs_parser,
    "compare": compare_parser,
}
