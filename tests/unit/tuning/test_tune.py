"""tune: values against single fits, pruning against medians, and studies that continue."""

import itertools
import signal
import statistics
import weakref

import pytest
import pytorch_lightning as pl
import sqlalchemy
import torch
from helpers.models import Points
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lightmodels import LightModel, Trainer, tune
from lightmodels.tuning.space import Range
from lightmodels.tuning.study import open_study, run_trials

x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
DATA = (x, x @ torch.tensor([[2.0], [-3.0]]))
CPU = {"gpus": 0, "max_epochs": 3}


def linear(lr=0.1, hidden=()):
    sizes = [2, *hidden, 1]
    layers = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
    return LightModel.from_net(
        nn.Sequential(*layers), loss="mse", optimizer=lambda weights: torch.optim.SGD(weights, lr=lr)
    )


class Known(LightModel):
    """A model whose val_loss is ``value``, plus one in the first epoch."""

    def __init__(self, value):
        super().__init__(nn.Linear(2, 1))
        self.value = value

    def shared_step(self, batch):
        first = 0 if len(self.history) else 1
        return {"loss": self(batch[0]).mean() * 0 + self.value + first}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_the_best_value_is_that_of_a_single_fit(capsys, tmp_path):
    result = tune(linear, DATA, {"lr": [1e-6, 0.1], "hidden": [[], [3, 2]]}, trials=4, seed=5, **CPU)
    out = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in out] == [f"trial {number}" for number in range(4)]
    assert result.best_params["lr"] == 0.1
    assert result.best_params["hidden"] in ([], [3, 2])
    assert not list(tmp_path.iterdir())
    pl.seed_everything(5, verbose=False)
    model = linear(**result.best_params)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(5))
    kept, held = ([tensor[rows] for tensor in DATA] for rows in (order[:-12], order[-12:]))
    trainer = Trainer(logger=False, enable_checkpointing=False, **CPU)
    trainer.fit(model, train_data=tuple(kept), validation_data=tuple(held), batch_size=48)
    full = tune(
        linear, DATA, {"lr": [0.1], "hidden": [result.best_params["hidden"]]}, trials=1, seed=5, batch_size=48, **CPU
    )
    assert full.best_value == pytest.approx(min(model.history["val_loss"]), rel=1e-5)


def test_trials_above_the_median_are_pruned():
    result = tune(Known, DATA, {"value": "0.0..1.0"}, trials=20, **CPU)
    complete = []
    for trial in result.study.trials:
        first = trial.intermediate_values[1]
        assert first == pytest.approx(trial.params["value"] + 1)
        is_worse = len(complete) >= 5 and first > statistics.median(value + 1 for value in complete)
        assert (trial.state.name == "PRUNED") == is_worse
        if not is_worse:
            assert trial.value == pytest.approx(trial.params["value"])  # of the best epoch, not the first
            complete.append(trial.params["value"])
    assert 5 < len(complete) < 20
    assert result.best_value == pytest.approx(min(complete))


def test_the_larger_value_wins_where_larger_is_better():
    class Accurate(Known):
        def shared_step(self, batch):
            return {**super().shared_step(batch), "acc": self(batch[0]).mean().detach() * 0 + self.value}

    result = tune(Accurate, DATA, {"value": [0.2, 0.8]}, trials=8, monitor="val_acc", **CPU)
    assert (result.best_value, result.best_params) == (pytest.approx(0.8), {"value": 0.8})
    assert result.trials[0].params == {"value": 0.8}


def test_a_trial_that_diverges_does_not_end_the_study(capsys):
    result = tune(linear, DATA, {"lr": [1e30, 0.1]}, trials=8, **CPU)
    errors = {trial.params["lr"]: trial.user_attrs.get("error", "") for trial in result.study.trials}
    assert errors[0.1] == ""
    assert "in epoch 1" in errors[1e30]
    assert "failed: loss is" in capsys.readouterr().out
    assert result.best_params == {"lr": 0.1}
    only = tune(linear, DATA, {"lr": [1e30]}, trials=2, **CPU)
    with pytest.raises(ValueError, match="No trials are completed yet"):
        _ = only.best_value


def test_a_study_continues_in_its_directory(tmp_path):
    space = {"lr": "1e-4..1e-1"}
    first = tune(linear, DATA, space, trials=2, run_dir=tmp_path / "study", **CPU)
    before = [trial.params for trial in first.study.trials]
    again = tune(linear, DATA, space, trials=3, run_dir=tmp_path / "study", **CPU)
    assert [trial.params for trial in again.study.trials[:2]] == before
    assert len(again.study.trials) == 3
    events = EventAccumulator(str(tmp_path / "study" / "trials" / "2")).Reload()
    assert "_hparams_/session_start_info" in events.summary_metadata
    losses = [event.value for event in events.Scalars("val_loss")]
    assert min(losses) == pytest.approx(again.study.trials[2].value, rel=1e-6)


class NoTest(Points):
    def test_dataloader(self):
        raise AssertionError("the test rows were used")


def test_the_test_rows_are_not_used():
    class Classifier(LightModel):
        def __init__(self, lr):
            super().__init__(nn.Linear(2, 2))
            self.lr = lr

        def shared_step(self, batch):
            return {"loss": nn.functional.cross_entropy(self(batch[0]), batch[1])}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.lr)

    assert tune(Classifier, NoTest(batch_size=50), {"lr": "0.1..1.0"}, trials=1, **CPU).best_value > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": "train_loss"}, "monitor must be a validation metric, such as val_loss, got 'train_loss'"),
        ({"monitor": "val_x"}, "monitor 'val_x': pass mode='min' or mode='max'"),
        ({"monitor": "val_acc"}, "monitor must be one of val_loss for tuning, got 'val_acc'"),
        ({"validation_split": 0.0}, "data must have validation rows, which decide on the best trial"),
        ({"storage": "nowhere/j.log", "study": "a"}, "storage nowhere/j.log cannot be used: No such file or directory"),
        ({"storage": "nodb://x", "study": "a"}, "storage nodb://x cannot be used: "),
    ],
    ids=["train", "direction", "unknown", "no rows", "journal", "database"],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        tune(linear, DATA, {"lr": [0.1]}, trials=1, **CPU, **options)


@pytest.mark.parametrize("statement", ["INSERT INTO trials", "INSERT INTO trial_params", "UPDATE trials SET state"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_ctrl_c_inside_a_transaction_waits_for_its_end(statement, when):
    """Else the process's own connection may hold the lock of the file that its next transaction waits for."""
    seen = []

    def send(connection, cursor, text, *_):
        if text.startswith(statement):
            seen.append(text)
            if len(seen) == 2:  # of the second trial
                signal.raise_signal(signal.SIGINT)

    study = open_study("sqlite:///study.db", "a", "val_loss", None, 0)
    sqlalchemy.event.listen(sqlalchemy.Engine, f"{when}_cursor_execute", send)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_trials(study, 5, {"x": Range(0.0, 1.0, False)}, lambda trial, params: params["x"], lambda trial: None)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, f"{when}_cursor_execute", send)
    assert len(seen) >= 2
    states = [trial.state.name for trial in study.get_trials()]
    assert "RUNNING" not in states
    assert 2 <= len(states) <= 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("where", ["train", "report"])
def test_ctrl_c_while_an_object_is_destroyed_is_not_lost(where):
    """Python prints and drops what is raised then."""

    def interrupt(name):
        if name == where:
            target = nn.Identity()
            reference = weakref.ref(target, lambda _: signal.raise_signal(signal.SIGINT))
            del target
            assert reference() is None

    def train(trial, params):
        interrupt("train")
        return params["x"]

    study, handler = open_study(None, "a", "val_loss", None, 0), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_trials(study, 5, {"x": Range(0.0, 1.0, False)}, train, lambda trial: interrupt("report"))
    assert [trial.state.name for trial in study.trials] == {"train": ["FAIL"], "report": ["COMPLETE", "FAIL"]}[where]
    assert signal.getsignal(signal.SIGINT) is handler
