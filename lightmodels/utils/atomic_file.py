"""Atomic file writes: under its own name, a file is either complete or not there."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replace_file(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path in the directory of ``path``; the file made there then replaces ``path``.

    Readers, and a process killed at any moment, see the old file or the new one, never a part. If the body
    raises, or makes no file, ``path`` is left as it was. Missing directories are created. A ``durable`` file
    is also flushed to disk, to survive a power failure. Raises OSError if the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    if durable:
        _sync(path.parent)


def write_file(path: str | Path, content: bytes | memoryview | str, durable: bool = False) -> None:
    """Writes a whole file with ``replace_file``; text is encoded as UTF-8, line ends as they are."""
    with replace_file(path, durable) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_leftovers(directory: str | Path, pattern: str = "*") -> None:
    """Removes what killed processes have left in a directory nobody is writing to.

    ``pattern`` is a glob for the names of the files that were being written, such as ``"*.ckpt"``.
    """
    for path in Path(directory).glob(f".{pattern}.{'[0-9a-f]' * 32}.tmp"):
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
