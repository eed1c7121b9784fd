"""Where a resumed run goes on, what ``"last"`` and ``"best"`` mean, and what is refused before anything is written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.fits import loaders
from helpers.models import Classifier, GetsWorse
from torch.optim import lr_scheduler

from lightmodels import Trainer
from lightmodels.checkpointing.files import CheckpointError
from lightmodels.trainer.run_directory import RunDirectoryError, RunLock

OPTIONS = {"gpus": 0, "logger": False, "figures": False}


def fit(max_epochs=1, ckpt_path=None, model=None, **options):
    trainer = Trainer(max_epochs=max_epochs, **OPTIONS, **options)
    trainer.fit(model or Classifier(), **loaders(), ckpt_path=ckpt_path)
    return trainer


def epochs_in(run_dir):
    return len(torch.load(f"{run_dir}/checkpoints/last.ckpt", weights_only=True)["history"]["rows"])


def snapshot(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_a_run_goes_on_in_its_directory_if_none_is_named():
    fit(run_dir="A")
    assert fit(2, "A/checkpoints/last.ckpt").run_dir == Path("A")
    assert fit(3, "A/checkpoints/best.ckpt", run_dir="A").run_dir == Path("A")
    os.chdir("A/checkpoints")
    assert fit(4, "last.ckpt").run_dir.resolve() == Path("../..").resolve() / "A"


@pytest.mark.parametrize("named", [{"run_dir": "B"}, {"default_root_dir": "C"}])
@pytest.mark.parametrize("file", ["last.ckpt", "x.ckpt"])
def test_a_directory_that_is_named_is_used_and_the_old_run_untouched(named, file):
    fit(run_dir="A", model=GetsWorse())
    Path("A/checkpoints/x.ckpt").write_bytes(Path("A/checkpoints/last.ckpt").read_bytes())
    before = snapshot("A")
    trainer = fit(3, f"A/checkpoints/{file}", model=GetsWorse(), **named)
    assert trainer.run_dir in (Path("B"), Path("C/1"))
    assert epochs_in(trainer.run_dir) == 3
    assert snapshot("A") == before
    best = torch.load(trainer.run_dir / "checkpoints/best.ckpt", weights_only=True)
    assert (best["epoch"], trainer.best_epoch) == (0, 1)  # that of the old run


def test_a_checkpoint_that_is_not_in_a_run_starts_a_new_one():
    fit(run_dir="A", model=GetsWorse())
    Path("models/pretrained").mkdir(parents=True)
    Path("A/checkpoints/last.ckpt").rename("models/pretrained/x.ckpt")
    trainer = fit(2, "models/pretrained/x.ckpt", model=GetsWorse())
    assert trainer.run_dir == Path("runs/1")
    assert list(Path("models/pretrained").iterdir()) == [Path("models/pretrained/x.ckpt")]
    assert trainer.best_epoch == 2  # the best of this run, as the old one is not there
    assert torch.load("runs/1/checkpoints/best.ckpt", weights_only=True)["epoch"] == 1


def test_last_and_best_are_those_of_the_run_directory():
    fit(3, run_dir="A", model=GetsWorse())
    trainer = fit(4, "last", run_dir="A", model=GetsWorse())
    assert epochs_in("A") == 4
    trainer.fit(trainer.lightning_module, **loaders(), ckpt_path="best", max_epochs=5)
    assert len(trainer.lightning_module.history) == 5


@pytest.mark.parametrize(
    ("ckpt_path", "options", "message"),
    [
        ("last", {}, "ckpt_path='last': there is no run yet; pass run_dir, or the checkpoint's path"),
        ("best", {}, "ckpt_path='best': there is no run yet"),
        ("last", {"run_dir": "B"}, "B/checkpoints/last.ckpt: there is no such checkpoint"),
        ("hpc", {}, "hpc: there is no such checkpoint"),
        ("nowhere.ckpt", {}, "nowhere.ckpt: there is no such checkpoint"),
        ("folder", {}, "folder: is a directory; pass a checkpoint file"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_written(ckpt_path, options, message):
    Path("folder").mkdir()
    with pytest.raises((ValueError, CheckpointError), match=message) as error:
        fit(1, ckpt_path, **options)
    assert isinstance(error.value, FileNotFoundError) == ("no such" in message)
    assert list(Path().iterdir()) == [Path("folder")]


def test_a_resume_with_nothing_left_to_train_is_an_error():
    fit(2, run_dir="A")
    before = snapshot("A")
    with pytest.raises(ValueError, match="no optimizer step was made after 2 epochs and 10 steps: max_epochs=2"):
        fit(2, "A/checkpoints/last.ckpt")
    assert snapshot("A") == before
    with pytest.raises(ValueError, match=r"no optimizer step was made after .* 10 steps.*max_steps=10"):
        fit(9, "A/checkpoints/last.ckpt", max_steps=10)


def test_manual_optimization_by_a_foreign_optimizer_has_trained():
    class Foreign(Classifier):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.mine = torch.optim.SGD(self.parameters(), lr=0.1)

        def configure_optimizers(self):
            return None

        def training_step(self, batch, batch_idx):
            values = self.shared_step(batch)
            self.mine.zero_grad()
            values["loss"].backward()
            self.mine.step()
            self.log_batch(values, batch)

    assert len(fit(2, model=Foreign()).lightning_module.history) == 2


LOCKS = """
import os, sys, time
from pathlib import Path
from lightmodels.trainer.run_directory import RunLock
lock = RunLock(Path(sys.argv[1]))
if not os.fork():  # as loaders do for their workers, which may outlive a process that is killed
    time.sleep(600)
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_run_is_trained_by_one_process_at_a_time():
    fit(run_dir="A")
    before = snapshot("A")
    other = [sys.executable, "-c", LOCKS, "A"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(other, text=True, **pipes) as process:
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(RunDirectoryError, match="A: another process is training this run") as error:
            fit(2, "A/checkpoints/last.ckpt")
        assert "\n" not in str(error.value)
        assert snapshot("A") == before
        process.kill()  # a lock dies with its process
        process.wait()
        trainer = fit(2, "A/checkpoints/last.ckpt")
        os.killpg(process.pid, signal.SIGKILL)  # and its worker
    fit(3, "A/checkpoints/last.ckpt")  # after a fit it is free again
    trainer.fit(trainer.lightning_module, **loaders(), max_epochs=3)
    RunLock(Path("A")).release()


class OneCycle(Classifier):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@pytest.mark.parametrize("way", ["first fit", "second fit", "resumed"])
def test_a_schedule_that_ends_before_the_training_is_named_before_the_first_step(way):
    model, message = OneCycle(), r"OneCycleLR ends after 10 steps, but training has 15: "
    if way == "first fit":
        with pytest.raises(ValueError, match=message):
            fit(3, model=model)
        assert not model.history
        return
    trainer = fit(2, run_dir="A", model=model)
    again = {
        "second fit": lambda: trainer.fit(model, **loaders(), max_epochs=3),
        "resumed": lambda: fit(3, "A/checkpoints/last.ckpt", model=OneCycle()),
    }
    with pytest.raises(ValueError, match=message):
        again[way]()
    assert len(model.history) == 2
    assert epochs_in("A") == 2


class Freezes(Classifier):
    """Its optimizer has the parameters that are not frozen."""

    make = torch.optim.Adam

    def configure_optimizers(self):
        return type(self).make([weight for weight in self.parameters() if weight.requires_grad], lr=0.01)


def steps_of(trainer):
    """How many updates each parameter's state has seen, by the parameter's name."""
    (optimizer,) = trainer.optimizers
    names = {weight: name for name, weight in trainer.lightning_module.named_parameters()}
    return {names[weight]: int(state["step"]) for weight, state in optimizer.state.items()}


def test_the_state_of_parameters_that_are_still_trained_is_kept():
    model = Freezes()
    model.net[0].requires_grad_(False)
    trainer = fit(1, model=model)
    model.net[0].requires_grad_(True)
    with pytest.warns(UserWarning, match="kept the state of 2 of 4 parameters, all else starts anew"):
        trainer.fit(model, **loaders(), max_epochs=2)
    first, last = dict.fromkeys(("net.0.weight", "net.0.bias"), 5), dict.fromkeys(("net.3.weight", "net.3.bias"), 10)
    assert steps_of(trainer) == first | last
    model.net[3] = torch.nn.Linear(8, 2)  # another head
    with pytest.warns(UserWarning, match="kept the state of 2 of 4 parameters"):
        trainer.fit(model, **loaders(), max_epochs=3)
    assert steps_of(trainer) == dict.fromkeys(first, 10) | dict.fromkeys(last, 5)


def test_another_optimizer_or_schedule_starts_anew(monkeypatch):
    model = Freezes()
    trainer = fit(1, model=model)
    monkeypatch.setattr(Freezes, "make", torch.optim.RMSprop)
    with pytest.warns(UserWarning, match="kept the state of 0 of 4 parameters"):
        trainer.fit(model, **loaders(), max_epochs=2)
    assert set(steps_of(trainer).values()) == {5}

    def with_schedule(self):
        optimizer = torch.optim.RMSprop(self.parameters(), lr=0.02)
        return [optimizer], [lr_scheduler.ExponentialLR(optimizer, 0.5)]

    monkeypatch.setattr(Freezes, "configure_optimizers", with_schedule)
    with pytest.warns(UserWarning, match="kept the state of 4 of 4 parameters"):
        trainer.fit(model, **loaders(), max_epochs=3)
    assert set(steps_of(trainer).values()) == {10}
    assert model.history[-1]["lr"] == 0.02
    trainer.fit(model, **loaders(), max_epochs=4)
    assert model.history[-1]["lr"] == 0.01


def test_a_slurm_checkpoint_belongs_to_its_run_and_the_next_run_starts_anew(monkeypatch):
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "job", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_LOCALID", "SLURM_NODEID"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(subprocess, "call", lambda *args, **kwargs: 0)  # scontrol requeue

    class Requeued(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 3:
                os.kill(os.getpid(), signal.SIGUSR1)

    options = {"default_root_dir": "C", "devices": 1, "accelerator": "cpu", "num_nodes": 1}
    options = {**OPTIONS, "gpus": None, **options}
    Trainer(max_epochs=1, callbacks=[Requeued()], **options).fit(Classifier(), **loaders())
    assert [path.parent for path in Path("C").rglob("hpc_ckpt_*.ckpt")] == [Path("C/1")]
    model = Classifier()
    trainer = Trainer(max_epochs=1, **options)
    trainer.fit(model, **loaders())
    assert (trainer.run_dir, len(model.history), trainer.global_step) == (Path("C/2"), 1, 5)
