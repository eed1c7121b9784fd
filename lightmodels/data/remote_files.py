"""Files that are published elsewhere: found in the data directory or downloaded, always verified."""

import gzip
import hashlib
import http.client
import io
import os
import time
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 64 * 2**20  # no file of ours is larger; a bomb is
SCHEMES = ("https",)  # of urls and of redirects
TIMEOUT = 20.0  # seconds for one socket operation
ATTEMPTS = 3  # per mirror, as long as its faults may pass
PAUSE = 0.5  # seconds before the second attempt, doubled before each further one


class DataError(Exception):
    """A file is missing, damaged or not what it should be; the message is one line."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that is published elsewhere.

    Args:
        name: path below the data directory; what ends in ``.gz`` may also lie there unpacked, without it.
        urls: mirrors, tried in this order.
        hashes: those accepted of the unpacked content, ``"sha256:<hex>"`` or, if need be, ``"md5:<hex>"``.
    """

    name: str
    urls: tuple[str, ...]
    hashes: tuple[str, ...]


def fetch(files: Iterable[RemoteFile], data_dir: str) -> None:
    """Downloads the files that the data directory lacks; those that are there are left to ``read``.

    A file appears under its name only when it is complete and its hash is right, also when
    several processes fetch it at once.

    Raises:
        DataError: no mirror gave a file, or it can't be written; all that are missing are named.
    """
    missing = [file for file in files if find(file, data_dir) is None]
    for position, file in enumerate(missing):
        try:
            body = _download(file)
        except DataError as error:
            advice = _advice(missing[position:], data_dir)
            raise DataError(f"cannot download {file.name} ({error}); {advice}") from error
        _place(body, _directory(data_dir) / file.name)


def find(file: RemoteFile, data_dir: str) -> Path | None:
    """Where the file lies in the data directory, unpacked or as published."""
    path = _directory(data_dir) / file.name
    candidates = [path.with_suffix(""), path] if path.suffix == ".gz" else [path]
    return next((candidate for candidate in candidates if candidate.exists()), None)


def read(file: RemoteFile, data_dir: str) -> bytes:
    """The verified, unpacked content of a file in the data directory.

    Raises:
        DataError: the file is missing, or its content is not the expected one.
    """
    path = find(file, data_dir)
    if path is None:
        raise DataError(f"{file.name} is missing: call prepare_data(), or {_advice([file], data_dir)}")
    return read_verified(path, file.hashes)


def read_verified(path: Path, hashes: Sequence[str], max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file, unpacked if its name ends in ``.gz``.

    Raises:
        DataError: can't be read or unpacked, empty, larger than ``max_bytes``, or none of the hashes.
    """
    try:
        with path.open("rb") as stream:
            return _verified(stream.read(max_bytes + 1), path.name, hashes, max_bytes)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from error
    except DataError as error:
        raise DataError(f"{path} {error}: delete it to have it downloaded, or put the right one") from error


def which_hash(content: bytes, hashes: Sequence[str]) -> int | None:
    """The position of that hash which the content has."""
    algorithms = {expected.partition(":")[0] for expected in hashes}
    actual = {f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}" for algorithm in algorithms}
    return next((position for position, expected in enumerate(hashes) if expected in actual), None)


def _verified(body: bytes, name: str, hashes: Sequence[str], max_bytes: int = MAX_BYTES) -> bytes:
    content = _unpacked(body, max_bytes) if body and name.endswith(".gz") else body
    if not content:
        raise DataError("is empty")
    if len(content) > max_bytes:
        raise DataError(f"holds more than {max_bytes:,} bytes")
    if which_hash(content, hashes) is None:
        actual = hashlib.sha256(content).hexdigest()
        raise DataError(f"has the wrong content, sha256:{actual} instead of {' or '.join(hashes)}")
    return content


def _unpacked(body: bytes, max_bytes: int) -> bytes:
    try:
        return gzip.GzipFile(fileobj=io.BytesIO(body)).read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"is a damaged gzip file ({reason(error)})") from error


def _download(file: RemoteFile) -> bytes:
    """The file as published, from the first mirror that gives the right one."""
    faults = []
    for url in file.urls:
        try:
            body = _get_patiently(url)
            _verified(body, file.name, file.hashes)
            return body
        except (OSError, http.client.HTTPException, DataError) as error:
            faults.append(f"{url} {reason(error)}")
    raise DataError("; ".join(faults))


def _get_patiently(url: str) -> bytes:
    for attempt in range(ATTEMPTS - 1):
        try:
            return _get(url)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise
        time.sleep(PAUSE * 2**attempt)
    return _get(url)


def _get(url: str) -> bytes:
    _require_scheme(url)
    with urllib.request.build_opener(_Redirects).open(url, timeout=TIMEOUT) as response:
        body: bytes = response.read(MAX_BYTES + 1)
        promised = response.headers["Content-Length"]
    if promised not in (None, str(len(body))):
        raise ConnectionError(f"sent {len(body)} of {promised} bytes")
    return body


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not to a scheme that isn't allowed."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _require_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_scheme(url: str) -> None:
    if url.partition(":")[0].lower() not in SCHEMES:
        raise DataError(f"leads to {url}, which is not {' or '.join(SCHEMES)}")


def _place(body: bytes, path: Path) -> None:
    """Writes a whole file or none: a part of it never bears its name."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path} ({reason(error)}): choose another --data_dir") from error
    finally:
        with suppress(OSError):
            part.unlink()


def _directory(data_dir: str) -> Path:
    return Path(data_dir).expanduser().absolute()


def _advice(files: Iterable[RemoteFile], data_dir: str) -> str:
    wanted = ", ".join(f"{file.name} ({' or '.join(file.hashes)})" for file in files)
    return f"put these into {_directory(data_dir)}, or say with --data_dir where they are: {wanted}"


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
