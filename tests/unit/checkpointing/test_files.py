"""Checkpoints are written completely and durably, also under a second name or in the background."""

import os
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from lightmodels.checkpointing.files import (
    AtomicCheckpointIO,
    BackgroundWriter,
    link_checkpoint,
    load_checkpoint,
    save_checkpoint,
)

CONTENT = {"state_dict": {"weight": torch.arange(1000.0)}, "epoch": 3, "rate": 0.1}


@pytest.fixture
def path(tmp_path):
    save_checkpoint(CONTENT, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_a_saved_checkpoint_is_one_readable_file(path):
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
    assert loaded["rate"] == 0.1
    assert list(path.parent.iterdir()) == [path]
    path.with_name("other").touch()
    assert path.stat().st_mode == path.with_name("other").stat().st_mode  # not the 0600 of temporary files


def test_files_and_directory_are_flushed_to_disk(path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink()))
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


def test_a_checkpoint_that_is_written_later_is_a_copy_of_now(tmp_path):
    layer, later = nn.BatchNorm1d(3), []
    tied = {"first": layer.weight.detach(), "second": layer.weight.detach(), "sparse": torch.eye(2).to_sparse()}
    checkpoint = {"state_dict": layer.state_dict(), "tied": tied, "rows": [1.0]}
    path, also = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint, path, {"run": later.append, "also": also})
    with torch.no_grad():
        layer.weight.zero_()
    checkpoint["rows"].append(2.0)
    (write,) = later
    write()
    loaded = load_checkpoint(also)
    assert path.samefile(also)
    assert loaded["rows"] == [1.0]
    assert torch.equal(loaded["tied"]["sparse"].to_dense(), torch.eye(2))
    for name in ("first", "second"):
        assert torch.equal(loaded["tied"][name], torch.ones(3))
        assert loaded["tied"][name].data_ptr() == loaded["state_dict"]["weight"].data_ptr()  # saved once
    assert loaded["state_dict"]._metadata == layer.state_dict()._metadata


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
