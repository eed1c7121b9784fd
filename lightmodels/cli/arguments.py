"""The arguments of all commands but train and tune; parsed, as theirs are, before PyTorch is imported."""

from lightmodels.cli.exit_codes import Parser, UsageError, command_name

FORMATS = {"onnx": ".onnx", "torch_export": ".pt2"}  # with the suffixes of their files
CHECKPOINT = "checkpoint of a training run, such as checkpoints/best.ckpt"
GPUS = "number of GPUs, -1 for all, indices such as 0,1, or 0 for the CPU"
TPU_CORES = "number of TPU cores, -1 for all, or indices such as 0,1"


def evaluate_parser() -> Parser:
    """Of ``evaluate``."""
    parser = Parser(prog=command_name(), description="Tests a checkpoint on the test set of its task.")
    parser.add_argument("--ckpt", metavar="FILE", required=True, help=CHECKPOINT)
    parser.add_argument("--data_dir", metavar="DIR", help="directory of the data files (default: as in training)")
    parser.add_argument("--gpus", metavar="N", help=GPUS)
    parser.add_argument("--tpu_cores", metavar="N", help=TPU_CORES)
    return parser


def predict_parser() -> Parser:
    """Of ``predict``."""
    parser = Parser(prog=command_name(), description="Predicts with a trained model.")
    parser.add_argument("--ckpt", metavar="FILE", required=True, help=CHECKPOINT)
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="image file, text, text file or CSV file")
    parser.add_argument("--json", action="store_true", help="print one line of JSON per prediction")
    parser.add_argument(
        "--top",
        type=_at_least_one,
        metavar="N",
        default=3,
        help="number of classes to print, the most probable first (default: 3)",
    )
    return parser


def _at_least_one(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise UsageError(f"--top must be a whole number, got {text!r}") from None
    if number < 1:
        raise UsageError(f"--top must be at least 1, got {number}")
    return number


def export_parser() -> Parser:
    """Of ``export``."""
    parser = Parser(prog=command_name(), description="Exports a trained model to ONNX or torch.export.")
    parser.add_argument("--ckpt", metavar="FILE", required=True, help=CHECKPOINT)
    parser.add_argument("--format", required=True, choices=list(FORMATS), help="format of the exported file")
    parser.add_argument(
        "--output", metavar="FILE", help="file to write (default: the checkpoint's name with .onnx or .pt2)"
    )
    parser.add_argument("--data_dir", metavar="DIR", help="directory of the data files (default: as in training)")
    return parser


def runs_parser() -> Parser:
    """Of ``runs``."""
    parser = Parser(
        prog=command_name(), description="Lists the runs in a directory, the newest last, with their state and metrics."
    )
    parser.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        default="runs",
        help="directory that holds runs, at any depth (default: runs)",
    )
    return parser


def compare_parser() -> Parser:
    """Of ``compare``."""
    parser = Parser(prog=command_name(), description="Prints the settings in which runs differ, beside their metrics.")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directory")
    return parser


PARSERS = {
    "evaluate": evaluate_parser,
    "predict": predict_parser,
    "export": export_parser,
    "runs": runs_parser,
    "compare": compare_parser,
}
