"""train.py and evaluate.py: files, output and exit codes."""

import json
import os
import re
import signal
import statistics
from pathlib import Path

import pytest
import torch
import yaml
from helpers import ROOT
from helpers.apart import TRAIN, started_apart
from helpers.commands import BUILT_IN, command, error_line, read_history, read_json, read_metrics, wait_until

from lightmodels.cli.tasks import TASKS

SMALL = ("--max_epochs", 2, "--data.num_rows", 400, "--data.test_rows", 200)
NO_FIGURES = ("--trainer.figures", "false")


@pytest.fixture
def train(capfd):
    return lambda *argv: command(capfd, "train", *argv)


def test_a_run_prints_a_table_and_its_results_writes_its_files_and_its_metrics_agree_with_the_history(train):
    assert train(*SMALL, *NO_FIGURES).code == 0
    code, out, err = train(*SMALL, "--seed", 3)
    assert (code, err) == (0, "")
    headline, *table, results, figures, columns, outer, inner, _, evaluate, predict, last = out.splitlines()
    assert headline.startswith("ring: RingDNN, 61 parameters; rows: 280 train, 120 val, 200 test; on 1 x ")
    assert [line.split()[0] for line in table] == ["epoch", "1", "2"]
    assert "test_acc" in results
    assert figures.startswith("accuracy 0.")
    assert columns.split() == ["class", "precision", "recall", "f1", "rows"]
    assert (outer[:10], inner[:10]) == ("outer ring", "inner ring")
    assert evaluate == "python scripts/evaluate.py --ckpt runs/ring/2/checkpoints/best.ckpt"
    assert predict == "python scripts/predict.py --ckpt runs/ring/2/checkpoints/best.ckpt INPUT"
    assert last == "tensorboard --logdir runs/ring/2"
    run = Path("runs/ring/2")
    assert sorted(path.name for path in run.parent.iterdir()) == ["1", "2"]
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    events = {name for name in files if name.startswith("events.out.tfevents")}
    assert events
    assert files - events - {"hparams.yaml"} == {
        "config.yaml", "history.csv", "metrics.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt",
        "figures/history.png", "figures/classes.png", "figures/decision_boundary.png",
    }  # fmt: skip
    metrics, rows = read_json(run / "metrics.json"), read_history(run)
    assert len(rows) == metrics["epochs"] == 2
    for name in ("train_loss", "train_acc", "val_loss", "val_acc"):
        assert rows[-1][name] == metrics[name]
    report = metrics["report"]
    assert report["accuracy"] == pytest.approx(metrics["test_acc"])
    assert sum(map(sum, report["confusion_matrix"])) == sum(each["rows"] for each in report["classes"].values()) == 200
    losses = [row["val_loss"] for row in rows]
    assert metrics["best_epoch"] == losses.index(min(losses)) + 1
    assert metrics.items() >= {"parameters": 61, "seed": 3, "devices": 1, "torch": torch.__version__}.items()
    assert set(metrics) >= {"seconds", "test_loss", "test_acc", "lightning"}


@pytest.mark.parametrize("task", BUILT_IN)
def test_every_task_evaluates_to_the_digits_of_its_training(capfd, runs, checkpoints, data_files, task):
    metrics = read_json(runs / task / "metrics.json")
    tested = command(capfd, "evaluate", "--ckpt", checkpoints[task], "--data-dir", data_files)
    assert tested.code == 0
    (line,) = tested.out.splitlines()
    assert json.loads(line) == {name: metrics[name] for name in metrics if name.startswith("test_")}


def test_the_saved_configuration_repeats_the_run(train):
    train(*SMALL, *NO_FIGURES, "--model.lr", 0.02, "--seed", 4, "--run_dir", "run")
    assert yaml.safe_load(Path("run/config.yaml").read_text())["model"]["lr"] == 0.02
    assert train("--config", "run/config.yaml", "--run_dir", "again").code == 0
    assert read_metrics("run") == read_metrics("again")


def test_without_flags_it_trains_the_ring_classifier(train):
    ended = train()
    assert ended.code == 0, ended.err
    assert ended.out.startswith("ring: RingDNN, 61 parameters; rows: 2,800 train")
    assert read_json("runs/ring/1/metrics.json")["val_acc"] >= 0.92


def test_flags_override_the_configuration_and_have_short_names_and_dashes(train):
    Path("recipe.yaml").write_text("task: linear\nmax_epochs: 5\nmodel:\n  lr: 0.3\n")
    flags = ("--max-epochs=1", "--data.num-rows", 50, "--trainer.devices", 2)
    short = ("--compile", "--precision", "bf16-mixed", "--steps-per-execution=4")
    ended = train("--config", "recipe.yaml", *flags, *short, "--print_config")
    config = yaml.safe_load(ended.out)
    assert (ended.code, config["task"], config["max_epochs"], config["model"]["lr"]) == (0, "linear", 1, 0.3)
    assert (config["data"]["num_rows"], config["seed"]) == (50, 0)
    chosen = {"devices": "2", "compile": True, "precision": "bf16-mixed", "steps_per_execution": 4, "max_time": None}
    assert config["trainer"].items() >= chosen.items()
    assert not Path("runs").exists()
    assert "compile: false" in train("--compile=false", "--print_config").out


@pytest.mark.parametrize("task", TASKS)
def test_help_is_about_a_page_that_begins_with_the_task(train, task, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # as where the page goes to a file
    lines = train("--task", task, "--help").out.splitlines()
    assert len(lines) <= (75 if task in BUILT_IN else 95)
    assert max(map(len, lines)) <= 110
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles[:5] == ["General:", "Run:", "Devices and directories:", "Resuming:", "Output:"]
    text = "\n".join(lines)
    assert len(set(titles)) == len(titles)
    assert not any(each in text for each in ("``", "null", "Optional[", "True", "False", " X|", "(256"))
    assert "--trainer.figures true|false" in text
    flags = "task gpus tpu_cores max_epochs seed data_dir run_dir resume config print_config precision compile"
    own = "model.masking data.max_length" if task == "reuters" else ""
    assert all(f"--{flag}" in text for flag in f"{flags} {own}".split())


BAD = [
    (["--task", "iris"], f"--task must be one of {', '.join(TASKS)}, got iris"),
    (["--model.lrr", 1], "unknown flag --model.lrr; did you mean --model.lr?"),
    (["--model.lrr=1"], "unknown flag --model.lrr; did you mean --model.lr?"),
    (["--nonsense"], "unknown flag --nonsense"),
    (["mnist"], "unknown argument mnist"),
    (["--model.lr", 0], "--model.lr must be a finite number above 0, got 0.0"),
    (["--model.lr", "nan"], "--model.lr must be a finite number, got nan"),
    (["--model.lr", "fast"], "--model.lr must be a finite number, got fast"),
    (["--model.lr"], "--model.lr needs a value"),
    (["--model.num_features", 3], "--model.num_features 3 does not fit the data, which has 2"),
    (["--task", "reuters", "--model.masking", 1], "--model.masking must be at least 0 and below 1"),
    (["--max_epochs", 0], "--max_epochs must be at least 1, got 0"),
    (["--max_epochs", 1.5], "--max_epochs must be a whole number, got 1.5"),
    (["--seed", -1], "--seed must be at least 0, got -1"),
    (["--seed", 2**32], "--seed must be below 2**32, got 4294967296"),
    (["--seeds", 1], "--seeds must be at least 2, got 1"),
    (["--tas", "linear"], "unknown flag --tas; did you mean --task?"),
    (["--config", "tasks.yaml"], f"--task must be one of {', '.join(TASKS)}, got ['ring']"),
    (["--trainer.limit_train_batches", "0"], "--trainer: no optimizer step was made: max_epochs="),
    (["--trainer.max_time", "00:00:00:00"], "--trainer: no optimizer step was made: max_epochs="),
    (["--trainer.val_check_interval", "1000"], "--trainer: `val_check_interval` (1000) must be less than"),
    (["--trainer.limit_val_batches", 0, "--trainer.monitor", "val_acc"],
     "--trainer.limit_val_batches must be above 0 for the monitor val_acc"),
    (["--trainer.max_steps", 5, "--trainer.min_steps", 6],
     "--trainer.min_steps must be at most max_steps, which is 5, got 6"),
    (["--trainer.patience", "-1"], "--trainer.patience must not be negative, got -1"),
    (["--save_every_n_steps", "0"], "--save_every_n_steps must be at least 1, got 0"),
    (["--data.batch_size", 0], "--data.batch_size must be at least 1, got 0"),
    (["--data.val_fraction", 1], "--data.val_fraction must be between 0 and 1, got 1.0"),
    (["--data.num_rows", 1], "--data.val_fraction must leave rows for training and for validation"),
    (["--gpus", 99], "--gpus=99 requested, but "),
    (["--gpus", "two"], "--gpus must be a number, -1 for all, or indices like 0,1, got 'two'"),
    (["--gpus", 1, "--tpu_cores", 1], "--gpus cannot be combined with tpu_cores"),
    (["--gpus", 0, "--trainer.accelerator", "cpu"], "--gpus cannot be combined with accelerator"),
    (["--tpu-cores", 1], "--tpu_cores=1 requested, but no TPU core is available"),
    (["--tf32", "--gpus", 0], "--trainer.tf32 needs a CUDA GPU, got cpu"),
    (["--quiet", "--verbose"], "--quiet cannot be combined with --verbose"),
    (["--quiet", "--model.lr", -1], "--model.lr must be a finite number above 0, got -1.0"),
    (["--trainer.precision", "8"], "--trainer.precision must be"),
    (["--trainer.mode", "least"], "--trainer.mode must be one of ['min', 'max'], got least"),
    (["--trainer.accelerator", "abacus"], "--trainer: You selected an invalid accelerator name"),
    (["--trainer.monitor", "val_f1"], "--trainer.monitor 'val_f1' is not available; the metrics"),
    (["--config", "none.yaml"], "--config none.yaml cannot be read (No such file or directory)"),
    (["--config", "list.yaml"], "--config list.yaml has no options"),
    (["--config", "broken.yaml"], "--config broken.yaml is not a YAML file"),
    (["--config", "odd.yaml"], "odd"),
    (["--config", "/dev/zero"], "--config /dev/zero is larger than 100 kB"),
    (["--run_dir", "used"], "used: the directory is not empty; choose a new one, or resume its run"),
    (["--run_dir", "list.yaml"], "list.yaml: not a directory"),
    (["--run_dir", "list.yaml/run"], "list.yaml/run: cannot create the run directory (Not a directory)"),
    (["--resume", "last"], "--resume last: nothing to resume, runs/ring has no runs"),
    (["--resume", "none.ckpt"], "--resume none.ckpt: nothing to resume, none.ckpt is not a file"),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "line"), BAD, ids=lambda value: " ".join(map(str, value)) * isinstance(value, list))
def test_wrong_input_gives_one_line_and_leaves_nothing(train, argv, line):
    Path("used").mkdir()
    Path("used/notes").touch()
    Path("list.yaml").write_text("- task\n")
    Path("broken.yaml").write_text("task: [\n")
    Path("odd.yaml").write_text("task: ring\nodd: 3\n")
    Path("tasks.yaml").write_text("task: [ring]\n")
    before = sorted(Path().rglob("*"))
    told = error_line(train(*argv), silent=False)
    assert told.startswith("train.py: ")
    assert line in told
    assert sorted(Path().rglob("*")) == before


@pytest.fixture
def resume(train):
    """Trains two epochs into ``run``; the function given trains on with other flags."""
    train(*SMALL, *NO_FIGURES, "--run_dir", "run")
    return lambda *argv: train("--resume", "last", "--run_dir", "run", *argv)


def test_a_finished_run_is_resumed_for_more_epochs_of_the_same_model(train, resume):
    message = "train.py: --resume last: already trained for 2 epochs; pass --max_epochs > 2"
    assert error_line(resume()) == message
    for other in (["--model.num_features", 3], ["--task", "linear"], ["--task", "linear", "--override"]):
        assert error_line(resume("--max_epochs", 4, *other))
    assert train("--resume", "run/checkpoints/last.ckpt", "--max_epochs", 3).code == 0
    assert read_json("run/metrics.json")["epochs"] == 3


@pytest.mark.parametrize(
    ("flag", "old", "new"),
    [("--model.lr", 0.03, 0.5), ("--data.batch_size", 100, 50), ("--seed", 0, 1)],
)
def test_a_resumed_run_keeps_its_settings_unless_they_are_overridden(resume, flag, old, new):
    assert f"{flag} was {old}, now {new}" in error_line(resume("--max_epochs", 4, flag, new))
    assert read_json("run/metrics.json")["epochs"] == 2
    ended = resume("--max_epochs", 4, flag, new, "--override")
    assert ended.code == 0, ended.err
    assert yaml.safe_load(Path("run/config.yaml").read_text())["max_epochs"] == 4
    rates = [row["lr"] for row in read_history("run")]
    assert len(rates) == 4
    assert (rates[2] > 0.1) == (flag == "--model.lr")


def test_a_run_that_diverges_fails_and_names_epoch_and_step(train):
    ended = train(*SMALL, "--run_dir", "run", "--model.lr", 1e30)
    assert re.search(r"loss is (nan|inf) in epoch \d+, step \d+", error_line(ended, 1, silent=False))
    assert not Path("run/metrics.json").exists()


SAVED = "the state is saved: to continue, pass --resume run/checkpoints/last.ckpt\n"
SIGNALS = [
    (signal.SIGINT, 130, f"train.py: interrupted; {SAVED}"),
    (signal.SIGTERM, 143, f"train.py: terminated; {SAVED}"),
]


@pytest.mark.parametrize(("signum", "code", "message"), SIGNALS)
def test_a_signal_ends_a_process_with_its_exit_code_and_whole_lines(train, signum, code, message):
    flags = ("--max_epochs", 100_000, "--data.test_rows", 200, *NO_FIGURES)
    with started_apart(TRAIN, *flags, "--run_dir", "run") as process:
        wait_until(Path("run/checkpoints/last.ckpt").exists, "the first checkpoint")
        os.kill(process.pid, signum)
        process.join()
    out, err = (path.read_text() for path in process.streams)
    assert (process.exitcode, err) == (code, message)
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["ring:", "epoch", "1"]
    done = len(torch.load("run/checkpoints/last.ckpt", weights_only=True)["history"]["rows"])
    assert train("--resume", "run/checkpoints/last.ckpt", "--max_epochs", done + 3).code == 0


def test_several_seeds_are_as_many_runs_with_mean_and_deviation(train):
    small = ("--max_epochs", 1, "--data.num_rows", 300, "--data.test_rows", 50, *NO_FIGURES)
    done = train("--seeds", 2, "--seed", 5, *small, "--run_dir", "runs/both")
    assert done.code == 0, done.err
    values = [read_json(f"runs/both/seed-{seed}/metrics.json")["test_loss"] for seed in (5, 6)]
    expected = f"2 seeds: test_loss {statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"
    assert done.out.splitlines()[-1].startswith(expected)
    train("--seed", 6, *small, "--run_dir", "runs/one")
    assert read_json("runs/one/metrics.json")["test_loss"] == values[1]


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_are_valid(train, path):
    ended = train("--config", path, "--print_config")
    assert (ended.code, ended.err) == (0, "")
    assert f"task: {path.stem.rpartition('-')[0].removesuffix('-same')}" in ended.out


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(train):
    Path("runs/ring/4").mkdir(parents=True)
    before = sorted(Path().rglob("*"))
    ended = train(*SMALL, "--dry_run", "--trainer.limit_train_batches", 0.7, "--seeds", 3)
    assert ended == (0, (
        "ring: RingDNN, 61 parameters; rows: 280 train, 120 val, 200 test; on 1 x cpu\n"
        "2 epochs of 2 batches of up to 100 rows\n"
        "run directory: runs/ring/5, for 3 seeds\n"
    ), "")  # fmt: skip
    ended = train("--task", "mnist", "--dry_run", "--data_dir", "none", "--run_dir", "here")
    first, second, last = ended.out.splitlines()
    assert first == "mnist: MNISTCNN, 53,994 parameters; rows: not known yet; on 1 x cpu"
    assert second.startswith("10 epochs; to download: MNIST/raw/train-images-idx3-ubyte.gz, ")
    assert (ended.code, ended.err, last) == (0, "", "run directory: here")
    assert error_line(train("--dry_run", "--gpus", 99)).startswith("train.py: --gpus=99 requested, but ")
    assert sorted(Path().rglob("*")) == before
