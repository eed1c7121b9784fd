"""Published files: found in the data directory or downloaded, and always verified."""

import gzip
import hashlib
import http.client
import io
import tarfile
import time
import urllib.request
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lightmodels.utils.atomic_file import write_file
from lightmodels.utils.data_error import DataError, one_line

MAX_BYTES = 64 * 2**20  # of a file, packed or unpacked, by default: protects against decompression bombs
PACKED = (".gz", ".tgz")  # suffixes
SCHEMES = ("https",)  # allowed in URLs and redirects
TIMEOUT = 20.0  # seconds per socket operation
PAUSES = (0.0, 0.5, 1.0)  # seconds before each round of attempts


@dataclass(frozen=True)
class RemoteFile:
    """A published file."""

    name: str  # path below the data directory; a file "….gz" may also lie there unpacked, as "…"
    urls: tuple[str, ...]  # mirrors, tried in this order
    hashes: tuple[str, ...]  # accepted for the unpacked content: "sha256:<hex>" or "md5:<hex>"
    member: str = ""  # path in the archive ….tgz that the file is; the member may also lie beside it, unpacked
    max_bytes: int | None = None  # packed or unpacked; MAX_BYTES by default
    is_archive: bool = False  # of many files: never unpacked as a whole, and the hashes are of the archive itself

    @property
    def limit(self) -> int:
        """The bytes that the file has at most."""
        return MAX_BYTES if self.max_bytes is None else self.max_bytes

    def find(self, data_dir: str) -> Path | None:
        """The path of the file in the data directory, unpacked or as published, or None if it is missing."""
        path = _absolute(data_dir) / self.name
        unpacked = [path.with_suffix("")] if path.suffix == ".gz" and not self.is_archive else []
        candidates = [path.with_name(Path(self.member).name), path] if self.member else [*unpacked, path]
        return next((candidate for candidate in candidates if candidate.exists()), None)

    def require(self, data_dir: str) -> Path:
        """The path of the file in the data directory; raises DataError, with advice, if it is missing."""
        path = self.find(data_dir)
        if path is None:
            raise DataError(f"{self.name} is missing: call prepare_data(), or {_advice([self], data_dir)}")
        return path

    @contextmanager
    def open(self, data_dir: str) -> Iterator[BinaryIO]:
        """Opens the file as it is; DataErrors raised meanwhile, and a failure to read it, name it and what to do."""
        path = self.require(data_dir)
        try:
            with path.open("rb") as stream:
                yield stream
        except OSError as error:
            raise DataError(f"{path} cannot be read: {one_line(error)}") from error
        except DataError as error:
            raise DataError(f"{path} {error}: delete it to download it again, or replace it") from error

    def read(self, data_dir: str) -> bytes:
        """The verified, unpacked content of the file; raises DataError if missing or not as published."""
        with self.open(data_dir) as stream:
            return self.verify(stream.read(self.limit + 1), self.is_packed(Path(stream.name)))

    def hash_index(self, content: bytes) -> int | None:
        """The position in ``hashes`` of a hash of the content, or None."""
        algorithms = {expected.partition(":")[0] for expected in self.hashes}
        actual = {f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}" for algorithm in algorithms}
        return next((index for index, expected in enumerate(self.hashes) if expected in actual), None)

    def verify(self, content: bytes, packed: bool) -> bytes:
        """The unpacked content, of which up to ``limit + 1`` bytes were read; raises DataError."""
        if packed:
            try:
                content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(self.limit + 1)
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"is a damaged gzip file ({one_line(error)})") from error
            if self.member:
                content = _read_member(content, self.member)
        if not content:
            raise DataError("is empty")
        if len(content) > self.limit:
            raise DataError(f"holds more than {self.limit:,} bytes")
        if self.hash_index(content) is None:
            actual = hashlib.sha256(content).hexdigest()
            raise DataError(f"has the wrong content, sha256:{actual} instead of {' or '.join(self.hashes)}")
        return content

    def is_packed(self, path: Path) -> bool:
        """Whether the content of a file of this path is to be unpacked."""
        return path.suffix in PACKED and not self.is_archive


def _read_member(archive: bytes, name: str) -> bytes:
    """The content of a regular file in a tar archive; nothing is unpacked to the disk. Raises DataError."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            member = next((each for each in tar if each.name == name and each.isfile()), None)
            content = member and tar.extractfile(member)
            if content:
                return content.read()
    except tarfile.TarError as error:
        raise DataError(f"is a damaged archive ({one_line(error)})") from error
    raise DataError(f"does not hold {name}")


def download_missing(files: Iterable[RemoteFile], data_dir: str) -> None:
    """Downloads the files that are not in the data directory, each complete and verified or not at all.

    Raises DataError, with advice and all missing files, if one cannot be downloaded or written.
    """
    missing = [file for file in files if file.find(data_dir) is None]
    for position, file in enumerate(missing):
        path = _absolute(data_dir) / file.name
        try:
            write_file(path, _download(file), durable=True)
        except DataError as error:
            advice = _advice(missing[position:], data_dir)
            raise DataError(f"cannot download {file.name} ({error}); {advice}") from error
        except OSError as error:
            raise DataError(f"cannot write {path} ({one_line(error)}): choose another --data_dir") from error


def _download(file: RemoteFile) -> bytes:
    """The file as published, from the first mirror that has it; all are tried again after a pause."""
    faults = {}
    for pause in PAUSES:
        time.sleep(pause)
        for url in file.urls:
            try:
                _require_scheme(url)
                with urllib.request.build_opener(_Redirects).open(url, timeout=TIMEOUT) as response:
                    body: bytes = response.read(file.limit + 1)
                file.verify(body, file.is_packed(Path(file.name)))
                return body
            except (OSError, http.client.HTTPException, DataError) as error:
                faults[url] = one_line(error)
    raise DataError("; ".join(f"{url} {fault}" for url, fault in faults.items()))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to allowed schemes only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _require_scheme(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_scheme(url: str) -> None:
    if url.partition(":")[0].lower() not in SCHEMES:
        raise DataError(f"leads to {url}, which is not {' or '.join(SCHEMES)}")


def _absolute(data_dir: str) -> Path:
    return Path(data_dir).expanduser().absolute()


def _advice(files: Iterable[RemoteFile], data_dir: str) -> str:
    listed = ", ".join(f"{file.name} ({' or '.join(file.hashes)})" for file in files)
    return f"put these files into {_absolute(data_dir)}, or pass their directory as --data_dir: {listed}"
