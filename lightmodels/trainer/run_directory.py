"""Run directories: one run each, claimed so that two runs never share one."""

import errno
import os
from itertools import count
from pathlib import Path


class RunDirectoryError(Exception):
    """A run directory that cannot be had; one line that names it and what to do."""


def refuse_used(run_dir: Path) -> None:
    """Raises RunDirectoryError if the directory holds something, or is no directory."""
    if run_dir.exists() and not run_dir.is_dir():
        raise RunDirectoryError(f"{run_dir}: is no directory: name another one")
    if run_dir.is_dir() and any(run_dir.iterdir()):
        raise RunDirectoryError(f"{run_dir}: the directory is not empty: name a new one, or resume its run")


def probe(run_dir: Path) -> None:
    """Raises RunDirectoryError if the directory could not be made, or not be written; makes nothing."""
    nearest = next(path for path in (run_dir, *run_dir.parents) if os.path.lexists(path))
    code = errno.EACCES if nearest.is_dir() else errno.ENOTDIR
    if code == errno.ENOTDIR or not os.access(nearest, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"{run_dir}: the run directory cannot be made ({os.strerror(code)})")


def claim(run_dir: Path) -> Path:
    """Takes exactly this directory for one run; it must be new, or empty.

    Raises:
        RunDirectoryError: it holds something, is no directory, or cannot be made or written.
    """
    try:
        refuse_used(run_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "checkpoints").mkdir()  # fails for all but one of several that come at once
    except FileExistsError:
        raise RunDirectoryError(f"{run_dir}: another run has just taken it: name another one") from None
    except OSError as error:
        raise RunDirectoryError(f"{run_dir}: the run directory cannot be made ({error.strerror})") from error
    return run_dir


def claim_next(parent: Path) -> Path:
    """Takes ``parent/1``, ``parent/2``, …: the first number above all that are there.

    Raises:
        RunDirectoryError: the directory cannot be made or written.
    """
    taken = [int(path.name) for path in parent.glob("*") if path.name.isdecimal()]
    for number in count(max(taken, default=0) + 1):
        run_dir = parent / str(number)
        try:
            run_dir.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RunDirectoryError(
                f"{run_dir}: the run directory cannot be made ({error.strerror})"
            ) from error
        return claim(run_dir)
    raise AssertionError("unreachable: numbers do not end")


def choose(run_dir: Path | None, parent: Path, ckpt_path: str | Path | None, is_first: bool) -> Path:
    """The directory of a run: that of the checkpoint it goes on from, the one named, or the next number.

    Of several processes the first one claims it; the others get a place holder until they are told.

    Raises:
        RunDirectoryError: the directory already holds something, or cannot be made.
    """
    resumed = None if ckpt_path is None else Path(ckpt_path).parent.parent
    if resumed is not None and run_dir in (None, resumed):
        return resumed
    if not is_first:
        return run_dir or parent
    return claim_next(parent) if run_dir is None else claim(run_dir)
