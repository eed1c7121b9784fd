"""Each kind of model: an interrupted run that goes on ends as an uninterrupted one, and two processes train as one."""

import signal

import pytest
import torch
from helpers import ROOT, every_model
from helpers.apart import run_apart
from helpers.every_model import MODELS, make

from lightmodels import Trainer, load

RANDOM = {"text-cnn": {"masking": 0.3, "dropout": 0.2}, "image-cnn": {"dropout": 0.2}}  # what resuming must restore
RANDOM |= {name: {"dropout": 0.2} for name in MODELS if name not in RANDOM}


@pytest.mark.parametrize("name", MODELS)
def test_a_run_that_goes_on_is_bit_identical(name):
    whole, data = make(name, **RANDOM[name])
    Trainer(max_epochs=3, run_dir="whole", logger=False).fit(whole, data)
    model, data = make(name, **RANDOM[name])

    def stop(*_):
        if trainer.global_step == 7:
            signal.raise_signal(signal.SIGINT)

    model.on_train_batch_end = stop
    trainer = Trainer(max_epochs=3, run_dir="parts", logger=False)
    trainer.fit(model, data)
    assert trainer.interrupted
    assert 5 < trainer.global_step < 10  # within epoch 2
    again, data = make(name, **RANDOM[name])
    torch.manual_seed(99)
    Trainer(max_epochs=3, run_dir="parts", logger=False).fit(again, data, ckpt_path="parts/checkpoints/last.ckpt")
    assert list(again.history["train_loss"]) == list(whole.history["train_loss"])
    assert list(again.history["val_loss"]) == list(whole.history["val_loss"])
    for key, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


@pytest.fixture(scope="module")
def on_two(tmp_path_factory):
    """The directory of the models that two processes have trained."""
    directory = tmp_path_factory.mktemp("two")
    run_apart(ROOT / "tests/helpers/every_model.py", directory, processes=2, directory=directory)
    return directory


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_train_as_one(on_two, name, tmp_path):
    alone, together = every_model.train(name, tmp_path, devices=1), load(on_two / f"{name}.ckpt")
    for column in alone.history.columns:
        if column.startswith(("train_", "val_")):
            assert alone.history[column] == pytest.approx(together.history[column], rel=1e-4, abs=1e-5), column
    for key, value in together.state_dict().items():
        torch.testing.assert_close(alone.state_dict()[key], value, rtol=1e-3, atol=1e-4, msg=key)
