"""Background: one piece of work at a time beside the training, for what waits for a disk."""

import threading
from collections.abc import Callable


class Background:
    """Calls functions in a thread, one after the other; what they raise, the next call here raises."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def run(self, work: Callable[[], None]) -> None:
        """Starts the work, after the one before is done."""
        self.wait()
        self._thread = threading.Thread(target=self._try, args=(work,))
        self._thread.start()

    def wait(self) -> None:
        """Returns when nothing is under way."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self._error = error
