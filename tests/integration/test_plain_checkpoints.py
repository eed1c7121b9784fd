"""What a training saves can be read again: it is made plain, or refused before the first step."""

import collections
import enum
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.checkpoints import different
from helpers.fits import loaders
from helpers.models import Classifier
from torch.optim import lr_scheduler

from lightmodels import Trainer
from lightmodels.checkpointing.files import load_checkpoint, save_checkpoint
from lightmodels.checkpointing.plain_data import to_plain

OPTIONS = {"gpus": 0, "logger": False, "figures": False}
Pair = collections.namedtuple("Pair", "x y")


class Kind(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (collections.defaultdict(list, a=[np.int8(1)]), {"a": [1]}),
        (collections.UserDict(a=1), {"a": 1}),
        (Pair(1, np.float64(2)), (1, 2.0)),
        (Kind.ONE, 1),
        ({np.int64(1): {"a": (np.float64(1),)}}, {1: {"a": (1.0,)}}),
        (torch.Size([2]), torch.Size([2])),
        (
            {"a": {1, 2}, "b": b"c", "d": None, "e": torch.float32},
            {"a": {1, 2}, "b": b"c", "d": None, "e": torch.float32},
        ),
    ],
)
def test_values_become_plain_and_can_be_restored(value, plain):
    found = to_plain(value)
    assert found == plain
    assert type(found) is type(plain)
    save_checkpoint({"state_dict": {}, "value": value}, "file.ckpt")
    assert load_checkpoint("file.ckpt")["value"] == plain


@pytest.mark.parametrize("value", [Path("a"), np.zeros(2), object(), print, Classifier, np.datetime64("2020-01-01")])
def test_other_values_are_refused_with_their_key(value):
    with pytest.raises(TypeError, match=r"^a/b/0 must be plain data .*, got \w+$"):
        save_checkpoint({"state_dict": {}, "a": {"b": [value]}}, "file.ckpt")
    assert not Path("file.ckpt").exists()


class Numpy(Classifier):
    """numpy's numbers in rates, schedules and states."""

    def __init__(self):
        super().__init__()
        self.save_hyperparameters(collections.defaultdict(list, rates=np.float32(2)))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=np.logspace(-2, -1, 3)[1], momentum=np.float64(0.5))
        return [optimizer], [lr_scheduler.LambdaLR(optimizer, lambda epoch: np.exp(-0.1 * epoch))]

    def get_extra_state(self):
        return collections.defaultdict(int, seen=np.int64(3))

    def set_extra_state(self, state):
        assert state == {"seen": 3}

    def on_save_checkpoint(self, checkpoint):
        checkpoint["mine"] = collections.UserDict(best=np.float32(0.5))


class State(pl.Callback):
    def state_dict(self):
        return {"scores": (np.float64(1), np.arange(3)[1])}


def fit(run_dir, max_epochs, model_class=Numpy, callbacks=(), **options):
    pl.seed_everything(0, verbose=False)
    trainer = Trainer(max_epochs=max_epochs, run_dir=run_dir, callbacks=[*callbacks], **OPTIONS)
    trainer.fit(model_class(), **loaders(), **options)
    return load_checkpoint(f"{run_dir}/checkpoints/last.ckpt")


def test_a_training_with_numbers_of_numpy_resumes_exactly():
    expected = fit("whole", 3, callbacks=[State()])
    assert (expected["mine"], expected["hyper_parameters"]["rates"]) == ({"best": 0.5}, 2.0)
    fit("run", 2, callbacks=[State()])
    resumed = fit("run", 3, callbacks=[State()], ckpt_path="run/checkpoints/last.ckpt")
    assert different(resumed, expected) == {}


class PathInHparams(Classifier):
    def __init__(self, where=Path("a")):
        super().__init__()
        self.save_hyperparameters()


class ArrayInExtraState(Classifier):
    def get_extra_state(self):
        return {"table": np.zeros(3)}

    def set_extra_state(self, state):
        pass


class PathInSchedule(Classifier):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = lr_scheduler.StepLR(optimizer, 1)
        schedule.where = Path("a")
        return [optimizer], [schedule]


class Unplain(pl.Callback):
    def state_dict(self):
        return {"a": {"b": Path("c")}}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("model_class", "callbacks", "message"),
    [
        (PathInHparams, [], "hyper-parameter where must be plain data .*got PosixPath: convert it, or save_hyper"),
        (ArrayInExtraState, [], "state_dict/_extra_state/table must be plain data .*got ndarray"),
        (PathInSchedule, [], "the state of StepLR/where must be plain data"),
        (Classifier, [Unplain()], "the state of Unplain/a/b must be plain data"),
    ],
)
def test_what_cannot_be_restored_is_refused_before_the_first_step(model_class, callbacks, message, own):
    steps = []

    class Counted(model_class):
        def training_step(self, batch, batch_idx):
            steps.append(batch_idx)
            return super().training_step(batch, batch_idx)

    own_callbacks = [pl.callbacks.ModelCheckpoint("own", monitor="val_loss")] if own else []
    with pytest.raises(TypeError, match=message) as error:
        fit("run", 1, Counted, [*callbacks, *own_callbacks])
    assert (steps, "\n" in str(error.value)) == ([], False)
    assert not list(Path().rglob("*.ckpt"))


def test_what_a_hook_adds_is_refused_with_its_key_when_it_is_saved():
    class Adds(Classifier):
        def on_save_checkpoint(self, checkpoint):
            checkpoint["mine"] = {"where": Path("a")}

    with pytest.raises(TypeError, match=r"mine/where must be plain data .*got PosixPath"):
        fit("run", 1, Adds)
