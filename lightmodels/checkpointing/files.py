"""Checkpoint files: whole or absent when written, and read only if undamaged."""

import io
import os
import pickle
import shutil
import uuid
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

import torch
from lightning_fabric.plugins import CheckpointIO

DIRECTORY = 0x10  # attribute of a zip's entry: torch would not read the entry, and leave its tensor as it is


class CheckpointError(Exception):
    """A checkpoint that cannot be read or written; one line that names the file and the reason."""


def save_checkpoint(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Writes a checkpoint so that a kill at any moment leaves the old file or the new one, whole.

    Raises:
        CheckpointError: the file cannot be written; a file that was there before is untouched.
    """
    _replace(Path(path), lambda temporary: _write(lambda file: torch.save(checkpoint, file), temporary))


def save_checkpoint_bytes(content: memoryview, path: Path, also: Path | None) -> None:
    """As ``save``, what ``torch.save`` has made already; under a second name too, if there is one."""
    _replace(path, lambda temporary: _write(lambda file: file.write(content), temporary))
    if also is not None:
        link_checkpoint(path, also)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a local checkpoint onto the CPU, after a pass over its checksums; runs no code from it.

    Raises:
        CheckpointError: no such file, a damaged one, or one that holds more than plain data.
    """
    if "://" in str(path):
        raise CheckpointError(f"{path}: only local files are read")
    path = Path(path)
    try:
        return _read(path)
    except _Damaged as damage:
        others = sorted(filter(Path.is_file, path.parent.glob("*.ckpt")), key=os.path.getmtime, reverse=True)
        usable = next((other for other in others if _is_usable(other)), None)
        advice = f"; the newest usable one there is {usable}" if usable else ""
        raise CheckpointError(f"{path}: the checkpoint is damaged ({damage}){advice}") from damage


class _Damaged(Exception):
    """What is wrong with a file."""


def _is_usable(path: Path) -> bool:
    try:
        return bool(_read(path))
    except (_Damaged, CheckpointError):
        return False


def _read(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            directories = [entry.filename for entry in archive.infolist() if entry.external_attr & DIRECTORY]
        if damaged:
            raise _Damaged(f"checksum of {damaged}")
        if directories:
            raise _Damaged(f"{directories[0]} is marked as a directory")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint") from None
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path}: not read, as it holds more than tensors and plain data") from None
    except Exception as error:  # bytes that are not what they should be can raise anything
        raise _Damaged(_first_line(error)) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path}: not a checkpoint of a Lightning model")
    return checkpoint


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's plugin for reading and writing checkpoints, on ``save`` and ``load``.

    With the storage options ``run`` and ``also``, the checkpoint is as it is now, but ``run`` is handed
    the writing of it, under the second name ``also`` too.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: dict[str, Any] | None = None
    ) -> None:
        if not storage_options or "run" not in storage_options:
            save_checkpoint(checkpoint, path)
            return
        content = io.BytesIO()
        torch.save(checkpoint, content)
        storage_options["run"](
            partial(save_checkpoint_bytes, content.getbuffer(), Path(path), storage_options["also"])
        )

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return load_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def link_checkpoint(existing: Path, path: Path) -> None:
    """Gives a checkpoint, which is never written to again, a second name in place of what had that name.

    Raises:
        CheckpointError: it cannot be done; what had that name before is untouched.
    """
    _replace(path, lambda temporary: _link_or_copy(existing, temporary))


def remove_temporary_files(directory: Path) -> None:
    """Removes what processes that were killed while writing have left."""
    for path in directory.glob(".*.ckpt.*.tmp"):
        path.unlink(missing_ok=True)


def _replace(path: Path, make: Callable[[Path], None]) -> None:
    """Makes a file beside ``path`` and puts it in the place of ``path``, there to stay."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            make(temporary)
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink()
        _sync(path.parent)
    except (OSError, RuntimeError) as error:
        cause = error.__context__ if isinstance(error.__context__, OSError) else error  # torch hides it
        raise CheckpointError(f"{path}: the checkpoint cannot be written ({cause})") from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(fill: Callable[[IO[bytes]], Any], path: Path) -> None:
    with path.open("xb") as file:
        fill(file)
        file.flush()
        os.fsync(file.fileno())


def _link_or_copy(existing: Path, path: Path) -> None:
    try:
        os.link(existing, path)
    except OSError:  # a file system without links
        shutil.copyfile(existing, path)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class BackgroundWriter:
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
