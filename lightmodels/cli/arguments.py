"""The arguments of the commands that take a checkpoint; parsed before PyTorch is imported, which takes seconds."""

from lightmodels.cli.exit_codes import Parser, UsageError, command_name

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


PARSERS = {
    "evaluate": evaluate_parser,
    "predict": predict_parser,
    "export": export_parser,
    "runs": runs_parser,
    "compare": compare_parser,
}
