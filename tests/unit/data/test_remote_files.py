"""Files are downloaded completely or not at all, over https only, and verified by their hash."""

import gzip
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import tracemalloc
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers.tiny_files import sha256

from lightmodels.data import remote_files
from lightmodels.data.remote_files import RemoteFile, download_missing
from lightmodels.utils.data_error import DataError

CONTENT = b"forty-two " * 1000
PACKED = gzip.compress(CONTENT)
HASH = sha256(CONTENT)
DEADLINE = 300.0  # seconds


class Server(ThreadingHTTPServer):
    """Sends, for each path, its replies one after the other, and repeats the last one."""

    daemon_threads = True

    def __init__(self, scheme="http"):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base = f"{scheme}://127.0.0.1:{self.server_port}/"
        self.replies, self.hits = {}, []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def file(self, *mirrors, name="folder/file.gz", hashes=(HASH,)):
        """A file whose mirrors send these replies (one, or a list of several)."""
        for i, replies in enumerate(mirrors):
            self.replies[f"/{i}"] = list(replies) if isinstance(replies, list) else [replies]
        return RemoteFile(name, tuple(f"{self.base}{i}" for i in range(len(mirrors))), tuple(hashes))

    def handle_error(self, request, client_address):
        """Ignores clients that disconnect, as they do in some tests."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.hits.append(self.path)
        replies = self.server.replies[self.path]
        (replies.pop(0) if len(replies) > 1 else replies[0])(self)

    def log_message(self, *args):
        pass


def send(body=PACKED, code=200, length=None, **headers):
    """A reply; ``length`` is the Content-Length, by default the true one, and -1 for none."""

    def reply(handler):
        handler.send_response(code)
        for key, value in headers.items():
            handler.send_header(key, value)
        if length != -1:
            handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def reset(handler):
    """Breaks the connection in the middle of the body."""
    send(PACKED[:10], length=len(PACKED))(handler)
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


GOOD = send()
FAULTS = {
    "503": send(b"", 503),
    "short": send(PACKED[:-9], length=len(PACKED)),
    "reset": reset,
    "404": send(b"no", 404),
    "wrong content": send(gzip.compress(b"other")),
    "redirect": send(b"", 302, Location="ftp://127.0.0.1/file"),
}


@pytest.fixture
def server(monkeypatch):
    """A local http server; plain http is allowed during the test."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(remote_files, "SCHEMES", ("http",))
    monkeypatch.setattr(remote_files, "TIMEOUT", DEADLINE)
    monkeypatch.setattr(remote_files, "PAUSES", (0.0, 0.001, 0.001))
    with Server() as server:
        yield server
        server.shutdown()


def files_in(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def message_of(function, *arguments):
    """The message of the DataError that the function raises, which is one line."""
    with pytest.raises(DataError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_stored_as_published_and_read_unpacked(server, tmp_path):
    """Here after a redirect, and sent without a length."""
    file = server.file(send(b"", 302, Location=f"{server.base}there"))
    server.replies["/there"] = [send(length=-1)]
    download_missing([file], str(tmp_path))
    assert files_in(tmp_path) == ["folder/file.gz"]
    assert file.read(str(tmp_path)) == CONTENT


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_followed_by_the_next_mirror_another_round_and_an_error(server, tmp_path, monkeypatch, fault):
    pauses = []
    monkeypatch.setattr(remote_files.time, "sleep", pauses.append)
    message_of(download_missing, [server.file(fault, fault)], str(tmp_path))
    assert server.hits == ["/0", "/1"] * 3
    assert pauses == list(remote_files.PAUSES)
    assert list(tmp_path.iterdir()) == []
    server.hits.clear()
    download_missing([server.file([fault, GOOD], fault)], str(tmp_path))
    assert server.hits == ["/0", "/1", "/0"]
    assert files_in(tmp_path) == ["folder/file.gz"]


def test_a_stalled_server_is_given_up_after_the_timeout(server, tmp_path, monkeypatch):
    opened, open_url, done = [], urllib.request.OpenerDirector.open, threading.Event()

    def watched(opener, url, data=None, timeout=None):
        opened.append((url, timeout))
        return open_url(opener, url, data, 0.1 if url.endswith("/0") else DEADLINE)

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", watched)
    monkeypatch.setattr(remote_files, "TIMEOUT", 20.0)
    download_missing([server.file(lambda handler: done.wait(DEADLINE), GOOD)], str(tmp_path))
    done.set()
    assert opened == [(f"{server.base}0", 20.0), (f"{server.base}1", 20.0)]


def test_one_message_names_all_missing_files_and_what_to_do(server, tmp_path):
    (tmp_path / "here").touch()
    here, available = server.file(GOOD, name="here.gz"), server.file(GOOD, name="available.gz")
    absent = RemoteFile("folder/absent", (f"{server.base}1", "http://127.0.0.1:1/"), ("sha256:a", "md5:b"))
    other = RemoteFile("folder/other", (), ("sha256:c",))
    server.replies["/1"] = [send(b"", 404)]
    message = message_of(download_missing, [here, available, absent, other], str(tmp_path))
    assert message.startswith("cannot download folder/absent ")
    assert message.endswith("as --data_dir: folder/absent (sha256:a or md5:b), folder/other (sha256:c)")
    assert all(part in message for part in ("404", "refused", *absent.urls, f"put these files into {tmp_path}"))


@pytest.mark.parametrize("name", ["file.gz", "file"])
def test_existing_files_are_not_downloaded(server, tmp_path, monkeypatch, name):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = server.file(GOOD, name="file.gz")
    (tmp_path / name).write_bytes(PACKED if name.endswith(".gz") else CONTENT)
    download_missing([file], "~")
    assert file.read("~") == CONTENT
    assert server.hits == []


def test_only_https_is_allowed_by_default(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "SCHEMES", ("https",))
    (tmp_path / "local").write_bytes(PACKED)
    local = RemoteFile("a.gz", ((tmp_path / "local").as_uri(),), (HASH,))
    for file in (server.file(GOOD), local):
        assert "not https" in message_of(download_missing, [file], str(tmp_path))
    assert server.hits == []


@pytest.fixture
def tls_server(server, tmp_path_factory, monkeypatch):
    """A local https server that is trusted during the test."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to create a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    monkeypatch.setattr(remote_files, "SCHEMES", ("https",))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with Server("https") as tls_server:
        tls_server.socket = context.wrap_socket(tls_server.socket, server_side=True)
        yield tls_server
        tls_server.shutdown()


def test_certificates_are_verified_and_https_is_never_redirected_to_http(server, tls_server, tmp_path, monkeypatch):
    server.file(GOOD)
    file = tls_server.file([*[send(b"", 302, Location=f"{server.base}0")] * 3, GOOD])
    assert "not https" in message_of(download_missing, [file], str(tmp_path))
    assert (server.hits, files_in(tmp_path)) == ([], [])
    download_missing([file], str(tmp_path))
    assert files_in(tmp_path) == ["folder/file.gz"]
    monkeypatch.delenv("SSL_CERT_FILE")
    unknown = tls_server.file(GOOD, name="unknown")
    assert "CERTIFICATE_VERIFY_FAILED" in message_of(download_missing, [unknown], str(tmp_path))


def test_an_endless_body_is_cut_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "MAX_BYTES", 1000)
    file = server.file(send(bytes(5000), length=-1), name="file")
    assert "more than 1,000 bytes" in message_of(download_missing, [file], str(tmp_path))
    assert files_in(tmp_path) == []


def test_several_processes_may_download_the_same_file(server, tmp_path):
    both = threading.Barrier(2)

    def reply(handler):
        both.wait(DEADLINE)  # until both are downloading
        GOOD(handler)

    file = server.file(reply)
    script = (
        "from lightmodels.data import remote_files as files; files.SCHEMES = ('http',); files.TIMEOUT = 300;"
        f"files.download_missing([files.{file!r}], {str(tmp_path)!r})"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [run.wait(DEADLINE) for run in runs] == [0, 0]
    assert files_in(tmp_path) == ["folder/file.gz"]
    assert file.read(str(tmp_path)) == CONTENT


def test_a_failed_write_is_reported_with_its_path_and_leaves_nothing(server, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    (tmp_path / "taken").touch()
    assert "taken/folder/file.gz (" in message_of(download_missing, [server.file(GOOD)], str(tmp_path / "taken"))
    monkeypatch.setattr("os.fsync", full)
    message = message_of(download_missing, [server.file(GOOD)], str(tmp_path))
    assert f"{tmp_path}/folder/file.gz (No space left on device): choose another --data_dir" in message
    assert files_in(tmp_path) == ["taken"]


BAD = {
    "wrong": ("file.gz", gzip.compress(b"other"), "wrong content"),
    "wrong, unpacked": ("file", b"other", "wrong content"),
    "truncated": ("file.gz", PACKED[:-9], "damaged gzip"),
    "flipped": ("file.gz", PACKED[:30] + b"\xff" + PACKED[31:], "damaged gzip"),
    "garbage": ("file.gz", b"<html>", "damaged gzip"),
    "trailing garbage": ("file.gz", PACKED + b"more", "damaged gzip"),
    "empty": ("file.gz", b"", "is empty"),
    "empty inside": ("file.gz", gzip.compress(b""), "is empty"),
}


@pytest.mark.parametrize(("name", "body", "reason"), BAD.values(), ids=BAD)
def test_a_bad_file_is_named_with_what_to_do(tmp_path, name, body, reason):
    (tmp_path / name).write_bytes(body)
    message = message_of(RemoteFile("file.gz", (), (HASH,)).read, str(tmp_path))
    assert message.startswith(f"{tmp_path / name} ")
    assert reason in message
    assert "delete it" in message


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_a_bomb_does_not_exhaust_the_memory(tmp_path, monkeypatch, name):
    monkeypatch.setattr(remote_files, "MAX_BYTES", 2**20)
    (tmp_path / name).write_bytes(gzip.compress(bytes(2**25), 1) if name.endswith(".gz") else bytes(2**25))
    tracemalloc.start()
    message = message_of(RemoteFile(name, (), (HASH,)).read, str(tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23
    assert "holds more than 1,048,576 bytes" in message


def test_unreadable_and_missing_files_are_named(tmp_path):
    (tmp_path / "folder").mkdir()
    assert "Is a directory" in message_of(RemoteFile("folder", (), (HASH,)).read, str(tmp_path))
    message = message_of(RemoteFile("a.gz", (), ("sha256:a",)).read, str(tmp_path))
    assert all(part in message for part in ("prepare_data()", str(tmp_path), "a.gz (sha256:a)", "--data_dir"))


def test_hash_index():
    md5 = "md5:900150983cd24fb0d6963f7d28e17f72"  # of "abc", RFC 1321
    sha = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    for hashes, index in (((md5, sha), 0), ((sha, md5), 0), (("md5:0", sha), 1), (("md5:0",), None)):
        assert RemoteFile("abc", (), hashes).hash_index(b"abc") == index


def test_an_archive_is_never_unpacked_and_its_own_hash_counts(server, tmp_path):
    file = replace(server.file(GOOD, name="a.tar.gz", hashes=(sha256(PACKED),)), is_archive=True)
    (tmp_path / "a.tar").write_bytes(CONTENT)
    assert file.find(str(tmp_path)) is None
    download_missing([file], str(tmp_path))
    assert file.read(str(tmp_path)) == PACKED
    with file.open(str(tmp_path)) as stream:
        assert stream.read() == PACKED
    unpacked_hash = replace(file, hashes=(HASH,))
    assert "a.tar.gz has the wrong content" in message_of(unpacked_hash.read, str(tmp_path))


def test_a_file_may_have_a_limit_of_its_own(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "MAX_BYTES", 1000)
    file = server.file(GOOD)
    assert "more than 1,000 bytes" in message_of(download_missing, [file], str(tmp_path))
    own = replace(file, max_bytes=len(CONTENT))
    download_missing([own], str(tmp_path))
    assert own.read(str(tmp_path)) == CONTENT
    assert "holds more than 9,999 bytes" in message_of(replace(file, max_bytes=9_999).read, str(tmp_path))


def test_errors_with_an_open_file_name_it(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    file = RemoteFile("a", (), ())

    def fail(error):
        with file.open(str(tmp_path)):
            raise error

    advice = "delete it to download it again, or replace it"
    assert message_of(fail, DataError("is odd")) == f"{tmp_path}/a is odd: {advice}"
    assert message_of(fail, OSError(5, "Input/output error")) == f"{tmp_path}/a cannot be read: Input/output error"
    assert "b is missing" in message_of(RemoteFile("b", (), ()).require, str(tmp_path))
