"""Kills processes at every stage of saving a checkpoint.

python saver.py DIRECTORY ROUNDS: prints, for each round, one JSON line with what the kill has left. All
processes are forks of one interpreter, which is fast. They die at a call of a function or at a size of the
file, in turn, so that no kill depends on the speed of the machine.
"""

import json
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


def killed(path: Path, counter: int, die_at, limit: int) -> int:
    """Forks a process that counts on from ``counter`` until it is killed; returns the last it reported."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            save(counter + 1, path)
            os.write(writing, b".")
            die_at(limit)
            for later in range(2, 5):
                save(counter + later, path)
                os.write(writing, b".")
        finally:
            os._exit(1)
    os.close(writing)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (-signal.SIGKILL, -signal.SIGXFSZ), f"not killed, but ended with {code}"
    with os.fdopen(reading, "rb") as pipe:
        return counter + len(pipe.read())


def main() -> None:
    torch.set_num_threads(1)
    path, rounds, counter = Path(sys.argv[1], "last.ckpt"), int(sys.argv[2]), 1
    calls, size = calls_of_a_save(path), path.stat().st_size
    for number in range(rounds):
        die_at, most = ((die_at_call, calls), (die_at_size, size))[number % 2]
        reported = killed(path, counter, die_at, 1 + number * most // rounds)
        checkpoint = load_checkpoint(path)
        counter = checkpoint["counter"]
        left = [file.stat().st_size for file in path.parent.iterdir() if file != path]
        remove_leftovers(path.parent, "*.ckpt")
        found = {
            "said": reported, "counter": counter, "size": checkpoint["state_dict"]["weight"].numel(),
            "values": checkpoint["state_dict"]["weight"].unique().tolist(), "left": left,
            "swept": [file.name for file in path.parent.iterdir()],
        }  # fmt: skip
        print(json.dumps(found))


if __name__ == "__main__":
    main()
