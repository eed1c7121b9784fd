"""--logger: the same values, under the same names and at the same epochs, wherever they are logged."""

import csv
from pathlib import Path

import pytest
from helpers.browser import events
from helpers.commands import command, error_line, read_history, read_metrics

from lightmodels import RingDNN, Trainer
from lightmodels.visualization import loggers

SMALL = ("--max_epochs", 2, "--data.num_rows", 300, "--data.test_rows", 50, "--trainer.figures", "false")


@pytest.fixture
def train(capfd):
    def run(logger, run_dir="run", *flags):
        ended = command(capfd, "train", *SMALL, "--logger", logger, "--run_dir", run_dir, *flags)
        assert ended.code == 0, ended.err
        return ended

    return run


def expected_values():
    """By name, the values of a run's history and tests, and the best and final ones, as ``(epoch, value)``."""
    rows, metrics = read_history("run"), read_metrics("run")
    values = {name: [(row["epoch"], row[name]) for row in rows] for name in rows[0] if name != "epoch"}
    values |= {name: [(2, value)] for name, value in metrics.items() if name.startswith("test_")}
    for kind, epoch in (("best", metrics["best_epoch"]), ("final", 2)):
        row = rows[epoch - 1]
        values |= {f"summary/{kind}_{name}": [(2, row[name])] for name in row if name.startswith(("train_", "val_"))}
    return values


def approx(values):
    return {name: [(step, pytest.approx(value, rel=1e-6)) for step, value in each] for name, each in values.items()}


def test_a_csv_file_has_the_values_that_tensorboard_has(train, capfd):
    ended = train("csv")
    assert "tensorboard" not in ended.out
    with Path("run/csv/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    logged = {
        name: [(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in rows[0] if name != "step"
    }
    assert logged == expected_values()
    assert not list(Path("run").glob("events*"))
    train("tensorboard", "board")
    found = events("board")
    shown = {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}
    assert set(shown) == set(logged)
    same = {name: values for name, values in logged.items() if name not in ("seconds", "samples_per_second")}
    assert {name: shown[name] for name in same} == approx(same)
    assert "finished" in command(capfd, "lightmodels", "runs", "run").out
    _, line, *_ = command(capfd, "lightmodels", "compare", "run", "board").out.splitlines()
    assert line.split() == ["--logger", "csv", "tensorboard"]


def test_a_resumed_run_keeps_the_csv_file_of_the_epochs_before(train):
    train("csv")
    train("csv", "run", "--resume", "last", "--max_epochs", 3)
    steps = []
    for path in sorted(Path("run/csv").glob("*/metrics.csv")):
        with path.open() as file:
            steps.append([int(row["step"]) for row in csv.DictReader(file) if row["val_loss"]])
    assert steps == [[1, 2], [3]]


def test_no_logger_writes_metrics_json_and_history_csv_all_the_same(train):
    ended = train("none")
    files, _, last = ended.out.splitlines()[-3:]
    assert files == "run: metrics.json, history.csv, config.yaml, checkpoints"
    assert last.startswith("python scripts/predict.py")
    assert sorted(path.name for path in Path("run").iterdir()) == [
        "checkpoints", "config.yaml", "history.csv", "metrics.json",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_and_an_unknown_logger_are_one_line(name, capfd, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    line = error_line(command(capfd, "train", "--logger", name))
    assert line == f"train.py: --logger {name} needs a package that is not installed: pip install {name}"
    assert list(Path().iterdir()) == []
    with pytest.raises(ValueError, match="logger must be one of tensorboard, csv, wandb, mlflow, got 'excel'"):
        Trainer(logger="excel")


def test_mlflow_has_the_same_values_and_the_hyper_parameters(train):
    tracking = pytest.importorskip("mlflow.tracking")
    last = train("mlflow").out.splitlines()[-1]
    assert last == "mlflow ui --backend-store-uri sqlite:///run/mlflow.db"
    client = tracking.MlflowClient("sqlite:///run/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("lightmodels").experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert (run.data.params["lr"], run.data.params["num_rows"]) == ("0.03", "300")
    history = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    logged = {name: [(metric.step, metric.value) for metric in values] for name, values in history.items()}
    assert logged == expected_values()


def test_weights_and_biases_has_the_same_values_and_each_seed_is_a_run_of_its_own(train, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ended, end_run = [], loggers.end_run

    def watch(trainer):
        run = trainer.logger.experiment
        ended.append((run.name, dict(run.config), dict(run.summary)))
        end_run(trainer)

    monkeypatch.setattr(loggers, "end_run", watch)
    train("wandb", "run", "--seeds", 2)
    assert wandb.run is None
    assert [name for name, *_ in ended] == ["run/seed-0", "run/seed-1"]
    Path("run/seed-1").rename("seed")
    Path("run").rename("both")
    Path("seed").rename("run")
    expected = {name: values[-1][1] for name, values in expected_values().items()}
    _, config, summary = ended[1]
    assert (config["lr"], config["num_rows"]) == (RingDNN().hparams.lr, 300)
    assert {name: summary[name] for name in expected} == expected
