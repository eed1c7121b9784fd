"""Trains in processes that are killed and resumed.

python killed_runs.py DIRECTORY CASES.json: each case trains in DIRECTORY/<name>/run; ``kills`` are the
steps at which a process kills itself with SIGKILL, after which another one resumes from ``last.ckpt``. All
processes are forks of one interpreter, which is fast. Prints a line after each process.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path

from lightmodels import Trainer  # first, as in a command: what it imports is quicker

# isort: split
import matplotlib.backends.backend_agg  # noqa: F401 (once, not in each process)
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from helpers.models import Classifier, points
from lightmodels.cli.exit_codes import quick_end
from lightmodels.data.tensor_loader import TensorLoader

ROWS = 53


class Recorded(Classifier):
    """Records the samples of each step, and kills its process at a step."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch[:2], batch_idx)
        with (self.directory / "samples").open("a") as file:
            file.write(f"{self.trainer.global_step} {batch[2].tolist()}\n")
        return loss

    def on_train_batch_end(self, *_):
        if self.trainer.global_step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def loaders(kind: str):
    train, val = (*points(ROWS), torch.arange(ROWS)), points(17, 1)
    if kind == "tensors":
        return TensorLoader(*train, batch_size=10, shuffle=True, seed=3), TensorLoader(*val, batch_size=9)
    loader = DataLoader(TensorDataset(*train), batch_size=10, shuffle=True, num_workers=int(kind))
    return loader, DataLoader(TensorDataset(*val), batch_size=9)


def train(directory: Path, case: dict, kill_at: int | None) -> None:
    with (directory / "output").open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    pl.seed_everything(7, verbose=False)
    model = Recorded(dropout=0.3)
    model.directory, model.kill_at = directory, kill_at
    last = directory / "run/checkpoints/last.ckpt"
    trainer = Trainer(
        max_epochs=case.get("epochs", 3), run_dir=directory / "run", logger=False, accelerator="cpu",
        figures=case.get("figures", False),
        save_every_n_steps=case.get("save_every"), val_check_interval=case.get("val_check_interval"),
        accumulate_grad_batches=case.get("accumulate", 1),
    )  # fmt: skip
    if not last.exists():  # perhaps killed before the first save
        shutil.rmtree(directory / "run", ignore_errors=True)
    trainer.fit(model, *loaders(case.get("loader", "tensors")), ckpt_path=last if last.exists() else None)


def main() -> None:
    torch.set_num_threads(1)
    fork, root = multiprocessing.get_context("fork"), Path(sys.argv[1])
    for case in json.loads(Path(sys.argv[2]).read_text()):
        directory = root / case["name"]
        directory.mkdir()
        codes = []
        for step in [*case.get("kills", []), None]:
            process = fork.Process(target=train, args=(directory, case, step))
            process.start()
            process.join()
            codes.append(process.exitcode)
            print(case["name"], step, codes[-1], flush=True)
        (directory / "codes").write_text(json.dumps(codes))


if __name__ == "__main__":
    with quick_end():
        main()
