"""Checkpoints are written completely or not at all; damaged and hostile ones are named, never loaded."""

import os
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from lightmodels.checkpointing.files import (
    BackgroundWriter,
    CheckpointError,
    link_checkpoint,
    load_checkpoint,
    save_checkpoint,
)

CONTENT = {"state_dict": {"weight": torch.arange(1000.0)}, "epoch": 3, "rate": 0.1}


@pytest.fixture
def path(tmp_path):
    save_checkpoint(CONTENT, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_saved_checkpoint_is_one_readable_file(path):
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
    assert loaded["rate"] == 0.1
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o044 == 0o044 & ~umask()


def test_files_and_directory_are_flushed_to_disk(path, monkeypatch):
    synced, sync = [], os.fsync

    def watched(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr("os.fsync", watched)
    save_checkpoint(CONTENT, path)
    temporary, directory = synced
    assert temporary.parent == directory == path.parent
    assert temporary.name.startswith(".model.ckpt.")


def test_a_link_is_a_second_name_of_the_same_file_or_a_copy(path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    second = path.with_name("second.ckpt")
    for _ in range(2):
        link_checkpoint(path, second)
        assert path.samefile(second)
    monkeypatch.setattr(os, "link", no_links)
    link_checkpoint(path, second)
    assert not path.samefile(second)
    assert second.read_bytes() == path.read_bytes()
    assert len(list(path.parent.iterdir())) == 2


def test_a_failed_save_keeps_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full(checkpoint, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    message = r"model.ckpt: the checkpoint cannot be written \(.*No space left"
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(CONTENT, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_background_writer_runs_one_function_after_the_other_and_reports_errors():
    writer, second_started, seen = BackgroundWriter(), threading.Event(), []
    writer.run(lambda: seen.append(second_started.wait(0.2)))
    writer.run(second_started.set)
    writer.wait()
    assert seen == [False]
    assert second_started.is_set()
    writer.run(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        writer.wait()
    writer.wait()  # an error is raised once


def test_missing_files_and_other_files_are_named(path):
    with pytest.raises(CheckpointError, match=r"other.ckpt: there is no such checkpoint"):
        load_checkpoint(path.with_name("other.ckpt"))
    torch.save({"weights": 1}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of a Lightning model"):
        load_checkpoint(path)


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("forced", [False, True])
def test_code_in_a_checkpoint_is_not_run(path, tmp_path, monkeypatch, forced):
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save(CONTENT | {"hyper_parameters": Hostile(tmp_path / "owned")}, path)
    assert zipfile.is_zipfile(path)
    with pytest.raises(CheckpointError, match="not read, as it holds more than tensors and plain data"):
        load_checkpoint(path)
    assert not (tmp_path / "owned").exists()
