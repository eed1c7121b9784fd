"""Worker processes as their parent sees them."""

import json
import os
import pty
import subprocess
import tempfile
from contextlib import suppress
from threading import Thread
from typing import Any

from benchmarks.job import BenchmarkError, Job, environment, python

LEAVING = 30  # seconds that a worker has to end


def run(name: str, job: Job, epochs: int) -> dict[str, Any]:
    """Trains for so many epochs, and one before them, in a process with a terminal of its own.

    Args:
        name: what errors call the process.
        job: what it trains.
        epochs: that are measured.

    Returns:
        What ``worker.measured`` gives.

    Raises:
        BenchmarkError: the process has failed.
    """
    terminal, theirs = pty.openpty()
    answers, sent = os.pipe()
    with os.fdopen(answers) as answer, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            python("-m", "benchmarks.worker", job.to_json(), str(epochs), str(sent)),
            stdin=subprocess.DEVNULL, stdout=theirs, stderr=errors, pass_fds=[sent], env=environment(),
        )  # fmt: skip
        os.close(theirs)
        os.close(sent)
        Thread(target=drain, args=(terminal,), daemon=True).start()
        try:
            said = answer.readline()  # not to the end, which a child of the process may hold open
        finally:
            end(process)
        if not said:
            errors.seek(0)
            raise BenchmarkError(f"{name}: {last_line(errors.read())}")
    result: dict[str, Any] = json.loads(said)
    return result


def end(process: subprocess.Popen[bytes]) -> None:
    """Waits for a process that is about to end; kills it if it does not."""
    try:
        process.wait(LEAVING)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def drain(terminal: int) -> None:
    """Reads what a process prints, so that it never waits, until it has ended."""
    with suppress(OSError):
        while os.read(terminal, 65_536):
            pass
    os.close(terminal)


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["ended without a word"])[-1]
