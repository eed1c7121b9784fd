"""All hooks of a LightModel are its user's: overridden without ``super()``, nothing of ours is lost."""

import pytest
import pytorch_lightning as pl
import torch
from helpers.checkpoints import different
from helpers.fits import loaders
from helpers.models import ManyMetrics

from lightmodels import LightModel, Trainer, load

WORK = ("transfer", "model_eval", "model_train", "zero_grad")  # parts of hooks that Lightning itself uses
NAMES = [name for name in dir(pl.LightningModule) if name.startswith(("on_", "setup", "teardown"))]
HOOKS = [name for name in NAMES if not any(part in name for part in WORK)]


def overriding(*names):
    """A model whose hooks of these names do nothing but count their calls."""

    class Own(ManyMetrics):
        calls: dict = {}  # noqa: RUF012

    def hook(name):
        def count(self, *args, **kwargs):
            self.calls[name] = self.calls.get(name, 0) + 1

        return count

    Own.calls = {}
    for name in names:
        setattr(Own, name, hook(name))
    return Own


def run(model_class, run_dir):
    """Two epochs, resumed for a third one, tested; the last checkpoint and the test's values."""
    options = {"gpus": 0, "logger": False, "figures": False, "run_dir": run_dir}
    pl.seed_everything(1, verbose=False)
    Trainer(max_epochs=2, **options).fit(model_class(), **loaders())
    last = run_dir / "checkpoints/last.ckpt"
    pl.seed_everything(2, verbose=False)
    model, trainer = model_class(), Trainer(max_epochs=3, **options)
    trainer.fit(model, **loaders(), ckpt_path=last)
    values = trainer.test(model, loaders()["val_dataloaders"], verbose=False)
    loaded = load(last, model_class)
    assert list(loaded.history) == list(model.history)
    assert trainer.best_epoch
    return torch.load(last, weights_only=True), values


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return run(ManyMetrics, tmp_path_factory.mktemp("expected") / "run")


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_that_is_overridden_without_super_loses_nothing(name, expected, tmp_path):
    model_class = overriding(name)
    checkpoint, values = run(model_class, tmp_path / "run")
    assert different(checkpoint, expected[0], ignore=("model_class",)) == {}
    assert values == expected[1]


def test_all_of_them_at_once(expected, tmp_path):
    model_class = overriding(*HOOKS)
    checkpoint, _ = run(model_class, tmp_path / "run")
    assert different(checkpoint, expected[0], ignore=("model_class",)) == {}
    assert model_class.calls["on_train_epoch_end"] == 3


class OwnCallbacks(ManyMetrics):
    def configure_callbacks(self):
        return pl.callbacks.Timer()


class MoreCallbacks(OwnCallbacks):
    def configure_callbacks(self):
        return [super().configure_callbacks()[-1], pl.callbacks.LambdaCallback()]


@pytest.mark.parametrize("model_class", [OwnCallbacks, MoreCallbacks])
def test_callbacks_of_ones_own_are_added_to_those_of_a_light_model(model_class, expected, tmp_path):
    checkpoint, values = run(model_class, tmp_path / "run")
    assert checkpoint["callbacks"].pop("Timer")
    assert different(checkpoint, expected[0], ignore=("model_class",)) == {}
    assert values == expected[1]
    plain = pl.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False)
    model = model_class()
    plain.fit(model, **loaders())
    plain.fit_loop.max_epochs = 3
    plain.fit(model, **loaders())
    assert model.history["epoch"] == [1, 2, 3]


def test_a_light_model_has_hardly_any_hook_of_its_own():
    own = [name for name in HOOKS if name in vars(LightModel)]
    assert own == ["on_load_checkpoint", "on_save_checkpoint"]  # for uses without a Trainer


def test_the_epochs_values_are_there_in_the_users_hooks(tmp_path):
    seen = []

    class Own(ManyMetrics):
        def on_validation_epoch_end(self):
            seen.append(("val", float(self.trainer.callback_metrics.get("val_loss", -1))))

        def on_train_epoch_end(self):
            seen.append(("train", self.history[-1]["train_loss"]))

    model = Own()
    options = {"gpus": 0, "logger": False, "figures": False, "num_sanity_val_steps": 0}
    Trainer(max_epochs=2, run_dir=tmp_path / "run", **options).fit(model, **loaders())
    rows = model.history
    assert seen == [pair for row in rows for pair in (("val", row["val_loss"]), ("train", row["train_loss"]))]
