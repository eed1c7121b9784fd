"""Files that are no checkpoints of ours, and places that are not on this machine."""

import os
import zipfile
from pathlib import Path

import fsspec
import pytest
import pytorch_lightning as pl
import torch
from helpers.fits import loaders
from helpers.models import Classifier

from lightmodels import Trainer, load
from lightmodels.checkpointing.files import CheckpointError, load_checkpoint

OPTIONS = {"gpus": 0, "logger": False, "figures": False}


def test_a_zip_bomb_ends_early():
    with zipfile.ZipFile("bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10**8)
    assert Path("bomb.ckpt").stat().st_size < 10**6
    with pytest.raises(CheckpointError, match=r"bomb.ckpt: .*damaged .it would unpack to 100,000,000 bytes"):
        load_checkpoint("bomb.ckpt")


def test_a_directory_is_no_damaged_checkpoint():
    with pytest.raises(CheckpointError, match=r"^\.: a directory; the checkpoints of a run are in its checkpoints/$"):
        load_checkpoint(".")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_not_damaged():
    Path("secret.ckpt").touch(mode=0)
    with pytest.raises(CheckpointError, match=r"^secret.ckpt: cannot be read \(Permission denied\)$"):
        load_checkpoint("secret.ckpt")


@pytest.mark.parametrize("history", ["abc", 3, [1], {"rows": 3}, {"rows": ["ab"]}, {}])
def test_a_garbage_history_is_one_line(history):
    Classifier().save("good.ckpt")
    checkpoint = torch.load("good.ckpt", weights_only=True)
    torch.save(checkpoint | {"history": history}, "bad.ckpt")
    with pytest.raises(CheckpointError, match=r"bad.ckpt: its history or data_info is damaged") as error:
        load("bad.ckpt", Classifier)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["epoch", "global_step", "loops", "optimizer_states", "lr_schedulers"])
def test_a_checkpoint_without_a_training_is_not_resumed(key):
    Trainer(max_epochs=1, run_dir="run", **OPTIONS).fit(Classifier(), **loaders())
    checkpoint = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    del checkpoint[key]
    torch.save(checkpoint, "part.ckpt")
    with pytest.raises(
        CheckpointError, match=f"part.ckpt: not a checkpoint of a training, as it has no {key}: load it"
    ):
        Trainer(max_epochs=2, **OPTIONS).fit(Classifier(), **loaders(), ckpt_path="part.ckpt")


def test_checkpoints_on_other_file_systems_are_written_there():
    def fit(max_epochs, ckpt_path=None):
        callback = pl.callbacks.ModelCheckpoint("memory://there/run", save_last=True, monitor="val_loss")
        trainer = Trainer(max_epochs=max_epochs, callbacks=[callback], **OPTIONS)
        return trainer.fit(Classifier(), **loaders(), ckpt_path=ckpt_path)

    fit(1)
    assert "/there/run/last.ckpt" in fsspec.filesystem("memory").find("/there/run")
    assert not list(Path().rglob("*there*"))
    assert len(fit(2, "memory://there/run/last.ckpt")) == 2


@pytest.mark.parametrize("name", ["run_dir", "default_root_dir"])
def test_a_run_directory_is_on_this_machine(name):
    with pytest.raises(ValueError, match=f"{name} must be a local directory, got s3://bucket"):
        Trainer(**{name: "s3://bucket/runs"}, **OPTIONS)
