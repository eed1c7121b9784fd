"""python scripts/gallery.py DATA_DIR [TASK ...]: trains tasks, and puts their figures into docs/pictures/gallery."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits

from lightmodels.cli.train import main
from lightmodels.cli.train_flags import parse

GALLERY = Path(__file__).parents[1] / "docs" / "pictures" / "gallery"
TASKS = {
    "linear": (),
    "ring": (),
    "housing": (),
    "mnist": ("--max_epochs", "4"),
    "mnist_mlp": ("--max_epochs", "4"),
    "reuters": (),
    "imdb": ("--max_epochs", "2"),
    "imdb_separable": ("--max_epochs", "2"),
    "table": ("--data.path", "cancer.csv", "--data.target", "diagnosis"),
    "images": ("--data.path", "digits", "--max_epochs", "10"),
}


def write_own_data(directory: Path) -> None:
    """A table and a folder of images, as a user may have them."""
    frame = load_breast_cancer(as_frame=True).frame
    frame["diagnosis"] = frame.pop("target").map({0: "malignant", 1: "benign"})
    frame.to_csv(directory / "cancer.csv", index=False)
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = directory / "digits" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15.9).astype("uint8")).resize((32, 32)).save(path)


def draw(directory: Path, data_dir: str, tasks: Sequence[str]) -> None:
    """Trains the tasks; their figures keep 64 colors, so that they are small."""
    write_own_data(directory)
    for task in tasks:
        own = [str(directory / flag) if (directory / flag).exists() else flag for flag in TASKS[task]]
        source = () if task in ("linear", "ring", "table", "images") else ("--data_dir", data_dir)
        run = directory / "runs" / task
        flags = ["--task", task, *own, *source, "--run_dir", str(run), "--gpus", "0", "--seed", "0", "--quiet"]
        main(parse(flags))
        for figure in run.glob("figures/*.png"):
            small = Image.open(figure).convert("RGB").quantize(64)
            small.save(GALLERY / f"{task}_{figure.name}", optimize=True)


if __name__ == "__main__":
    GALLERY.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        draw(Path(directory), str(Path(sys.argv[1]).resolve()), sys.argv[2:] or list(TASKS))
