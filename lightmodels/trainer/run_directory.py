"""Run directories: each belongs to one run, which claims it before it writes anything."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class RunDirectoryError(Exception):
    """A run directory that cannot be used; one line with its path and what to do."""

    exit_code = 2  # of the commands


def refuse_used(run_dir: Path) -> None:
    """Raises RunDirectoryError if the path is not a directory, or the directory is not empty."""
    if run_dir.exists() and not run_dir.is_dir():
        raise RunDirectoryError(f"{run_dir}: not a directory; choose another one")
    if run_dir.is_dir() and any(run_dir.iterdir()):
        raise RunDirectoryError(f"{run_dir}: the directory is not empty; choose a new one, or resume its run")


def probe(run_dir: Path) -> None:
    """Raises RunDirectoryError if the directory could not be created or written; creates nothing."""
    nearest = next(path for path in (run_dir, *run_dir.parents) if os.path.lexists(path))
    code = errno.EACCES if nearest.is_dir() else errno.ENOTDIR
    if code == errno.ENOTDIR or not os.access(nearest, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"{run_dir}: cannot create the run directory ({os.strerror(code)})")


def claim(run_dir: Path) -> Path:
    """Takes exactly this directory, new or empty, for one run; raises RunDirectoryError if that fails."""
    try:
        with _named(run_dir):
            refuse_used(run_dir)
            run_dir.mkdir(parents=True, exist_ok=True)
            (run_dir / "checkpoints").mkdir()  # succeeds for only one of several processes
    except FileExistsError:
        raise RunDirectoryError(f"{run_dir}: claimed by another run; choose another directory") from None
    return run_dir


def next_directory(parent: Path) -> Path:
    """``parent/1``, ``parent/2``, …: the first number above all that exist; creates nothing."""
    return parent / str(max((int(path.name) for path in parent.glob("*") if path.name.isdecimal()), default=0) + 1)


def claim_next(parent: Path) -> Path:
    """Takes ``next_directory``, or a later one if other processes are faster; otherwise as ``claim``."""
    while True:
        run_dir = next_directory(parent)
        with suppress(FileExistsError), _named(run_dir):
            run_dir.mkdir(parents=True)
            return claim(run_dir)


@contextmanager
def _named(run_dir: Path) -> Iterator[None]:
    """Turns errors of the operating system, other than FileExistsError, into a RunDirectoryError."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise RunDirectoryError(f"{run_dir}: cannot create the run directory ({error.strerror})") from error


def choose(run_dir: Path | None, root: Path | None, ckpt_path: str | Path | None, is_first: bool) -> Path:
    """The directory of a run: that of the checkpoint to resume from, the given one, or the next number in ``root``.

    A resumed run stays in its run directory, ``DIR/checkpoints/last.ckpt``, unless another one or a root is given. Only
    the first of several processes claims a new one; the others get a placeholder until the fit starts.
    """
    path = None if ckpt_path is None else Path(ckpt_path)
    if path is not None and path.absolute().parent.name == "checkpoints":
        resumed = path.parent.parent if len(path.parts) > 2 else path.absolute().parent.parent
        is_ours = path.name in ("last.ckpt", "best.ckpt")
        if (run_dir is None and root is None and is_ours) or (run_dir and run_dir.absolute() == resumed.absolute()):
            return resumed
    parent = root or Path("runs")
    if not is_first:
        return run_dir or parent
    return claim_next(parent) if run_dir is None else claim(run_dir)


class RunLock:
    """Locks a run until ``release``, or until the process ends; does nothing on Windows, which has no such locks.

    Raises:
        RunDirectoryError: another process trains the run.
    """

    def __init__(self, run_dir: Path) -> None:
        self._directory: int | None = None
        if os.name == "nt":
            return
        import fcntl

        self._directory = os.open(run_dir, os.O_RDONLY)
        _locks.add(self._directory)
        with suppress(OSError):  # of network file systems without locks
            try:
                fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.release()
                raise RunDirectoryError(f"{run_dir}: another process is training this run") from None

    def release(self) -> None:
        if self._directory is not None:
            _locks.discard(self._directory)
            os.close(self._directory)
        self._directory = None

    def __getstate__(self) -> dict[str, None]:
        return {"_directory": None}  # in other processes, which the Trainer starts


_locks: set[int] = set()  # open descriptors
if os.name != "nt":  # workers of loaders must not hold a lock longer than their process, which may be killed
    os.register_at_fork(after_in_child=lambda: list(map(os.close, _locks)))
