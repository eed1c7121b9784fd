"""Checkpoints are written whole or not at all, and damaged or hostile ones are named, never loaded."""

import os
import zipfile
from pathlib import Path

import pytest
import torch

from lightmodels.checkpointing.files import CheckpointError, load_checkpoint, save_checkpoint

CONTENT = {"state_dict": {"weight": torch.arange(1000.0)}, "epoch": 3, "rate": 0.1}


@pytest.fixture
def path(tmp_path):
    save_checkpoint(CONTENT, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_round_trip_leaves_one_readable_file(path):
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
    assert loaded["rate"] == 0.1
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o044 == 0o044 & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failed_save_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    before = path.read_bytes()

    def full(checkpoint, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        CheckpointError, match=r"model.ckpt: the checkpoint cannot be written \(.*No space left"
    ):
        save_checkpoint(CONTENT, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def tensor_data(path: Path) -> int:
    """A position in the file that belongs to the tensor's numbers."""
    return path.read_bytes().index(torch.arange(1000.0).numpy().tobytes()) + 777


@pytest.mark.parametrize(
    "damage",
    [
        lambda content, at: b"",
        lambda content, at: content[: len(content) // 10],
        lambda content, at: content[: len(content) // 2],
        lambda content, at: content[:-10],
        lambda content, at: os.urandom(len(content)),
        lambda content, at: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
    ],
    ids=["empty", "10 %", "50 %", "cut short", "garbage", "one bit of a weight"],
)
def test_damaged_files_are_named(path, damage):
    path.write_bytes(damage(path.read_bytes(), tensor_data(path)))
    with pytest.raises(CheckpointError, match=r"model.ckpt: the checkpoint is damaged \(.+\)$"):
        load_checkpoint(path)


def test_a_missing_file_and_one_of_another_kind_are_named(path):
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
