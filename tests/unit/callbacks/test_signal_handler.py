"""Signals stop training after the current batch, with everything saved; a resumed run continues exactly."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.apart import TRAIN, run_apart, started_apart
from helpers.commands import command
from helpers.models import Classifier, points

from lightmodels import Trainer
from lightmodels.callbacks import signal_handler
from lightmodels.checkpointing.files import CheckpointError
from lightmodels.data.tensor_loader import TensorLoader

SECONDS = 600  # far more than anything here takes, even on a busy machine
LAST = "run/checkpoints/last.ckpt"


def saved():
    return torch.load(LAST, weights_only=True)


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
    train = TensorLoader(*points(53), batch_size=10, shuffle=True)
    defaults = {"max_epochs": 3, "callbacks": [*callbacks], "logger": False, "run_dir": "run"}
    trainer = trainer or Trainer(**defaults | options)
    return trainer, model, trainer.fit(model, train, TensorLoader(*points(17, 1), batch_size=9))


def without_times(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in history]


@pytest.mark.parametrize("step", [1, 3, 6, 8, 12, 17])
@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2}])
def test_ctrl_c_returns_the_history_and_the_next_fit_continues_exactly(step, options):
    signals = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(signum) for signum in signals]
    _, uninterrupted, expected = fit(run_dir="uninterrupted", **options)
    trainer, model, history = fit([Interrupts(step)], **options)
    assert trainer.interrupted
    assert len(history) == step // 6
    assert trainer.predict(model, TensorLoader(*points(5), batch_size=2)).shape == (5, 2)
    assert [signal.getsignal(signum) for signum in signals] == handlers
    trainer.callbacks[0].steps = ()
    _, _, history = fit(trainer=trainer, model=model)
    assert without_times(history) == without_times(expected)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), uninterrupted.parameters(), strict=True))


def test_a_second_ctrl_c_aborts():
    with pytest.raises((KeyboardInterrupt, SystemExit)) as raised:
        fit([Interrupts(3, 3)])
    cause = raised.value if raised.type is KeyboardInterrupt else raised.value.__context__
    assert isinstance(cause, KeyboardInterrupt)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning leaves Ctrl-C ignored


def test_sigterm_saves_and_exits_with_143():
    with pytest.raises(SystemExit) as raised:
        fit([Interrupts(4, signum=signal.SIGTERM)])
    assert raised.value.code == 143
    assert saved()["global_step"] == 4


def test_a_signal_does_not_wait_for_the_end_of_an_execution():
    class Sends(Interrupts):
        runs_every_step = True

    trainer, _, _ = fit([Sends(8)], steps_per_execution=100)
    assert trainer.interrupted
    assert saved()["global_step"] == 8


def test_a_failure_to_save_is_reported(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    class Fills(Interrupts):
        def on_train_batch_end(self, trainer, *_):
            super().on_train_batch_end(trainer)
            if trainer.global_step == 8:
                monkeypatch.setattr("lightmodels.checkpointing.files.replace_file", full)

    with pytest.raises(CheckpointError, match="No space left on device"):
        fit([Fills(8)])


@pytest.mark.parametrize("hook", ["on_train_epoch_end", "on_train_epoch_start", "on_validation_end"])
@pytest.mark.parametrize("epoch", [2, 5])
def test_a_signal_after_a_skipped_save_loses_no_epoch(hook, epoch, monkeypatch):
    monkeypatch.setattr("lightmodels.callbacks.best_and_last.MIN_SECONDS_BETWEEN_SAVES", 1000.0)

    def interrupts(self, trainer, *_):
        if trainer.current_epoch == epoch and not trainer.sanity_checking:
            signal.raise_signal(signal.SIGINT)

    # Checkpoint callbacks are called last: after ours, which may have skipped the save already.
    late = type("Late", (pl.callbacks.Checkpoint,), {hook: interrupts})
    trainer = Trainer(run_dir="run", max_epochs=8, mode="max", gpus=0)
    trainer.callbacks.append(late())
    _, model, _ = fit(trainer=trainer)
    assert trainer.interrupted
    assert saved()["global_step"] == trainer.global_step
    assert len(saved()["history"]["rows"]) == len(model.history) < 8


HANGS = """
import signal, time
from types import SimpleNamespace
from lightmodels.callbacks import signal_handler
signal_handler.DEADLINE = 0.5
handler = signal_handler.SignalHandler()
handler.on_train_start(SimpleNamespace(global_step=0), None)
signal.raise_signal(signal.SIGTERM)
time.sleep(3600)
"""


def test_a_process_that_hangs_is_killed():
    Path("hangs.py").write_text(HANGS)
    run_apart("hangs.py", code=143)
    assert signal_handler.DEADLINE == 30


def test_ctrl_c_does_not_kill_a_single_process_whose_validation_is_long():
    timers = []

    class Listens(pl.Callback):
        def on_validation_epoch_end(self, trainer, *_):
            if not trainer.sanity_checking:
                signal.raise_signal(signal.SIGINT)
                timers.extend(each for each in threading.enumerate() if isinstance(each, threading.Timer))

    trainer, _, history = fit([Listens()])
    assert trainer.interrupted
    assert len(history) == 1
    assert timers == []


SENDS = """
import os, signal
from datetime import timedelta
from lightmodels.cli.main import program
from torch import distributed as dist
from lightmodels.callbacks.signal_handler import SignalHandler

on_train_batch_end = SignalHandler.on_train_batch_end

def send_signal(self, trainer, *arguments):
    if trainer.global_step == 20:
        {prepare}
    if trainer.global_step == 25 and trainer.global_rank == {rank}:
        {kill}, {signum:d})
    on_train_batch_end(self, trainer, *arguments)

SignalHandler.on_train_batch_end = send_signal
program("train")
"""
ITSELF, GROUP = "os.kill(os.getpid()", "os.killpg(os.getpgrp()"
OPTIONS = ("--max_epochs", 3, "--data.test_rows", 500, "--save_every_n_steps", 10, "--trainer.figures", "false")
TWO_PROCESSES = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")


def train_and_signal(signum, *options, rank=0, kill=ITSELF, prepare="pass", code=None, **apart):
    """Trains in processes of a new group, of which the one with this rank sends a signal after 25 steps."""
    Path("sends.py").write_text(SENDS.format(rank=rank, kill=kill, prepare=prepare, signum=signum))
    with started_apart("sends.py", "--run_dir", "run", *options, **apart) as process:
        process.join(SECONDS)
        err = Path("sends.err").read_text()
        assert "Traceback" not in err
        assert process.exitcode == (128 + signum if code is None else code), err
        assert_ended(process.pid)
    return err


def metrics(run_dir):
    values = json.loads(Path(run_dir, "metrics.json").read_text())
    return {name: value for name, value in values.items() if name != "seconds"}


def test_a_killed_command_resumes_to_the_same_metrics(capfd):
    assert command(capfd, "train", "--run_dir", "uninterrupted", *OPTIONS).code == 0
    train_and_signal(signal.SIGKILL, *OPTIONS, code=-signal.SIGKILL)
    assert not Path("run/metrics.json").exists()
    assert command(capfd, "train", "--run_dir", "run", "--resume", "last").code == 0
    assert metrics("run") == metrics("uninterrupted")


def test_two_processes_whose_launcher_is_terminated_resume_to_the_same_metrics():
    run_apart(TRAIN, "--run_dir", "uninterrupted", *OPTIONS, *TWO_PROCESSES, processes=2)
    Path("sends.py").write_text(SENDS.format(rank=0, kill=ITSELF, prepare="pass", signum=signal.SIGTERM))
    argv = [sys.executable, "sends.py", "--run_dir", "run", *map(str, OPTIONS), *TWO_PROCESSES]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS)
    assert (ended.returncode, "Traceback" in ended.stderr) == (143, False), ended.stderr
    assert saved()["global_step"] == 25
    run_apart(TRAIN, "--run_dir", "run", "--resume", "last", processes=2)
    assert metrics("run") == metrics("uninterrupted")


# The second is Ctrl-C in a terminal, where Lightning has launched the other process.
CASES = [(1, ITSELF, signal.SIGTERM, 2), (0, GROUP, signal.SIGINT, 1)]


@pytest.mark.parametrize(("rank", "kill", "signum", "processes"), CASES, ids=["rank 1", "group"])
def test_both_processes_stop_whichever_gets_the_signal(rank, kill, signum, processes):
    options = ("--max_epochs", 100_000, *TWO_PROCESSES)
    train_and_signal(signum, *options, rank=rank, kill=kill, processes=processes)
    assert saved()["global_step"] >= 25


SHORTER = "dist.set_timeout(timedelta(seconds=2))"  # than what processes need to start


def test_a_stopped_process_ends_the_others_with_one_line():
    """Lightning launches the second process, and nobody else can end it."""
    options = ("--max_epochs", 100_000, "--save_every_n_steps", 10, *TWO_PROCESSES)
    err = train_and_signal(signal.SIGSTOP, *options, rank=1, prepare=SHORTER, code=1)
    lines = [line for line in err.splitlines() if line.startswith("sends.py:")]
    assert lines == ["sends.py: process 0: another process of this run has not answered for 600 s (timeout)"]
    assert saved()["global_step"] >= 20


def test_the_limit_of_waiting_is_the_trainers_timeout():
    processes = {"accelerator": "cpu", "devices": 2}
    assert Trainer(**processes).strategy._timeout.total_seconds() == 600
    assert Trainer(**processes, timeout=7).strategy._timeout.total_seconds() == 7
    own = pl.strategies.DDPStrategy(timeout=timedelta(seconds=9))
    assert Trainer(**processes, strategy=own).strategy._timeout.total_seconds() == 9
    with pytest.raises(ValueError, match="timeout must be a finite number above 0, got 0"):
        Trainer(timeout=0)


def assert_ended(group):
    deadline = time.monotonic() + SECONDS
    while is_running(group):
        assert time.monotonic() < deadline, "a process is still running after its launcher has ended"
        time.sleep(0.1)


def is_running(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
