"""A process that trains one contender: python -m benchmarks.worker JOB EPOCHS DESCRIPTOR"""

import importlib
import json
import os
import resource
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.job import Job

Loop = Callable[[int], tuple[list[float], float]]


def loop_of(job: Job) -> Loop:
    """Trains for a number of epochs."""
    taken = torch.load(job.tensors, weights_only=False) if job.tensors else job  # tensors of our own making
    return partial(importlib.import_module(job.module).train, taken)


def measured(loop: Loop, epochs: int) -> dict[str, Any]:
    """A training of so many epochs and, before these, one that does not count."""
    start = perf_counter()
    marks, loss = loop(epochs + 1)
    whole = perf_counter() - start
    seconds = (marks[-1] - marks[1]) / epochs
    return {"seconds": seconds, "whole": whole, "val_loss": loss, **peaks()}


def peaks() -> dict[str, float]:
    """The most memory that this process has had so far, in MiB."""
    if not torch.cuda.is_initialized():
        return {"peak_mib": host_peak()}
    return {"peak_mib": host_peak(), "peak_gpu_mib": torch.cuda.max_memory_allocated() / 2**20}


def host_peak() -> float:
    """In main memory; Linux's ``ru_maxrss`` is not below that of the process that started this one."""
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def main() -> None:
    job, epochs, answers = sys.argv[1:]
    found = measured(loop_of(Job(**json.loads(job))), int(epochs))
    with os.fdopen(int(answers), "w") as file:
        print(json.dumps(found), file=file)


if __name__ == "__main__":
    main()
