"""Checkpoint files: written atomically, and read only if undamaged."""

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO, TorchCheckpointIO
from lightning_fabric.utilities import rank_zero_warn

from lightmodels.checkpointing.plain_data import Copies, to_plain
from lightmodels.utils.atomic_file import replace_file

REMOTE = TorchCheckpointIO()
DIRECTORY = 0x10  # attribute of a zip entry: torch would skip the entry and leave its tensor uninitialized


class CheckpointError(Exception):
    """A checkpoint that cannot be read or written; the message is one line with the file and the reason."""

    exit_code = 1  # of the commands


class MissingCheckpointError(CheckpointError, FileNotFoundError):
    """There is no such checkpoint."""


def save_checkpoint(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Writes a checkpoint atomically and durably: a kill at any moment leaves the old file or the new one.

    Raises:
        CheckpointError: the file cannot be written; an existing file is unchanged.
        TypeError: the checkpoint holds more than plain data; the key is named.
    """
    _write(to_plain(checkpoint), Path(path))


def link_checkpoint(existing: Path, path: Path) -> None:
    """Gives a checkpoint a second name by a hard link, or a copy if the file system has no links."""
    with _replaced(path) as temporary:
        try:
            os.link(existing, temporary)
        except OSError:
            shutil.copyfile(existing, temporary)


def load_checkpoint(path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
    """Reads a local checkpoint onto the CPU, after verifying its checksums; runs no code from it.

    With ``weights_only=False``, any Python object is read, which can run any code; a warning says so.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds more than plain data.
    """
    path = Path(path)
    if weights_only is False:
        rank_zero_warn(f"{path} is read with weights_only=False: it can run any code that is in it", stacklevel=2)
    try:
        return _read(path, weights_only is not False)
    except _DamagedError as damage:
        others = sorted(filter(Path.is_file, path.parent.glob("*.ckpt")), key=os.path.getmtime, reverse=True)
        usable = (f"; the newest usable one there is {other}" for other in others if _is_usable(other))
        raise CheckpointError(f"{path}: the checkpoint is damaged ({damage}){next(usable, '')}") from damage


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's plugin for checkpoint files, with ``save_checkpoint`` and ``load_checkpoint``.

    Paths such as ``s3://…`` are left to Lightning's own plugin. It reads plain data only, too.

    With the storage options ``run`` and ``also``, the checkpoint is copied at once, and ``run`` is called with a
    function that writes it, also under the second name ``also``.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: dict[str, Any] | None = None
    ) -> None:
        if _is_remote(path):
            REMOTE.save_checkpoint(to_plain(checkpoint), path)
            return
        if not storage_options or "run" not in storage_options:
            save_checkpoint(checkpoint, path)
            return
        plain, also = to_plain(checkpoint, tensors=Copies()), storage_options["also"]

        def write() -> None:
            _write(plain, Path(path))
            if also is not None:
                link_checkpoint(Path(path), also)

        storage_options["run"](write)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        if Path(path).name == ".temp.ckpt":  # bare weights, by which Lightning's launchers return them
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        if _is_remote(path):
            return REMOTE.load_checkpoint(path, weights_only=weights_only is not False)
        return load_checkpoint(path, weights_only)

    def remove_checkpoint(self, path: str | Path) -> None:
        if _is_remote(path):
            REMOTE.remove_checkpoint(path)
        else:
            Path(path).unlink(missing_ok=True)


def _is_remote(path: str | Path) -> bool:
    return "://" in str(path)


class BackgroundWriter:
    """Runs functions in a thread, one after the other; an error is raised by the next call here."""

    def __init__(self) -> None:
        self._pending: Future[None] | None = None

    def run(self, write: Callable[[], None]) -> None:
        """Starts a function once the one before has returned."""
        self.wait()
        executor = ThreadPoolExecutor(max_workers=1)
        self._pending = executor.submit(write)
        executor.shutdown(wait=False)  # the thread ends with the function

    def wait(self) -> None:
        """Returns once the function has returned."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def _write(plain: dict[str, Any], path: Path) -> None:
    with _replaced(path) as temporary, temporary.open("xb") as file:
        torch.save(plain, file)


class _DamagedError(Exception):
    """Describes the damage of a file."""


def _is_usable(path: Path) -> bool:
    try:
        return bool(_read(path))
    except (_DamagedError, CheckpointError):
        return False


def _read(path: Path, weights_only: bool = True) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            directories = (entry.filename for entry in archive.infolist() if entry.external_attr & DIRECTORY)
            unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > path.stat().st_size:  # torch does not compress
                raise _DamagedError(f"it would unpack to {unpacked:,} bytes")
            if damaged := archive.testzip() or next(directories, None):
                raise _DamagedError(f"zip entry {damaged}")
        checkpoint = torch.load(path, map_location="cpu", weights_only=weights_only)
    except FileNotFoundError:
        raise MissingCheckpointError(f"{path}: there is no such checkpoint") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: a directory; the checkpoints of a run are in its checkpoints/") from None
    except PermissionError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path}: not read, as it holds more than tensors and plain data") from None
    except Exception as error:  # damaged bytes can raise anything
        raise _DamagedError((str(error).splitlines() or [type(error).__name__])[0]) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path}: not a checkpoint of a Lightning model")
    return checkpoint


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    try:
        with replace_file(path, durable=True) as temporary:
            yield temporary
    except (OSError, RuntimeError) as error:
        cause = error.__context__ if isinstance(error.__context__, OSError) else error  # torch hides it
        raise CheckpointError(f"{path}: the checkpoint cannot be written ({cause})") from error
