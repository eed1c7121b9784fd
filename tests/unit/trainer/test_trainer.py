"""Trainer: run directory, best and last checkpoints, second fits, best weights in tests, device options."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, points
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import History, Trainer
from lightmodels.callbacks.optimizer_state import OverrideOptimizerOptions
from lightmodels.checkpointing.files import CheckpointError
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.trainer.run_directory import RunDirectoryError


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def loaders(batch_size=25):
    return TensorLoader(*points(103), batch_size=batch_size, shuffle=True), TensorLoader(
        *points(31, 1), batch_size=9
    )


def checkpoint(run_dir, name):
    return torch.load(Path(run_dir) / "checkpoints" / f"{name}.ckpt", weights_only=True)


def same_weights(state, other):
    return all(torch.equal(state[name], other[name]) for name in state)


def test_fit_returns_the_history_and_fills_the_run_directory():
    model = Classifier()
    trainer = Trainer(max_epochs=3, accelerator="cpu")
    history = trainer.fit(model, *loaders())
    assert isinstance(history, History)
    assert history is model.history
    assert trainer.run_dir == Path("runs/1")
    assert {path.name for path in Path("runs/1/checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert Trainer(max_epochs=1, accelerator="cpu").open_run() == Path("runs/2")


def test_tensorboard_has_the_history_by_epoch():
    model = Classifier()
    Trainer(max_epochs=3, run_dir="run").fit(model, *loaders())
    events = EventAccumulator("run")
    events.Reload()
    for name in ("train_loss", "val_loss", "train_acc", "val_acc", "lr", "seconds", "samples_per_second"):
        scalars = events.Scalars(name)
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        assert [scalar.value for scalar in scalars] == pytest.approx(model.history[name], rel=1e-6)
    assert "hp_metric" not in events.Tags()["scalars"]


class GetsWorse(Classifier):
    """Best after the first epoch."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, maximize=True)


def test_best_is_the_best_epoch_and_last_the_last():
    pl.seed_everything(3, verbose=False)
    model = GetsWorse()
    trainer = Trainer(max_epochs=4, run_dir="run")
    trainer.fit(model, *loaders())
    best = min(model.history, key=lambda row: row["val_loss"])["epoch"]
    assert best == 1
    assert trainer.best_epoch == best
    assert len(checkpoint("run", "best")["history"]["rows"]) == best
    assert len(checkpoint("run", "last")["history"]["rows"]) == 4
    assert same_weights(checkpoint("run", "last")["state_dict"], model.state_dict())
    assert not same_weights(checkpoint("run", "best")["state_dict"], model.state_dict())


@pytest.mark.parametrize(("monitor", "mode", "better"), [("val_acc", "max", max), ("train_loss", "min", min)])
def test_monitor_and_mode(monitor, mode, better):
    model = Classifier()
    trainer = Trainer(max_epochs=4, run_dir="run", monitor=monitor, mode=mode)
    trainer.fit(model, *loaders())
    values = model.history[monitor]
    assert trainer.best_epoch == values.index(better(values)) + 1


def test_an_unknown_monitor_is_named():
    with pytest.raises(ValueError, match="monitor 'val_f1' is not available; the metrics of an epoch are val_acc"):
        Trainer(max_epochs=1, run_dir="run", monitor="val_f1").fit(Classifier(), *loaders())


def test_the_best_weights_are_tested_and_the_model_keeps_its_own():
    pl.seed_everything(3, verbose=False)
    model, test = GetsWorse(), TensorLoader(*points(50, 2), batch_size=20)
    trainer = Trainer(max_epochs=4, run_dir="run")
    trainer.fit(model, *loaders())
    own = {name: value.clone() for name, value in model.state_dict().items()}
    (best,) = trainer.test(model, test, verbose=False)
    (last,) = trainer.test(model, test, verbose=False, ckpt_path=None)
    (named,) = trainer.test(model, test, verbose=False, ckpt_path="run/checkpoints/best.ckpt")
    assert same_weights(own, model.state_dict())
    assert len(model.history) == 4
    other = Trainer(logger=False, enable_checkpointing=False)
    expected = Classifier()
    expected.load_state_dict(checkpoint("run", "best")["state_dict"])
    assert best == named == other.test(expected, test, verbose=False)[0]
    assert last == other.test(model, test, verbose=False)[0] != best


def test_a_checkpoint_gives_the_same_model_back():
    model = Classifier(lr=0.02, dropout=0.1)
    Trainer(max_epochs=2, run_dir="run").fit(model, *loaders())
    again = Classifier.load_from_checkpoint("run/checkpoints/last.ckpt")
    assert same_weights(model.state_dict(), again.state_dict())
    assert dict(again.hparams) == {"lr": 0.02, "dropout": 0.1}
    assert list(again.history) == list(model.history)


def train(epochs, *, extended_to=None):
    pl.seed_everything(0, verbose=False)
    model, parts = Classifier(dropout=0.2), loaders()
    trainer = Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, num_sanity_val_steps=0)
    trainer.fit(model, *parts)
    if extended_to:
        trainer.test(model, parts[1], verbose=False)
        trainer.fit(model, *parts, max_epochs=extended_to)
    return model


def test_a_second_fit_trains_on_as_if_never_stopped():
    once, twice = train(5), train(3, extended_to=5)
    assert [row["epoch"] for row in twice.history] == [1, 2, 3, 4, 5]
    for name in ("train_loss", "val_loss", "lr"):
        assert twice.history[name] == once.history[name]
    assert same_weights(once.state_dict(), twice.state_dict())


def test_a_second_fit_through_lightnings_own_limit_and_one_with_a_new_trainer_append():
    model = Classifier()
    trainer = Trainer(max_epochs=2, run_dir="run")
    trainer.fit(model, *loaders())
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, *loaders())
    Trainer(max_epochs=2, run_dir="other").fit(model, *loaders())
    assert model.history["epoch"] == [1, 2, 3, 4, 5]


def test_a_second_fit_with_nothing_to_do_says_so():
    model = Classifier()
    trainer = Trainer(max_epochs=2, run_dir="run")
    trainer.fit(model, *loaders())
    with pytest.raises(ValueError, match="already trained for 2 epochs; pass max_epochs > 2"):
        trainer.fit(model, *loaders())


def test_hyper_parameters_that_a_checkpoint_cannot_give_back_are_named_before_training():
    class Odd(Classifier):
        def __init__(self, folder):
            super().__init__()
            self.save_hyperparameters()

    with pytest.raises(
        TypeError, match="hyper-parameter folder must be plain data, got PosixPath: convert it"
    ):
        Trainer(max_epochs=1, run_dir="run").fit(Odd(Path("here")), *loaders())


def test_patience_stops_early():
    pl.seed_everything(3, verbose=False)
    model = GetsWorse()
    Trainer(max_epochs=50, run_dir="run", patience=2).fit(model, *loaders())
    values = model.history["val_loss"]
    assert len(values) == values.index(min(values)) + 1 + 2


def test_a_used_directory_is_refused_and_untouched():
    Path("run").mkdir()
    Path("run/thesis.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match="run: the directory is not empty"):
        Trainer(max_epochs=1, run_dir="run").fit(Classifier(), *loaders())
    assert [path.name for path in Path("run").iterdir()] == ["thesis.txt"]


def test_callbacks_and_loggers_of_ones_own_take_the_place_of_ours():
    checkpoint = pl.callbacks.ModelCheckpoint("mine", monitor="val_loss")
    logger = pl.loggers.CSVLogger("csv")
    Trainer(max_epochs=2, callbacks=[checkpoint], logger=logger).fit(Classifier(), *loaders())
    assert Path(checkpoint.best_model_path).is_file()
    assert "val_loss" in (Path(logger.log_dir) / "metrics.csv").read_text()
    assert not Path("runs").exists()


def test_nothing_is_written_without_need():
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False)
    trainer.fit(Classifier(), *loaders())
    trainer.predict(Classifier(), loaders()[1])
    Trainer(fast_dev_run=True).fit(Classifier(), *loaders())
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("options", [{"gpus": 0}, {"gpus": "0"}, {"accelerator": "cpu", "devices": 1}])
def test_the_cpu_can_be_asked_for(options):
    assert Trainer(**options).strategy.root_device.type == "cpu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": 99}, "gpus=99 requested, but"),
        ({"gpus": 0, "accelerator": "cpu"}, "gpus cannot be combined with accelerator"),
        ({"gpus": 1, "tpu_cores": 1}, "gpus cannot be combined with tpu_cores"),
    ],
)
def test_device_options_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Trainer(**options)


def test_the_table_shows_one_aligned_row_an_epoch(capsys):
    model = Classifier()
    Trainer(max_epochs=3, run_dir="run").fit(model, *loaders())
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["epoch", "train_loss", "train_acc", "val_loss", "val_acc", "lr", "seconds"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert {len(row.removesuffix(" *")) for row in rows} == {len(header)}
    assert float(rows[1].split()[3]) == pytest.approx(model.history[1]["val_loss"], abs=6e-5)


def val_loss_of(run_dir, name, val):
    """The validation loss of a checkpoint's weights."""
    model = Classifier()
    model.load_state_dict(checkpoint(run_dir, name)["state_dict"])
    other = Trainer(logger=False, enable_checkpointing=False)
    return other.validate(model, val, verbose=False)[0]["val_loss"]


@pytest.mark.parametrize("options", [{"check_val_every_n_epoch": 2}, {"val_check_interval": 2}, {}])
@pytest.mark.parametrize("model_class", [Classifier, GetsWorse])
def test_the_best_checkpoint_has_the_best_validation_whenever_that_is(options, model_class):
    pl.seed_everything(0, verbose=False)
    model, (train, val) = model_class(), loaders()
    seen = []

    class Watch(pl.Callback):
        def on_validation_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                seen.append((trainer.callback_metrics["val_loss"].item(), trainer.current_epoch + 1))

    trainer = Trainer(max_epochs=4, run_dir="run", callbacks=[Watch()], **options)
    trainer.fit(model, train, val)
    assert (val_loss_of("run", "best", val), trainer.best_epoch) == min(seen)


def test_the_best_weights_are_tested_after_a_resume_that_brought_no_better_ones():
    pl.seed_everything(3, verbose=False)
    Trainer(max_epochs=2, run_dir="run").fit(GetsWorse(), *loaders())
    resumed, model = Trainer(max_epochs=4, run_dir="run"), GetsWorse()
    resumed.fit(model, *loaders(), ckpt_path="run/checkpoints/last.ckpt")
    assert (resumed.best_epoch, len(model.history)) == (1, 4)
    val = loaders()[1]
    assert (
        resumed.validate(model, val, ckpt_path="best", verbose=False)[0]["val_loss"]
        == model.history[0]["val_loss"]
    )


def test_a_resumed_run_without_a_name_stays_in_its_directory():
    Trainer(max_epochs=1, run_dir="run").fit(Classifier(), *loaders())
    trainer = Trainer(max_epochs=2)
    trainer.fit(Classifier(), *loaders(), ckpt_path="run/checkpoints/last.ckpt")
    assert trainer.run_dir == Path("run")
    assert not Path("runs").exists()


def test_the_best_of_a_checkpoint_callback_of_ones_own():
    pl.seed_everything(3, verbose=False)
    model, (train, val) = GetsWorse(), loaders()
    checkpoint = pl.callbacks.ModelCheckpoint("mine", monitor="val_loss")
    trainer = Trainer(max_epochs=3, callbacks=[checkpoint], logger=False)
    trainer.fit(model, train, val)
    (best,) = trainer.validate(model, val, ckpt_path="best", verbose=False)
    assert best["val_loss"] == min(model.history["val_loss"])


def test_predictions_of_the_best_weights_leave_the_model_alone():
    pl.seed_everything(3, verbose=False)
    model, (train, val) = GetsWorse(), loaders()
    trainer = Trainer(max_epochs=3, run_dir="run")
    trainer.fit(model, train, val)
    before = trainer.predict(model, val)
    best = trainer.predict(model, val, ckpt_path="best")
    assert not torch.equal(before, best)
    assert torch.equal(trainer.predict(model, val), before)


def test_a_trainer_fits_one_model():
    trainer = Trainer(max_epochs=1, run_dir="run")
    trainer.fit(Classifier(), *loaders())
    with pytest.raises(ValueError, match="this Trainer was fitted with another model"):
        trainer.fit(Classifier(), *loaders(), max_epochs=2)


def test_without_a_model_there_is_nothing_to_test():
    with pytest.raises(ValueError, match="there is no model: give one, or fit one first"):
        Trainer(logger=False, enable_checkpointing=False).test()


def test_patience_without_validation_watches_the_training_loss_and_starts_anew_in_a_second_fit():
    pl.seed_everything(3, verbose=False)
    model, (train, _) = GetsWorse(), loaders()
    trainer = Trainer(max_epochs=50, run_dir="run", patience=2)
    trainer.fit(model, train)
    assert len(model.history) == 3
    trainer.fit(model, train)
    assert len(model.history) == 3 + 2


def test_a_plain_lightning_module_is_trained_and_kept_too():
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


def test_another_rate_is_used_after_a_resume_only_if_asked_for():
    def resumed(callbacks):
        model = Classifier(lr=0.02)
        trainer = Trainer(max_epochs=4, callbacks=callbacks, logger=False, run_dir="run")
        trainer.fit(model, *loaders(), ckpt_path="run/checkpoints/last.ckpt")
        return model.history["lr"]

    Trainer(max_epochs=2, run_dir="run", logger=False).fit(Classifier(lr=0.08), *loaders())
    saved = Path("run/checkpoints/last.ckpt").read_bytes()
    assert resumed([]) == [0.08, 0.08, 0.04, 0.04]
    Path("run/checkpoints/last.ckpt").write_bytes(saved)
    assert resumed([OverrideOptimizerOptions()]) == [0.08, 0.08, 0.01, 0.01]


def test_a_loader_without_a_position_is_warned_of_when_epochs_are_saved_inside():
    loader = DataLoader(TensorDataset(*points(20)), batch_size=5, shuffle=True)
    with pytest.warns(UserWarning, match="resuming inside an epoch is not exact"):
        Trainer(max_epochs=1, run_dir="run", save_every_n_steps=2).fit(Classifier(), loader)


def test_processes_that_do_not_share_the_run_directory_are_told_so(monkeypatch):
    monkeypatch.setattr(
        "lightmodels.utils.distributed.all_gather_objects", lambda mine, world_size: [mine, not mine]
    )
    with pytest.raises(CheckpointError, match="all machines must share the run directory"):
        Trainer(max_epochs=1, accelerator="cpu").fit(Classifier(), *loaders())
