"""Files are downloaded whole or not at all, over https only, and never believed without their hash."""

import gzip
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.tiny_files import sha256

from lightmodels.data import remote_files
from lightmodels.data.remote_files import DataError, RemoteFile, fetch, find, read, read_verified, which_hash

CONTENT = b"forty-two " * 1000
PACKED = gzip.compress(CONTENT)
HASH = sha256(CONTENT)


class Server(ThreadingHTTPServer):
    """Plays, for each path, its replies one after the other; the last one again and again."""

    daemon_threads = True

    def __init__(self, scheme="http"):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base = f"{scheme}://127.0.0.1:{self.server_port}/"
        self.replies, self.hits = {}, []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def file(self, *mirrors, name="folder/file.gz", hashes=(HASH,)):
        """A file whose mirrors give these replies (one, or a list of several)."""
        for i, replies in enumerate(mirrors):
            self.replies[f"/{i}"] = list(replies) if isinstance(replies, list) else [replies]
        return RemoteFile(name, tuple(f"{self.base}{i}" for i in range(len(mirrors))), tuple(hashes))

    def handle_error(self, request, client_address):
        """A client that went away, as some tests make it do, is no news."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.hits.append(self.path)
        replies = self.server.replies[self.path]
        (replies.pop(0) if len(replies) > 1 else replies[0])(self)

    def log_message(self, *args):
        pass


def send(body=PACKED, code=200, length=None, delay=0.0, **headers):
    """A reply; ``length`` is what Content-Length says, by default the truth, and -1 for none."""

    def reply(handler):
        if delay:
            time.sleep(delay)
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


GOOD, SHORT, WRONG = send(), send(PACKED[:-9], length=len(PACKED)), send(gzip.compress(b"other"))
STALLED = send(delay=0.5)
PASSING = {"503": send(b"", 503), "short": SHORT, "reset": reset, "stalled": STALLED}
LASTING = {
    "403": send(b"no", 403),
    "404": send(b"no", 404),
    "wrong content": WRONG,
    "truncated": send(PACKED[:-9], length=-1),
    "garbage": send(b"<html>"),
    "empty": send(b""),
    "redirect": send(b"", 302, Location="ftp://127.0.0.1/file"),
}


@pytest.fixture
def server(monkeypatch):
    """A local http server; plain http is allowed as long as the test lasts."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(remote_files, "SCHEMES", ("http",))
    monkeypatch.setattr(remote_files, "TIMEOUT", 0.2)
    monkeypatch.setattr(remote_files, "PAUSE", 0.001)
    with Server() as server:
        yield server
        server.shutdown()


def left(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def fails(function, *arguments):
    """The message of the DataError, which is one line."""
    with pytest.raises(DataError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_fetch_puts_the_file_as_published(server, tmp_path):
    file = server.file(GOOD)
    fetch([file], str(tmp_path))
    assert left(tmp_path) == ["folder/file.gz"]
    assert read(file, str(tmp_path)) == CONTENT


def test_a_body_without_length_is_fine(server, tmp_path):
    fetch([server.file(send(length=-1))], str(tmp_path))
    assert left(tmp_path) == ["folder/file.gz"]


def test_a_redirect_within_the_scheme_is_followed(server, tmp_path):
    file = server.file(send(b"", 302, Location=f"{server.base}there"))
    server.replies["/there"] = [GOOD]
    fetch([file], str(tmp_path))
    assert left(tmp_path) == ["folder/file.gz"]


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_passing_fault_is_tried_again(server, tmp_path, fault):
    fetch([server.file([fault, GOOD], GOOD)], str(tmp_path))
    assert server.hits == ["/0", "/0"]
    assert left(tmp_path) == ["folder/file.gz"]


@pytest.mark.parametrize("fault", LASTING.values(), ids=LASTING)
def test_a_lasting_fault_goes_on_to_the_next_mirror(server, tmp_path, fault):
    fetch([server.file([fault, GOOD], GOOD)], str(tmp_path))
    assert server.hits == ["/0", "/1"]
    assert left(tmp_path) == ["folder/file.gz"]


@pytest.mark.parametrize("fault", (PASSING | LASTING).values(), ids=PASSING | LASTING)
def test_nothing_is_left_where_all_mirrors_fail(server, tmp_path, fault):
    fails(fetch, [server.file(fault, fault)], str(tmp_path))
    assert set(server.hits) == {"/0", "/1"}
    assert list(tmp_path.iterdir()) == []


def test_the_pauses_grow_and_the_attempts_end(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(remote_files.time, "sleep", pauses.append)
    fails(fetch, [server.file(send(b"", 500))], str(tmp_path))
    assert pauses == [remote_files.PAUSE, 2 * remote_files.PAUSE]
    assert server.hits == ["/0"] * 3


def test_one_message_names_all_that_is_missing_and_what_to_do(server, tmp_path):
    (tmp_path / "here").touch()
    here, fetched = server.file(GOOD, name="here.gz"), server.file(GOOD, name="fetched.gz")
    absent = RemoteFile("folder/absent", (f"{server.base}1", f"{server.base}2"), ("sha256:a", "md5:b"))
    other = RemoteFile("folder/other", (), ("sha256:c",))
    server.replies |= {"/1": [send(b"", 404)], "/2": [send(b"", 403)]}
    message = fails(fetch, [here, fetched, absent, other], str(tmp_path))
    assert message.startswith("cannot download folder/absent ")
    assert message.endswith("where they are: folder/absent (sha256:a or md5:b), folder/other (sha256:c)")
    assert all(
        part in message for part in ("404", "403", *absent.urls, f"put these into {tmp_path}", "--data_dir")
    )


def test_no_network_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "PAUSE", 0.001)
    monkeypatch.setattr(
        socket, "create_connection", lambda *a, **k: (_ for _ in ()).throw(socket.gaierror(-3, "no"))
    )
    file = RemoteFile("a", ("https://nowhere.invalid/a",), ("sha256:a",))
    assert "put these into" in fails(fetch, [file], str(tmp_path))


@pytest.mark.parametrize("name", ["file.gz", "file"])
def test_a_file_that_is_there_is_not_downloaded(server, tmp_path, name):
    file = server.file(GOOD, name="file.gz")
    (tmp_path / name).write_bytes(PACKED if name.endswith(".gz") else CONTENT)
    fetch([file], str(tmp_path))
    assert read(file, str(tmp_path)) == CONTENT
    assert server.hits == []


def test_only_https_by_default(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "SCHEMES", ("https",))
    assert "not https" in fails(fetch, [server.file(GOOD)], str(tmp_path))
    local = tmp_path / "local"
    local.write_bytes(PACKED)
    assert "not https" in fails(fetch, [RemoteFile("a.gz", (local.as_uri(),), (HASH,))], str(tmp_path))
    assert server.hits == []


@pytest.fixture
def tls_server(server, tmp_path_factory, monkeypatch):
    """A local https server that is trusted while the test lasts."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    )
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    monkeypatch.setattr(remote_files, "SCHEMES", ("https",))
    monkeypatch.setattr(remote_files, "TIMEOUT", 5.0)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with Server("https") as tls_server:
        tls_server.socket = context.wrap_socket(tls_server.socket, server_side=True)
        yield tls_server
        tls_server.shutdown()


def test_https_is_followed_to_https_but_never_to_http(server, tls_server, tmp_path):
    server.file(GOOD)
    file = tls_server.file([send(b"", 302, Location=f"{server.base}0"), GOOD])
    assert "not https" in fails(fetch, [file], str(tmp_path))
    assert server.hits == []
    assert left(tmp_path) == []
    fetch([file], str(tmp_path))
    assert left(tmp_path) == ["folder/file.gz"]


def test_an_unknown_certificate_is_refused(tls_server, tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "CERTIFICATE_VERIFY_FAILED" in fails(fetch, [tls_server.file(GOOD)], str(tmp_path))


def test_an_endless_body_is_cut_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "MAX_BYTES", 1000)
    body = send(bytes(5000), length=-1)
    fails(fetch, [server.file(body, name="file", hashes=[sha256(bytes(5000))])], str(tmp_path))
    assert left(tmp_path) == []


def test_two_processes_at_once(server, tmp_path):
    file = server.file(send(delay=0.1))
    script = (
        "from lightmodels.data import remote_files as files; files.SCHEMES = ('http',);"
        f"files.fetch([files.{file!r}], {str(tmp_path)!r})"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(2)]
    assert [run.wait(20) for run in runs] == [0, 0]
    assert left(tmp_path) == ["folder/file.gz"]
    assert read(file, str(tmp_path)) == CONTENT


def test_a_file_gets_its_name_when_it_is_whole(server, tmp_path, monkeypatch):
    parts, replace = set(), Path.replace

    def watched(part, target):
        assert part.parent == target.parent
        assert part.read_bytes() == PACKED
        assert not target.exists()
        parts.add(part)
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", watched)
    for _ in range(2):
        fetch([server.file(GOOD)], str(tmp_path))
        (tmp_path / "folder" / "file.gz").unlink()
    assert len(parts) == 2  # no two processes ever write to the same one
    assert left(tmp_path) == []


def test_a_failed_write_leaves_nothing_and_says_where(server, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote_files.os, "fsync", full)
    message = fails(fetch, [server.file(GOOD)], str(tmp_path))
    assert f"{tmp_path}/folder/file.gz (No space left on device)" in message
    assert left(tmp_path) == []


def test_the_data_dir_is_a_file(server, tmp_path):
    (tmp_path / "taken").touch()
    assert "--data_dir" in fails(fetch, [server.file(GOOD)], str(tmp_path / "taken"))


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").touch()
    assert find(RemoteFile("a", (), ()), "~") == tmp_path / "a"


BAD = {
    "wrong": ("file.gz", gzip.compress(b"other"), "wrong content"),
    "wrong raw": ("file", b"other", "wrong content"),
    "truncated": ("file.gz", PACKED[:-9], "damaged gzip"),
    "flipped": ("file.gz", PACKED[:30] + b"\xff" + PACKED[31:], "damaged gzip"),
    "garbage": ("file.gz", b"<html>", "damaged gzip"),
    "trailing garbage": ("file.gz", PACKED + b"more", "damaged gzip"),
    "empty": ("file.gz", b"", "is empty"),
    "empty inside": ("file.gz", gzip.compress(b""), "is empty"),
    "bomb": ("file.gz", gzip.compress(bytes(30_000)), "more than 20,000 bytes"),
    "too large": ("file", bytes(30_000), "more than 20,000 bytes"),
}


@pytest.mark.parametrize(("name", "body", "reason"), BAD.values(), ids=BAD)
def test_a_bad_file_is_named_with_what_to_do(tmp_path, name, body, reason):
    path = tmp_path / name
    path.write_bytes(body)
    message = fails(read_verified, path, [HASH], 20_000)
    assert message.startswith(f"{path} ")
    assert reason in message
    assert "delete it" in message


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_a_bomb_does_not_eat_the_memory(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(bytes(2**25), 1) if name.endswith(".gz") else bytes(2**25))
    tracemalloc.start()
    fails(read_verified, path, ["sha256:a"], 2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_a_file_that_cannot_be_read(tmp_path):
    assert fails(read_verified, tmp_path / "none", ["sha256:a"]).endswith("No such file or directory")
    assert "Is a directory" in fails(read_verified, tmp_path, ["sha256:a"])


def test_reading_what_is_missing_says_where_to_put_it(tmp_path):
    message = fails(read, RemoteFile("a.gz", (), ("sha256:a",)), str(tmp_path))
    assert all(part in message for part in ("prepare_data()", str(tmp_path), "a.gz (sha256:a)", "--data_dir"))


def test_which_hash():
    md5 = "md5:900150983cd24fb0d6963f7d28e17f72"  # of "abc", RFC 1321
    sha = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert [which_hash(b"abc", h) for h in ((md5, sha), (sha, md5), ("md5:0", sha), ("md5:0",))] == [
        0,
        0,
        1,
        None,
    ]
