"""BestAndLastCheckpoint: last.ckpt is the newest state, best.ckpt the one with the best monitored metric."""

import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, GetsWorse, points
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import Trainer
from lightmodels.checkpointing.files import CheckpointError
from lightmodels.data.tensor_loader import TensorLoader

LAST = "run/checkpoints/last.ckpt"


def loaders():
    train = TensorLoader(*points(103), batch_size=25, shuffle=True)
    return train, TensorLoader(*points(31, 1), batch_size=9)


def fitted(model, **options):
    """A trainer that has fitted the model in the directory ``run``."""
    trainer = Trainer(**{"run_dir": "run", "accelerator": "cpu"} | options)
    trainer.fit(model, *loaders())
    return trainer


def same_weights(state, other):
    return all(torch.equal(state[name], other[name]) for name in state)


def test_best_is_the_best_epoch_and_last_the_last():
    pl.seed_everything(3, verbose=False)
    model = GetsWorse()
    trainer = fitted(model, max_epochs=4)
    best, last = (torch.load(f"run/checkpoints/{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert trainer.best_epoch == len(best["history"]["rows"]) == 1
    assert len(last["history"]["rows"]) == 4
    assert same_weights(last["state_dict"], model.state_dict())
    assert not same_weights(best["state_dict"], model.state_dict())


@pytest.mark.parametrize(("monitor", "mode", "better"), [("val_acc", "max", max), ("train_loss", "min", min)])
def test_monitor_and_mode(monitor, mode, better):
    model = Classifier()
    trainer = fitted(model, max_epochs=4, monitor=monitor, mode=mode)
    values = model.history[monitor]
    assert trainer.best_epoch == values.index(better(values)) + 1


def test_an_unknown_monitor_is_reported():
    message = "monitor 'val_f1' is not available; the metrics of an epoch are val_acc"
    with pytest.raises(ValueError, match=message):
        fitted(Classifier(), max_epochs=1, monitor="val_f1")


@pytest.mark.parametrize("options", [{"check_val_every_n_epoch": 2}, {"val_check_interval": 2}, {}])
@pytest.mark.parametrize("model_class", [Classifier, GetsWorse])
def test_the_best_checkpoint_is_that_of_the_best_validation(options, model_class):
    seen = []

    class Watch(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                seen.append((trainer.callback_metrics["val_loss"].item(), trainer.current_epoch + 1))

    pl.seed_everything(0, verbose=False)
    model = model_class()
    trainer = fitted(model, max_epochs=4, callbacks=[Watch()], **options)
    (best,) = trainer.validate(model, loaders()[1], ckpt_path="best", verbose=False)
    assert (best["val_loss"], trainer.best_epoch) == min(seen)


def test_a_resumed_run_remembers_its_best_epoch():
    pl.seed_everything(3, verbose=False)
    fitted(GetsWorse(), max_epochs=2)
    resumed, model = Trainer(max_epochs=4, run_dir="run"), GetsWorse()
    resumed.fit(model, *loaders(), ckpt_path=LAST)
    assert (resumed.best_epoch, len(model.history)) == (1, 4)
    (best,) = resumed.validate(model, loaders()[1], ckpt_path="best", verbose=False)
    assert best["val_loss"] == model.history[0]["val_loss"]


class Climbs(pl.Callback):
    """Makes the loss worse from the fourth epoch on; raises an error or Ctrl-C at the start of the sixth."""

    def __init__(self, ends):
        self.ends = ends

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 3:
            trainer.optimizers[0].param_groups[0].update(maximize=True, lr=10.0)
        if trainer.current_epoch == 5 and self.ends == "fails":
            raise RuntimeError("no")
        if trainer.current_epoch == 5 and self.ends == "interrupted":
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("ends", ["ends", "fails", "interrupted"])
def test_the_best_of_epochs_that_share_a_save_is_the_same(ends, monkeypatch):
    saved = []
    for seconds in (0, 1000):
        monkeypatch.setattr("lightmodels.callbacks.best_and_last.MIN_SECONDS_BETWEEN_SAVES", seconds)
        pl.seed_everything(0, verbose=False)
        with pytest.raises(RuntimeError, match="no") if ends == "fails" else nullcontext():
            fitted(Classifier(), max_epochs=7, run_dir=f"{seconds}", callbacks=[Climbs(ends)], figures=False)
        saved.append(torch.load(f"{seconds}/checkpoints/best.ckpt", weights_only=True))
    assert [len(best["history"]["rows"]) for best in saved] == [3, 3]
    assert same_weights(saved[0]["state_dict"], saved[1]["state_dict"])
    newest = torch.load("1000/checkpoints/last.ckpt", weights_only=True)
    assert len(newest["history"]["rows"]) == {"ends": 7, "fails": 3, "interrupted": 5}[ends]


def test_any_lightning_module_is_saved():
    class Plain(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def training_step(self, batch, batch_idx):
            return self.layer(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    assert Trainer(max_epochs=2, run_dir="run").fit(Plain(), loaders()[0]) is None
    assert [path.name for path in Path("run/checkpoints").iterdir()] == ["last.ckpt"]


def test_hyperparameters_that_cannot_be_saved_are_reported_before_training():
    class Odd(Classifier):
        def __init__(self, folder):
            super().__init__()
            self.save_hyperparameters()

    with pytest.raises(TypeError, match=r"folder must be plain data .*got PosixPath"):
        fitted(Odd(Path("here")), max_epochs=1)


def test_non_finite_weights_are_not_saved():
    class Breaks(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                pl_module.net[3].bias.data[1] = torch.inf

    with pytest.raises(FloatingPointError, match=r"weight net\.3\.bias is not finite; the last checkpoint"):
        fitted(Classifier(), max_epochs=2, callbacks=[Breaks()])
    assert len(torch.load(LAST, weights_only=True)["history"]["rows"]) == 1


def test_a_dataloader_without_state_is_warned_about_if_epochs_are_saved_inside():
    loader = DataLoader(TensorDataset(*points(20)), batch_size=5, shuffle=True)
    with pytest.warns(UserWarning, match="resuming inside an epoch is not exact"):
        Trainer(max_epochs=1, run_dir="run", save_every_n_steps=2).fit(Classifier(), loader)


def test_a_run_directory_that_is_not_shared_is_reported(monkeypatch):
    gather = lambda mine, world_size: [mine, not mine]  # noqa: E731
    monkeypatch.setattr("lightmodels.utils.distributed.all_gather_objects", gather)
    with pytest.raises(CheckpointError, match="all machines must share the run directory"):
        fitted(Classifier(), max_epochs=1)
