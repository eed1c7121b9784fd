"""Run directories: each belongs to one run, which claims it before it writes anything."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class RunDirectoryError(Exception):
    """A run directory that cannot be used; one line with its path and what to do."""


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


def claim_next(parent: Path) -> Path:
    """Takes ``parent/1``, ``parent/2``, …: the first number above all that exist; otherwise as ``claim``."""
    number = max((int(path.name) for path in parent.glob("*") if path.name.isdecimal()), default=0)
    while True:
        number += 1
        run_dir = parent / str(number)
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


def choose(run_dir: Path | None, parent: Path, ckpt_path: str | Path | None, is_first: bool) -> Path:
    """The directory of a run: that of the checkpoint to resume from, the given one, or the next number.

    Only the first of several processes claims it; the others get a placeholder until the fit starts.
    """
    resumed = None if ckpt_path is None else Path(ckpt_path).parent.parent
    if resumed is not None and run_dir in (None, resumed):
        return resumed
    if not is_first:
        return run_dir or parent
    return claim_next(parent) if run_dir is None else claim(run_dir)
