"""What Lightning's users expect of a Trainer and its callbacks."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.fits import assert_equal, fitted, loaders
from helpers.models import Classifier, GetsWorse, points
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.tuner import Tuner
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from datamodules.ring import RingDataModule
from lightmodels import LightModel, RingDNN, Trainer

OPTIONS = {"gpus": 0, "logger": False, "figures": False}


def test_the_checkpoint_callback_has_the_attributes_of_lightnings():
    model, trainer = GetsWorse(), Trainer(max_epochs=3, run_dir="run", **OPTIONS)
    callback = trainer.checkpoint_callback
    assert (callback.best_model_score, callback.best_k_models, callback.current_score) == (None, {}, None)
    trainer.fit(model, **loaders())
    losses = model.history["val_loss"]
    assert callback.best_model_score.item() == pytest.approx(min(losses))
    assert callback.current_score.item() == pytest.approx(losses[-1])
    assert {path: float(score) for path, score in callback.best_k_models.items()} == {
        callback.best_model_path: pytest.approx(min(losses))
    }


def test_a_handler_of_the_user_is_called_once_the_state_is_saved(monkeypatch):
    seen = []

    def mine(signum, frame):
        seen.append((signum, torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"]))

    class Stops(Classifier):
        def on_train_batch_end(self, *_):
            if self.trainer.global_step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with pytest.raises(SystemExit):
            Trainer(max_epochs=2, run_dir="run", **OPTIONS).fit(Stops(), **loaders())
        assert seen == [(signal.SIGTERM, 4)]  # after the step that follows, as callbacks come before the model
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    "callback",
    [
        pl.callbacks.GradientAccumulationScheduler({1: 2}),
        pl.callbacks.StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=1),
    ],
)
def test_callbacks_that_change_steps_later_are_refused_at_the_start(callback):
    model = Classifier()
    trainer = Trainer(max_epochs=3, run_dir="run", steps_per_execution=2, callbacks=[callback], **OPTIONS)
    with pytest.raises(ValueError, match=f"steps_per_execution=2 is not supported with {type(callback).__name__}"):
        trainer.fit(model, **loaders())
    assert not model.history


def test_the_logger_is_there_before_a_fit_and_evaluations_claim_no_directory():
    trainer = Trainer(max_epochs=1, gpus=0, figures=False)
    trainer.test(Classifier(), loaders()["val_dataloaders"], verbose=False)
    assert not Path("runs").exists()
    trainer.logger.log_metrics({"before": 1.0}, step=0)
    assert Path(trainer.logger.log_dir) == trainer.run_dir == Path("runs/1")
    trainer.fit(Classifier(), **loaders())
    assert [path.name for path in Path("runs").iterdir()] == ["1"]
    assert list(Path("runs/1").glob("events*"))


def test_a_logger_that_is_set_stays():
    trainer, own = Trainer(max_epochs=1, gpus=0, figures=False), pl.loggers.CSVLogger("csv")
    trainer.logger = own
    trainer.fit(Classifier(), **loaders())
    assert trainer.loggers == [own]
    assert not list(Path("runs/1").glob("events*"))


class Gaps(IterableDataset):
    """Four batches, and None in place of some, as a ``collate_fn`` gives for samples that cannot be read."""

    def __init__(self, *gaps):
        self.gaps = gaps

    def __iter__(self):
        batches = zip(*(tensor.split(25) for tensor in points(100)), strict=True)
        for index in range(4 + len(self.gaps)):
            yield None if index in self.gaps else next(batches)


def gaps(*indices):
    return DataLoader(Gaps(*indices), batch_size=None)


class OwnHook(pl.Callback):
    """Keeps steps in Lightning's own loop."""

    def on_after_backward(self, trainer, pl_module):
        pass


@pytest.mark.parametrize(
    "options", [{}, {"steps_per_execution": 2}, {"callbacks": [OwnHook()]}], ids=["fast", "executions", "slow"]
)
@pytest.mark.parametrize("where", [(0,), (2, 3), (4,)], ids=str)
def test_a_batch_that_is_none_is_skipped_with_a_warning(where, options):
    complete = fitted(Classifier, lambda: {"train_dataloaders": gaps()}, run_dir="complete", max_epochs=2)
    with pytest.warns(UserWarning, match="a training batch is None: it is skipped|train_dataloader yielded None"):
        model = fitted(Classifier, lambda: {"train_dataloaders": gaps(*where)}, run_dir="run", max_epochs=2, **options)
    assert_equal(model, complete)
    assert model.history["train_loss"] == complete.history["train_loss"]


def test_none_is_skipped_in_all_stages():
    model, trainer = Classifier(), Trainer(**OPTIONS, enable_checkpointing=False)
    for stage, run in (("val", trainer.validate), ("test", trainer.test)):
        expected = run(model, gaps(), verbose=False)
        with pytest.warns(UserWarning, match=f"a {stage} batch is None"):
            assert run(model, gaps(1), verbose=False) == expected
    with pytest.warns(UserWarning, match="a predict batch is None"):
        first, none, *_ = trainer.predict(model, gaps(1))
    assert (first.shape, none) == ((25, 2), None)


class NoClosure(torch.optim.SGD):
    def step(self, closure=None):
        return super().step()


class TakesNone(torch.optim.SGD):
    def step(self):
        return super().step()


@pytest.mark.parametrize("optimizer", [NoClosure, TakesNone])
@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2}], ids=str)
def test_an_optimizer_that_does_not_call_its_closure(optimizer, options):
    model = LightModel.from_net(nn.Linear(2, 2), loss="cross_entropy", optimizer=partial(optimizer, lr=0.1))
    with pytest.raises((ValueError, MisconfigurationException), match="closure") as raised:
        Trainer(max_epochs=1, run_dir="run", **OPTIONS, **options).fit(model, **loaders())
    assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=rf"{optimizer.__name__}.step must take a closure and call it"):
        model.train_on_batch(points(4))


class Averages(pl.callbacks.EMAWeightAveraging):
    runs_every_step = True


@pytest.mark.parametrize(
    ("make_callback", "name"),
    [
        (pl.callbacks.EMAWeightAveraging, "EMAWeightAveraging"),
        (partial(pl.callbacks.ModelCheckpoint, "own", every_n_train_steps=3), "ModelCheckpoint"),
        (pl.callbacks.LearningRateMonitor, "LearningRateMonitor"),
        (Averages, None),
        (partial(pl.callbacks.ModelCheckpoint, "own"), None),
        (pl.callbacks.Timer, None),
        (pl.callbacks.TQDMProgressBar, None),
    ],
    ids=["EMA", "every 3 steps", "rates", "EMA of every step", "checkpoints", "timer", "progress"],
)
def test_callbacks_that_miss_steps_are_named_in_a_warning(make_callback, name, recwarn):
    options = {"gpus": 0, "figures": False, "logger": pl.loggers.CSVLogger("csv")}
    Trainer(max_epochs=2, run_dir="run", steps_per_execution=4, callbacks=[make_callback()], **options).fit(
        Classifier(), **loaders()
    )
    found = {str(each.message).partition(",")[0] for each in recwarn if "runs_every_step" in str(each.message)}
    assert found == ({f"steps_per_execution=4: {name} is called once an execution"} if name else set())


def test_options_from_the_environment(monkeypatch):
    for name, value in {"MAX_EPOCHS": "3", "LIMIT_TRAIN_BATCHES": "0.4", "ENABLE_CHECKPOINTING": "False"}.items():
        monkeypatch.setenv(f"PL_TRAINER_{name}", value)
    monkeypatch.setenv("PL_TRAINER_ACCELERATOR", "cpu")
    model, trainer = Classifier(), Trainer(logger=False)
    trainer.fit(model, **loaders())
    assert (len(model.history), trainer.num_training_batches, trainer.checkpoint_callback) == (3, 2, None)
    assert (type(trainer.accelerator).__name__, Trainer(max_epochs=1).max_epochs) == ("CPUAccelerator", 1)
    monkeypatch.setenv("PL_TRAINER_ACCELERATOR", "nonsense")
    assert Trainer(gpus=0).num_devices == 1  # what is passed goes before the environment
    monkeypatch.setenv("PL_TRAINER_MAX_STEPS", "0")
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        Trainer(gpus=0)
    monkeypatch.delenv("PL_TRAINER_MAX_STEPS")
    monkeypatch.setenv("PL_TRAINER_GPUS", "1")
    with pytest.raises(ValueError, match="gpus cannot be set by PL_TRAINER_GPUS"):
        Trainer()


@pytest.mark.parametrize(
    ("signum", "kind", "code"),
    [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SIGTERMException, 143)],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_on_exception_receives_what_lightning_raises(signum, kind, code):
    class Watches(pl.Callback):
        seen: list = []  # noqa: RUF012

        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 3:
                os.kill(os.getpid(), signum)

        def on_exception(self, trainer, model, exception):
            self.seen.append(exception)

    watches, model = Watches(), Classifier()
    trainer = Trainer(max_epochs=2, run_dir="run", callbacks=[watches], **OPTIONS)
    if code is None:
        trainer.fit(model, **loaders())
    else:
        with pytest.raises(SystemExit) as raised:
            trainer.fit(model, **loaders())
        assert raised.value.code == code
    assert [isinstance(each, kind) for each in watches.seen] == [True]
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_lightning_cli_may_be_called_again_in_a_directory():
    def run(command, *flags):
        data = ["--data.num_rows=400", "--data.test_rows=100"]
        options = ["--trainer.accelerator=cpu", "--trainer.figures=false", *data, *flags]
        return LightningCLI(RingDNN, RingDataModule, trainer_class=Trainer, args=[command, *options])

    Path("config.yaml").write_text("mine: true\n")
    run("fit", "--trainer.max_epochs=1")
    last = "--ckpt_path=runs/1/checkpoints/last.ckpt"
    for command in ("test", "test", "validate", "predict", "predict"):
        run(command, last)
    again = run("fit", "--trainer.max_epochs=2", last)
    assert again.model.history["epoch"] == [1, 2]
    assert "max_epochs: 2" in Path("runs/1/config.yaml").read_text()
    assert Path("config.yaml").read_text() == "mine: true\n"
    run("fit", "--trainer.max_epochs=1")
    assert sorted(path.name for path in Path("runs").iterdir()) == ["1", "2"]
    assert Path("runs/2/config.yaml").exists()


def test_the_rate_that_the_tuner_found_is_that_of_a_wrapped_nets_optimizer():
    model = LightModel.from_net(nn.Linear(2, 2), loss="cross_entropy", optimizer="sgd")
    trainer = Trainer(max_epochs=30, enable_checkpointing=False, **OPTIONS)
    found = Tuner(trainer).lr_find(model, **loaders(), num_training=60)
    trainer.fit(model, **loaders(), max_epochs=1)
    assert model.lr == found.suggestion()
    assert model.history["lr"] == [found.suggestion()]
