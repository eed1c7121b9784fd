"""Snapshot: work on the state of this process as it is now, while the process goes on."""

import gc
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from time import process_time
from typing import Any, Generic, TypeVar

import torch

PATIENCE = 60.0  # seconds to wait for a result
T = TypeVar("T")


class Snapshot(Generic[T]):
    """Calls a function in a copy of this process, made by fork, or here and now where that cannot be.

    The copy sees all objects as they are at this moment, and whatever it does to them is gone with it;
    only what the function returns comes back. It runs on one thread, at a low priority. A process that
    has touched a GPU or a TPU cannot be copied, and only Linux copies safely.

    Attributes:
        seconds: of processor time that the copy has taken, known with its result; none without a copy.

    Args:
        work: what to call; what it returns must be picklable.

    Raises:
        Exception: what ``work`` raises, if it is called here.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self.seconds = 0.0
        self._result: T | None = None
        self._process: Any = None
        if not can_fork():
            self._result = work()
            return
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_work_in_copy, args=(work, sender), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12's, of any fork beside threads
            self._process.start()
        sender.close()

    def ready(self) -> bool:
        """Whether ``result`` comes at once."""
        return self._process is None or bool(self._receiver.poll())

    def result(self) -> T:
        """What the function has returned; waits for it.

        Raises:
            RuntimeError: the copy was killed, its function has raised, or it is still at it.
        """
        if self._process is not None:
            try:
                if not self._receiver.poll(PATIENCE):
                    raise RuntimeError(f"not done after {PATIENCE:g} s")
                self._result, self.seconds = self._receiver.recv()
            except EOFError:
                self._process.join()
                raise RuntimeError(f"its process ended with exit code {self._process.exitcode}") from None
            finally:
                self.cancel()
        return self._result  # type: ignore[return-value]

    def cancel(self) -> None:
        """Ends the copy, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._receiver.close()
            self._process = None


def can_fork() -> bool:
    """Whether this process can be copied."""
    on_gpu: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    on_tpu = "torch_xla" in sys.modules
    return sys.platform == "linux" and not (on_gpu or on_tpu or multiprocessing.current_process().daemon)


def _work_in_copy(work: Callable[[], Any], sender: Connection) -> None:
    """Threads are not copied, so those of torch must not be waited for: it shall use one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the copied process answers it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(10)
    gc.disable()  # it would look through, and so copy, all that training holds
    torch.set_num_threads(1)
    result = work()
    sender.send((result, process_time()))  # which starts at zero in a copy
