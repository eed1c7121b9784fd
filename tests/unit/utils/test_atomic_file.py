"""A file under its own name is complete or not there, whatever happens while it is written."""

import os
from pathlib import Path

import pytest

from lightmodels.utils import atomic_file
from lightmodels.utils.atomic_file import remove_leftovers, replace_file, write_file


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("content", [b"\x00bytes", memoryview(b"view"), "läßt\r\nlines\n"])
def test_content_is_written_as_it_is_over_an_older_file(tmp_path, content):
    path = tmp_path / "made" / "file.txt"
    write_file(path, "a longer content that was there before")
    write_file(str(path), content)
    expected = content.encode() if isinstance(content, str) else bytes(content)
    assert path.read_bytes() == expected
    assert names(path.parent) == ["file.txt"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask  # not the 0600 of temporary files


@pytest.mark.parametrize("fault", ["in the body", "no file", "at the replacement"])
def test_after_an_error_the_old_file_is_untouched_and_nothing_is_left(tmp_path, monkeypatch, fault):
    path = tmp_path / "file"
    write_file(path, "old")
    if fault == "at the replacement":
        monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError), replace_file(path) as temporary:  # noqa: PT011, PT012
        if fault != "no file":
            temporary.write_text("half")
        if fault == "in the body":
            raise OSError("no space")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "file"
    write_file(path, "old")
    with replace_file(path) as temporary, replace_file(path) as of_another_process:
        temporary.write_text("new")
        of_another_process.write_text("other")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
    assert path.read_text() == "new"


def test_a_durable_file_is_flushed_before_and_its_directory_after_the_replacement(tmp_path, monkeypatch):
    synced, path = [], tmp_path / "file"
    monkeypatch.setattr(atomic_file, "_sync", lambda synced_path: synced.append((synced_path, path.exists())))
    write_file(path, "content")
    assert synced == []
    path.unlink()
    with replace_file(path, durable=True) as temporary:
        temporary.write_text("content")
    assert synced == [(temporary, False), (tmp_path, True)]
    monkeypatch.undo()
    write_file(path, "again", durable=True)
    assert path.read_text() == "again"


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    for name in ("a.ckpt", "b.csv"):
        with replace_file(tmp_path / name) as temporary:
            temporary.write_text("complete")
        temporary.write_text("half")  # as a killed process leaves it
    write_file(tmp_path / ".a.ckpt.tmp", "a file of the user's")
    assert len(names(tmp_path)) == 5
    remove_leftovers(tmp_path, "*.ckpt")
    assert names(tmp_path) == [".a.ckpt.tmp", temporary.name, "a.ckpt", "b.csv"]
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".a.ckpt.tmp", "a.ckpt", "b.csv"]
