"""lightmodels tune: from flags to a study, its best configuration, and several processes on one study."""

import os
import signal
from functools import partial
from pathlib import Path

import optuna
import pytest
import yaml
from helpers.apart import LIGHTMODELS, started_apart
from helpers.commands import command, error_line, read_history, wait_until

from lightmodels.cli import tune_flags
from lightmodels.cli.tune_flags import find_space, split_flags
from lightmodels.tuning.space import Choices, Range

SMALL = ("--task", "ring", "--data.num_rows", 200, "--data.test_rows", 50, "--max_epochs", 2, "--gpus", 0)
RATES = ("--model.lr", "1e-3..1e-1")


def tune(capfd, *flags):
    return command(capfd, "lightmodels", "tune", *flags)


def space_of(*flags):
    fixed, candidates = split_flags([str(flag) for flag in flags])
    return find_space(fixed, candidates), fixed


def test_the_best_configuration_trains_to_the_best_value(capfd):
    ended = tune(capfd, *SMALL, *RATES, "--data.batch_size=20,50", "--trials", 3)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "ring: 3 trials, compared by val_loss; the test rows are not used"
    assert [line.split(":")[0] for line in lines[1:4]] == ["trial 0", "trial 1", "trial 2"]
    assert lines[4:6] == ["3 complete, 0 pruned, 0 failed", lines[5]]
    assert lines[5].split() == ["trial", "val_loss", "model.lr", "data.batch_size"]
    assert lines[-2:] == [
        "tensorboard --logdir runs/tune-ring/1",
        "lightmodels train --config runs/tune-ring/1/config.yaml",
    ]
    study = optuna.load_study(study_name="ring", storage="sqlite:///runs/tune-ring/1/study.db")
    assert lines[6].split()[:2] == [str(study.best_trial.number), f"{study.best_value:.4f}"]
    best = yaml.safe_load(Path("runs/tune-ring/1/config.yaml").read_text())
    assert best["model"]["lr"] == study.best_params["model.lr"]
    assert best["trainer"]["figures"] is True
    assert "holds no runs" in error_line(command(capfd, "lightmodels", "runs"))  # it is no run itself
    assert command(capfd, *lines[-1].split()).code == 0
    losses = [row["val_loss"] for row in read_history("runs/ring/1")]
    assert min(losses) == pytest.approx(study.best_value, rel=1e-6)


def test_a_study_continues_with_the_same_flags_only(capfd):
    flags = (*SMALL, *RATES, "--run_dir", "study")
    assert tune(capfd, *flags, "--trials", 1).code == 0
    ended = tune(capfd, *flags, "--trials", 2)
    assert ended.out.startswith("ring: 2 trials, of which 1 are done, compared by val_loss on 60 validation rows")
    assert ended.out.count("\ntrial 1: ") == 1
    changed = error_line(tune(capfd, *flags, "--model.lr", "1e-3..1", "--trials", 3))
    assert changed.startswith("lightmodels tune: --model.lr was Range(low=0.001, high=0.1, whole=False) in this study")
    assert "--data.num_rows was 200 in this study, now 300" in error_line(tune(capfd, *flags, "--data.num_rows", 300))
    assert len(list(Path("study/trials").iterdir())) == 2


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("model.hidden", "[64],[256,128]", Choices(["[64]", "[256,128]"])),
        ("model.hidden", "64,128", None),  # one net of two layers
        ("model.activation", "relu,elu", Choices(["relu", "elu"])),
        ("model.lr", "0.1, 0.01", Choices(["0.1", "0.01"])),
        ("model.l2", "0..1", Range(0, 1, False)),  # a flag for any number
        ("data.batch_size", "16..64", Range(16, 64, True)),
        ("trainer.gradient_clip_val", "0.1..10", Range(0.1, 10.0, False)),
    ],
)
def test_what_is_searched(flag, value, expected):
    space, fixed = space_of("--task", "housing", "--model.dropout", "0..0.5", f"--{flag}", value)
    assert space.get(flag) == expected
    assert space["model.dropout"] == Range(0.0, 0.5)
    assert fixed == ["--task", "housing", *([] if expected else [f"--{flag}={value}"])]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "nothing to search: give a flag a range, such as --model.lr 1e-4..1e-1, or a list of values"),
        (("--model.lr", "0..1"), "--model.lr must be a finite number above 0, got 0.0"),
        (("--model.lr", "1..0.1"), "--model.lr must be a range from a lower to a higher number, got 1..0.1"),
        (("--model.lr", "0.1,fast"), "--model.lr must be a finite number, got fast"),
        (("--model.speed", "1..2"), "unknown flag --model.speed"),
        (("--max_epochs", "1..2"), "--max_epochs must be a whole number, got 1..2"),
        ((*RATES, "--trials", 0), "--trials must be at least 1, got 0"),
        (
            (*RATES, "--resume", "last"),
            "--resume is a flag of train, not of tune; to continue a study, repeat its command with --run_dir",
        ),
        ((*RATES, "--study", "a"), "--storage and --study must be given together"),
        (
            (*RATES, "--storage", "nowhere/a.log", "--study", "a"),
            "--storage nowhere/a.log cannot be used: No such file",
        ),
        ((*RATES, "--trainer.monitor", "val_f1"), "--trainer.monitor must be one of val_acc, val_loss for tuning"),
        ((*RATES, "--trainer.monitor", "val_x"), "--trainer.monitor 'val_x': pass mode='min' or mode='max'"),
    ],
    ids=lambda case: "-".join(map(str, case[-2:])) if isinstance(case, tuple) else "",
)
def test_bad_flags(capfd, flags, message):
    line = error_line(tune(capfd, "--quiet", *(flag for flag in SMALL if flag != 2 and flag != "--max_epochs"), *flags))
    assert message in line
    assert not Path("runs").exists()


def test_without_optuna(capfd, monkeypatch):
    monkeypatch.setattr(tune_flags, "find_spec", lambda name: None)
    assert error_line(tune(capfd)) == "lightmodels tune: tune needs Optuna: pip install optuna"


def test_only_failed_trials(capfd):
    ended = tune(capfd, *SMALL, "--model.lr", "1e30,1e31", "--trials", 2, "--quiet")
    assert "none of 2 trials was completed" in error_line(ended, code=1)


def test_a_journal_file(capfd):
    flags = (*SMALL, *RATES, "--storage", "journal.log", "--study", "shared")
    assert [tune(capfd, *flags, "--trials", count).code for count in (1, 2)] == [0, 0]
    assert sorted(path.name for path in Path("runs/tune-ring").iterdir()) == ["1", "2"]  # a directory for each
    assert Path("runs/tune-ring/2/config.yaml").is_file()


def trials_of(name):
    """The numbers of the trials that a process has printed."""
    path = Path(f"{name}.out")
    lines = path.read_text().splitlines() if path.is_file() else []
    return {int(line.split()[1].rstrip(":")) for line in lines if line.startswith("trial ") and ":" in line}


def has_ended_or_made_three_trials(name, process):
    return process.exitcode is not None or len(trials_of(name)) > 2


def test_two_processes_share_a_study_and_ctrl_c_keeps_it(capfd):
    flags = (*SMALL, *RATES, "--storage", "sqlite:///shared.db", "--study", "shared")
    many = (LIGHTMODELS, "tune", *flags, "--trials", 10000)
    with started_apart(*many, name="first") as first, started_apart(*many, name="second") as second:
        processes = {"first": first, "second": second}
        for name, process in processes.items():
            ready = partial(has_ended_or_made_three_trials, name, process)
            wait_until(ready, f"three trials of the {name} process")
            assert process.exitcode is None, Path(f"{name}.err").read_text()
        for process in processes.values():
            os.kill(process.pid, signal.SIGINT)
            process.join(120)
    for name, process in processes.items():
        assert process.exitcode == 130
        told = "interrupted; the study is saved: to continue it, repeat the command with --run_dir runs/tune-ring/"
        assert told in Path(f"{name}.err").read_text()
    study = optuna.load_study(study_name="shared", storage="sqlite:///shared.db")
    done = {trial.number for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")}
    first, second = trials_of("first"), trials_of("second")
    assert not first & second
    assert first | second <= done
    assert len(done) <= len(first | second) + 2  # Ctrl-C may come between a trial and its line
    rates = [trial.params["model.lr"] for trial in study.trials if trial.params]
    assert len(set(rates)) == len(rates)
    ended = tune(capfd, *flags, "--trials", len(done) + 1)
    assert f"of which {len(done)} are done" in ended.out
