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


class Worker:
    """A process of ``benchmarks.worker``, with a terminal to print to, as people have.

    Args:
        name: what errors call it.
        job: what it trains.
    """

    def __init__(self, name: str, job: Job) -> None:
        self.name = name
        terminal, theirs = pty.openpty()
        answers, sent = os.pipe()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open as long as the process)
        self._process = subprocess.Popen(
            python("-m", "benchmarks.worker", job.to_json(), str(sent)),
            stdin=subprocess.PIPE, stdout=theirs, stderr=self._errors, pass_fds=[sent],
            env=environment(), text=True,
        )  # fmt: skip
        os.close(theirs)
        os.close(sent)
        self._answers = os.fdopen(answers)
        Thread(target=drain, args=(terminal,), daemon=True).start()

    def run(self, epochs: int) -> dict[str, Any]:
        """Trains for so many epochs, and one before them; what ``worker.measured`` gives.

        Raises:
            BenchmarkError: the process has ended.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{epochs}\n")
            self._process.stdin.flush()
        answer = self._answers.readline()
        if not answer:
            self._process.wait(LEAVING)
            self._errors.seek(0)
            raise BenchmarkError(f"{self.name}: {last_line(self._errors.read())}")
        result: dict[str, Any] = json.loads(answer)
        return result

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(LEAVING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._errors.close()


def drain(terminal: int) -> None:
    """Reads what a process prints, so that it never waits, until it has ended."""
    with suppress(OSError):
        while os.read(terminal, 65_536):
            pass
    os.close(terminal)


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["ended without a word"])[-1]
