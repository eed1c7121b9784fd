"""Kills processes while they save a checkpoint; one interpreter forks them all, to be quick.

python saver.py DIRECTORY ROUNDS: prints, for each round, one JSON line of what the kill has left.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from lightmodels.checkpointing.files import load_checkpoint, remove_temporary_files, save_checkpoint

SIZE = 250_000  # numbers in the tensor: 1 MB


def save_counted(counter: int, path: Path) -> None:
    save_checkpoint({"state_dict": {"weight": torch.full((SIZE,), float(counter))}, "counter": counter}, path)


def save_again_and_again(path: Path, counter: int, saved: int) -> None:
    while True:
        counter += 1
        save_counted(counter, path)
        os.write(saved, b".")


def killed(path: Path, counter: int, seconds: float) -> int:
    """Forks a process that counts on from ``counter``, kills it, and gives the last it has said was saved."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            save_again_and_again(path, counter, writing)
        finally:
            os._exit(1)
    os.close(writing)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with os.fdopen(reading, "rb") as pipe:
        return counter + len(pipe.read())


def main() -> None:
    torch.set_num_threads(1)
    path, rounds = Path(sys.argv[1], "last.ckpt"), int(sys.argv[2])
    start = time.monotonic()
    for counter in range(1, 6):
        save_counted(counter, path)
    one_save = (time.monotonic() - start) / 5
    for _ in range(rounds):
        said = killed(path, counter, random.uniform(0, 4 * one_save))
        checkpoint = load_checkpoint(path)
        counter = checkpoint["counter"]
        left = [file.stat().st_size for file in path.parent.iterdir() if file != path]
        remove_temporary_files(path.parent)
        found = {
            "said": said, "counter": counter, "values": checkpoint["state_dict"]["weight"].unique().tolist(),
            "size": checkpoint["state_dict"]["weight"].numel(), "left": left,
            "swept": [file.name for file in path.parent.iterdir()],
        }  # fmt: skip
        print(json.dumps(found))


if __name__ == "__main__":
    main()
