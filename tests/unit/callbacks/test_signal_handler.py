"""Signals end training within a batch, with everything saved; a resumed run is the one never stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers import ROOT
from helpers.commands import command
from helpers.models import Classifier, points

from lightmodels import Trainer
from lightmodels.callbacks import signal_handler
from lightmodels.checkpointing.files import CheckpointError
from lightmodels.data.tensor_loader import TensorLoader

TRAIN = ROOT / "scripts" / "train.py"
TWO_PROCESSES = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


class Interrupts(pl.Callback):
    """Sends its own process a signal at some steps."""

    def __init__(self, *steps, signum=signal.SIGINT):
        self.steps, self.signum = steps, signum

    def on_train_batch_end(self, trainer, *_):
        for _ in range(self.steps.count(trainer.global_step)):
            signal.raise_signal(self.signum)


def fit(callbacks=(), trainer=None, model=None, **options):
    pl.seed_everything(0, verbose=False)
    model = model or Classifier(dropout=0.3)
    loaders = (
        TensorLoader(*points(53), batch_size=10, shuffle=True),
        TensorLoader(*points(17, 1), batch_size=9),
    )
    trainer = trainer or Trainer(max_epochs=3, callbacks=[*callbacks], logger=False, **options)
    return trainer, model, trainer.fit(model, *loaders)


def plain(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in history]


@pytest.mark.parametrize("step", [1, 3, 6, 8, 12, 17])
@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2}])
def test_ctrl_c_returns_the_history_and_a_further_fit_goes_on_exactly(step, options):
    handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    _, peaceful, expected = fit(run_dir="peaceful", **options)
    trainer, model, history = fit([Interrupts(step)], run_dir="run", **options)
    assert trainer.interrupted
    assert len(history) == step // 6
    assert trainer.predict(model, TensorLoader(*points(5), batch_size=2)).shape == (5, 2)
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers
    trainer.callbacks[0].steps = ()
    _, _, history = fit(trainer=trainer, model=model)
    assert plain(history) == plain(expected)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), peaceful.parameters(), strict=True))


def test_a_second_ctrl_c_aborts():
    with pytest.raises((KeyboardInterrupt, SystemExit)) as raised:
        fit([Interrupts(3, 3)], run_dir="run")
    cause = raised.value if raised.type is KeyboardInterrupt else raised.value.__context__
    assert isinstance(cause, KeyboardInterrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning leaves Ctrl-C ignored


def test_sigterm_saves_and_ends_with_its_code():
    with pytest.raises(SystemExit) as raised:
        fit([Interrupts(4, signum=signal.SIGTERM)], run_dir="run")
    assert raised.value.code == 143
    saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 4


STUCK = """
import signal, time
from lightmodels.callbacks import signal_handler
signal_handler.DEADLINE = 0.5
stop = signal_handler.SignalHandler()
stop.on_train_start(None, None)
signal.raise_signal(signal.SIGTERM)
time.sleep(60)
"""


def test_a_process_that_cannot_end_is_ended():
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-c", STUCK], timeout=50).returncode == 143
    assert time.monotonic() - started < 40
    assert signal_handler.DEADLINE == 30


def start(run_dir, *argv):
    """A training process in a process group of its own, once it has saved something."""
    process = subprocess.Popen(
        [sys.executable, TRAIN, "--run_dir", run_dir, *map(str, argv)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not Path(run_dir, "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def finish(run_dir, *argv):
    command_line = [sys.executable, TRAIN, "--run_dir", run_dir, *map(str, argv)]
    done = subprocess.run(command_line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return metrics(run_dir)


def metrics(run_dir):
    values = json.loads(Path(run_dir, "metrics.json").read_text())
    return {name: value for name, value in values.items() if name != "seconds"}


def assert_resumes(signum, expected, *options):
    process = start("run", *options)
    os.kill(process.pid, signum)
    _, err = process.communicate(timeout=40)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143}[signum], err
    assert not Path("run/metrics.json").exists()
    assert finish("run", "--resume", "last") == expected


SHORT = ("--save_every_n_steps", 10, "--trainer.figures", "false")


def test_a_killed_command_resumes_to_the_same_metrics(capfd):
    options = ("--max_epochs", 60, *SHORT)
    assert command(capfd, "train", "--run_dir", "peaceful", *options).code == 0
    assert_resumes(signal.SIGKILL, metrics("peaceful"), *options)


def test_two_processes_whose_launcher_is_terminated_resume_to_the_same_metrics():
    options = ("--max_epochs", 8, *SHORT, *TWO_PROCESSES)
    assert_resumes(signal.SIGTERM, finish("peaceful", *options), *options)


def children(process):
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


CASES = [("rank 1", signal.SIGTERM), ("group", signal.SIGINT)]  # the launcher: the test above


@pytest.mark.parametrize(("target", "signum"), CASES)
def test_two_processes_stop_whoever_gets_the_signal(target, signum):
    process = start("run", "--max_epochs", 100_000, *TWO_PROCESSES)
    (child,) = children(process)
    if target == "group":
        os.killpg(process.pid, signum)
    else:
        os.kill(child, signum)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 128 + signum, err
    assert "Traceback" not in err
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] > 0


@pytest.mark.parametrize("hook", ["on_train_epoch_end", "on_train_epoch_start", "on_validation_end"])
@pytest.mark.parametrize("epoch", [2, 5])
def test_a_stop_between_quick_epochs_which_share_a_save_loses_none(hook, epoch, monkeypatch):
    monkeypatch.setattr("lightmodels.callbacks.best_and_last.MIN_SECONDS_BETWEEN_SAVES", 1000.0)

    class Late(pl.callbacks.Checkpoint):
        """Called after ours, as its kind comes last: the epoch's state may be passed over already."""

    def interrupts(self, trainer, *_):
        if trainer.current_epoch == epoch and not trainer.sanity_checking:
            signal.raise_signal(signal.SIGINT)

    setattr(Late, hook, interrupts)
    options = {"max_epochs": 8, "mode": "max", "gpus": 0}
    pl.seed_everything(0, verbose=False)
    model = Classifier()
    trainer = Trainer(run_dir="run", **options)
    trainer.callbacks.append(Late())
    data = [
        TensorLoader(*points(53), batch_size=10, shuffle=True),
        TensorLoader(*points(17, 1), batch_size=9),
    ]
    trainer.fit(model, *data)
    assert trainer.interrupted
    saved = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == trainer.global_step
    assert len(saved["history"]["rows"]) == len(model.history) < 8


def test_a_signal_does_not_wait_for_the_end_of_an_execution():
    trainer, _, _ = fit([Sends(8)], run_dir="run", steps_per_execution=100)
    assert trainer.interrupted
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 8


class Sends(Interrupts):
    runs_every_step = True


def test_a_last_save_that_fails_is_told(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    class Fills(Interrupts):
        def on_train_batch_end(self, trainer, *_):
            super().on_train_batch_end(trainer)
            if trainer.global_step == 8:
                monkeypatch.setattr("lightmodels.checkpointing.files.replace_file", full)

    with pytest.raises(CheckpointError, match="No space left on device"):
        fit([Fills(8)], run_dir="run")
