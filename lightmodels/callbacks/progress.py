"""ProgressLine: shows how far a long epoch is, refreshed by time instead of by step."""

import math
import sys
import time
from collections.abc import Callable
from importlib import import_module
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from lightmodels.utils.console import is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress

LONG_EPOCH = 2.0  # seconds after which an epoch shows its progress
REFRESH = 0.5  # seconds between two updates
LOG_INTERVAL = 60.0  # seconds between two lines in a log file
CLEAR_LINE = "\r\033[K"


class ProgressLine:
    """Shows the progress of long epochs from a thread of its own, so that it costs nothing per step.

    A terminal or a notebook has one line that is updated in place and removed when the epoch ends; a log file gets one
    line a minute. The thread reads Lightning's counters, and ``running_loss``, the mean training loss so far if known.
    """

    def __init__(self, trainer: Any, running_loss: Callable[[], float | None]) -> None:
        self._trainer, self._running_loss = trainer, running_loss
        self._file, self._in_terminal = sys.stdout, is_terminal()
        self._is_live = self._in_terminal or "ipykernel" in sys.modules  # as in a notebook
        self._epoch, self._starts_at, self._printed_at, self._is_shown = 0, math.inf, 0.0, False
        self._progress: Progress | None = None
        self._display: Any = None  # in a notebook
        self._stopped, self._lock = Event(), Lock()
        self._thread = Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def start_epoch(self, number: int) -> None:
        """Starts to time an epoch; ``number`` counts from 1."""
        self._epoch, self._printed_at = number, time.monotonic()
        self._starts_at = self._printed_at + LONG_EPOCH

    def clear(self) -> None:
        """Removes the line, and shows none until the next epoch starts."""
        with self._lock:
            self._starts_at = math.inf
            if self._is_shown:
                self._write("")

    def stop(self) -> None:
        """Removes the line and ends the thread."""
        self._stopped.set()
        self.clear()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(REFRESH):
            with self._lock:
                if time.monotonic() >= self._starts_at:
                    self._update()

    def _update(self) -> None:
        """Reads the counters, from which rich estimates the time left, and shows them if it is time to."""
        trainer, validating = self._trainer, self._trainer.validating
        loop = trainer.fit_loop.epoch_loop
        batches = (loop.val_loop if validating else loop).batch_progress.current.completed
        name = f"epoch {self._epoch}" + (" validation" if validating else "")
        if self._progress is None or self._progress.tasks[0].description != name:
            total = sum(trainer.num_val_batches) if validating else trainer.num_training_batches
            self._progress = self._new_progress(name, batches, total if math.isfinite(total) else None)
        loss = None if validating else self._running_loss()
        text = "" if loss is None else f"loss {loss:.4f}"
        self._progress.update(self._progress.task_ids[0], completed=batches, loss=text)
        if self._is_live or time.monotonic() - self._printed_at >= LOG_INTERVAL:
            self._printed_at = time.monotonic()
            with self._progress.console.capture() as captured:
                self._progress.console.print(self._progress)
            self._write(captured.get().rstrip())

    def _new_progress(self, name: str, completed: int, total: int | None) -> "Progress":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        bar = [BarColumn(20)] if self._is_live and total else []
        left = [TimeRemainingColumn(compact=True), "left"] if total else []
        columns = ["{task.description}", *bar, "step", MofNCompleteColumn(), "{task.fields[loss]}", *left]
        console = Console(file=self._file, force_terminal=self._in_terminal, force_jupyter=False)
        progress = Progress(*columns, console=console, auto_refresh=False, speed_estimate_period=600)  # type: ignore[arg-type]
        progress.add_task(name, completed=completed, total=total, loss="")
        return progress

    def _write(self, text: str) -> None:
        """Replaces the line in a terminal or notebook; elsewhere prints one more."""
        if self._in_terminal:
            print(CLEAR_LINE + text, end="", file=self._file, flush=True)
        elif not self._is_live:
            print(text, file=self._file, flush=True)
        elif self._display is None:
            display: Any = import_module("IPython.display").display
            self._display = display({"text/plain": text}, raw=True, display_id=True)
        else:
            self._display.update({"text/plain": text}, raw=True)
        self._is_shown = self._is_live and bool(text)
