"""Kills processes at every stage of saving a checkpoint.

python saver.py DIRECTORY ROUNDS: prints, for each round, one JSON line with what the kill has left. All
processes are forks of one interpreter, which is fast. They die at a call of a function or at a size of the
file, in turn, so that no kill depends on the speed of the machine.
"""

import json
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path

import torch

from lightmodels.checkpointing.files import load_checkpoint, save_checkpoint
from lightmodels.utils.atomic_file import remove_leftovers

SIZE = 250_000  # numbers in the tensor: 1 MB


def save(counter: int, path: Path) -> None:
    save_checkpoint({"state_dict": {"weight": torch.full((SIZE,), float(counter))}, "counter": counter}, path)


def calls_of_a_save(path: Path) -> int:
    """How many functions, including those in C, a save calls or returns from, once all is imported."""
    save(1, path)
    calls: list[int] = []
    sys.setprofile(lambda *_: calls.append(1))
    save(1, path)
    sys.setprofile(None)
    return len(calls)


def die_at_call(number: int) -> None:
    def count(*_) -> None:
        nonlocal number
        number -= 1
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


def die_at_size(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # sent by a write beyond the limit


def save_until_killed(path: Path, reported, die_at, limit: int) -> None:
    """Counts on from ``reported``, the shared number of the last save that returned."""
    for later in range(4):
        if later == 1:
            die_at(limit)
        save(reported.value + 1, path)
        reported.value += 1


def main() -> None:
    torch.set_num_threads(1)
    fork = multiprocessing.get_context("fork")
    path, rounds, reported = Path(sys.argv[1], "last.ckpt"), int(sys.argv[2]), fork.RawValue("i", 1)
    calls, size = calls_of_a_save(path), path.stat().st_size
    for number in range(rounds):
        die_at, most = ((die_at_call, calls), (die_at_size, size))[number % 2]
        process = fork.Process(target=save_until_killed, args=(path, reported, die_at, 1 + number * most // rounds))
        process.start()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, -signal.SIGXFSZ), f"not killed: {process.exitcode}"
        checkpoint = load_checkpoint(path)
        weight = checkpoint["state_dict"]["weight"]
        left = [file.stat().st_size for file in path.parent.iterdir() if file != path]
        remove_leftovers(path.parent, "*.ckpt")
        found = {
            "said": reported.value, "counter": checkpoint["counter"], "size": weight.numel(), "left": left,
            "values": weight.unique().tolist(), "swept": [file.name for file in path.parent.iterdir()],
        }  # fmt: skip
        print(json.dumps(found), flush=True)
        reported.value = checkpoint["counter"]


if __name__ == "__main__":
    main()
