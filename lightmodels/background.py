"""Background: one piece of work at a time beside the training, for what waits for a disk."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Calls functions in a thread, one after the other; what they raise, the next call here raises."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._work: Future[None] | None = None
        self._owner = os.getpid()

    def run(self, work: Callable[[], None]) -> None:
        """Starts the work, after the one before is done."""
        self._finish()
        self._thread = self._thread or ThreadPoolExecutor(max_workers=1)
        self._work = self._thread.submit(work)

    def wait(self) -> None:
        """Returns when nothing is under way; the thread ends."""
        if self._owner != os.getpid():
            return  # a copy of the process, in which no thread runs that could be waited for
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()
        self._finish()

    def _finish(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.result()
