"""Trainer: run directory, second fits, which weights are tested, early stopping, device options."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, GetsWorse, points

from lightmodels import History, Trainer
from lightmodels.callbacks.optimizer_state import OverrideOptimizerOptions
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.trainer.run_directory import RunDirectoryError

LAST = "run/checkpoints/last.ckpt"
NO_FILES = {"logger": False, "enable_checkpointing": False}


@pytest.fixture(autouse=True)
def seeded():
    pl.seed_everything(3, verbose=False)


def loaders():
    train = TensorLoader(*points(103), batch_size=25, shuffle=True)
    return train, TensorLoader(*points(31, 1), batch_size=9)


def fitted(model, **options):
    """A trainer that has fitted the model, by default in the directory ``run``."""
    trainer = Trainer(**{"run_dir": "run", "accelerator": "cpu"} | options)
    trainer.fit(model, *loaders())
    return trainer


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


def test_a_used_run_directory_is_refused_and_untouched():
    Path("run").mkdir()
    Path("run/thesis.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match="run: the directory is not empty"):
        fitted(Classifier(), max_epochs=1)
    assert [path.name for path in Path("run").iterdir()] == ["thesis.txt"]


def test_a_resumed_run_stays_in_its_directory():
    fitted(Classifier(), max_epochs=1)
    trainer = Trainer(max_epochs=2)
    trainer.fit(Classifier(), *loaders(), ckpt_path=LAST)
    assert trainer.run_dir == Path("run")
    assert not Path("runs").exists()


def test_no_files_are_written_unnecessarily():
    trainer = fitted(Classifier(), max_epochs=1, run_dir=None, **NO_FILES)
    trainer.predict(Classifier(), loaders()[1])
    fitted(Classifier(), run_dir=None, fast_dev_run=True)
    assert list(Path().iterdir()) == []


def test_given_checkpoint_callbacks_and_loggers_replace_ours():
    checkpoint = pl.callbacks.ModelCheckpoint("mine", monitor="val_loss")
    logger, model = pl.loggers.CSVLogger("csv"), GetsWorse()
    trainer = fitted(model, max_epochs=2, run_dir=None, callbacks=[checkpoint], logger=logger)
    (best,) = trainer.validate(model, loaders()[1], ckpt_path="best", verbose=False)
    assert best["val_loss"] == min(model.history["val_loss"])
    assert "val_loss" in (Path(logger.log_dir) / "metrics.csv").read_text()
    assert not Path("runs").exists()


def test_testing_needs_a_model():
    with pytest.raises(ValueError, match="there is no model: give one, or fit one first"):
        Trainer(**NO_FILES).test()


def train(epochs, *, extended_to=None):
    model, parts = Classifier(dropout=0.2), loaders()
    trainer = Trainer(max_epochs=epochs, num_sanity_val_steps=0, **NO_FILES)
    trainer.fit(model, *parts)
    if extended_to:
        trainer.test(model, parts[1], verbose=False)
        trainer.fit(model, *parts, max_epochs=extended_to)
    return model


def test_a_second_fit_continues_exactly():
    once = train(5)
    pl.seed_everything(3, verbose=False)
    twice = train(3, extended_to=5)
    assert [row["epoch"] for row in twice.history] == [1, 2, 3, 4, 5]
    for name in ("train_loss", "val_loss", "lr"):
        assert twice.history[name] == once.history[name]
    assert same_weights(once.state_dict(), twice.state_dict())


def test_fits_with_lightnings_own_limit_and_with_a_new_trainer_extend_the_history():
    model = Classifier()
    trainer = fitted(model, max_epochs=2)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, *loaders())
    fitted(model, max_epochs=2, run_dir="other")
    assert model.history["epoch"] == [1, 2, 3, 4, 5]


def test_a_fit_that_has_nothing_to_do_or_another_model_is_refused():
    model = Classifier()
    trainer = fitted(model, max_epochs=2)
    with pytest.raises(ValueError, match="already trained for 2 epochs; pass max_epochs > 2"):
        trainer.fit(model, *loaders())
    with pytest.raises(ValueError, match="this Trainer was fitted with another model"):
        trainer.fit(Classifier(), *loaders(), max_epochs=3)


def test_a_new_learning_rate_overrides_the_checkpoint_only_on_request():
    def resumed(callbacks):
        model = Classifier(lr=0.02)
        trainer = Trainer(max_epochs=4, callbacks=callbacks, logger=False, run_dir="run")
        trainer.fit(model, *loaders(), ckpt_path=LAST)
        return model.history["lr"]

    fitted(Classifier(lr=0.08), max_epochs=2)
    saved = Path(LAST).read_bytes()
    assert resumed([]) == [0.08, 0.08, 0.04, 0.04]
    Path(LAST).write_bytes(saved)
    assert resumed([OverrideOptimizerOptions()]) == [0.08, 0.08, 0.01, 0.01]


def test_patience_stops_training_early():
    model = GetsWorse()
    fitted(model, max_epochs=50, patience=2)
    values = model.history["val_loss"]
    assert len(values) == values.index(min(values)) + 1 + 2


def test_patience_monitors_the_training_loss_without_validation_and_starts_anew_in_a_second_fit():
    model, trainer = GetsWorse(), Trainer(max_epochs=50, run_dir="run", patience=2)
    trainer.fit(model, loaders()[0])
    assert len(model.history) == 3
    trainer.fit(model, loaders()[0])
    assert len(model.history) == 3 + 2


@pytest.mark.parametrize("options", [{"gpus": 0}, {"gpus": "0"}, {"accelerator": "cpu", "devices": 1}])
def test_the_cpu_can_be_chosen(options):
    assert Trainer(**options).strategy.root_device.type == "cpu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": 99}, "gpus=99 requested, but"),
        ({"gpus": 0, "accelerator": "cpu"}, "gpus cannot be combined with accelerator"),
    ],
)
def test_impossible_device_options_are_reported(options, message):
    with pytest.raises(ValueError, match=message):
        Trainer(**options)


def test_the_table_shows_one_aligned_row_per_epoch(capsys):
    model = Classifier()
    fitted(model, max_epochs=3)
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["epoch", "train_loss", "train_acc", "val_loss", "val_acc", "lr", "seconds"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert {len(row.removesuffix(" *")) for row in rows} == {len(header)}
    assert float(rows[1].split()[3]) == pytest.approx(model.history[1]["val_loss"], abs=6e-5)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "all", None])
def test_an_invalid_number_of_steps_is_refused(steps):
    with pytest.raises(ValueError, match="steps_per_execution must be at least 1, or 'auto'"):
        Trainer(steps_per_execution=steps)
