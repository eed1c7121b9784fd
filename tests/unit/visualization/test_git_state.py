"""GitState: the commit of the working directory, if there is one."""

import shutil
import subprocess
from pathlib import Path

import pytest
import pytorch_lightning as pl
from helpers.browser import events
from helpers.models import OneCycle, Points

from lightmodels import Trainer
from lightmodels.visualization import git_state, tensorboard_callback
from lightmodels.visualization.git_state import GitState


def git(*argv):
    if not shutil.which("git"):
        pytest.skip("needs git")
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    return subprocess.run(["git", *identity, *argv], check=True, capture_output=True, text=True).stdout.strip()


def test_the_description_of_a_run_names_the_commit_and_whether_the_files_are_as_in_it():
    git("init", "-q", ".")
    assert GitState().describe() is None  # no commit yet
    Path("train.py").write_text("lr = 0.1\n")
    git("add", "train.py")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD")[:12]
    Path("notes").touch()  # files that git does not know do not count
    assert GitState().describe() == f"{commit}, clean"
    Path("train.py").write_text("lr = 0.2\n")
    pl.seed_everything(0, verbose=False)
    Trainer(max_epochs=1, run_dir="run", accelerator="cpu", figures=False).fit(OneCycle(), Points(batch_size=25))
    (event,) = events().Tensors("run/text_summary")
    shown = event.tensor_proto.string_val[0].decode()
    assert f"| git commit | {commit}, uncommitted changes in 1 of its files |" in shown


def test_without_git_a_repository_or_an_answer_there_is_no_commit(monkeypatch):
    assert GitState().describe() is None  # no repository
    monkeypatch.setattr(git_state, "COMMAND", ("no-such-git",))
    assert (GitState().is_known, GitState().describe()) == (True, None)
    monkeypatch.setattr(git_state, "COMMAND", ("sleep", "60"))
    state = GitState()
    assert (state.is_known, state.describe(timeout=0.01)) == (False, None)
    assert state._process.stdout.closed


def test_a_fit_that_fails_leaves_no_process_and_no_open_pipe(monkeypatch):
    started = []
    monkeypatch.setattr(tensorboard_callback, "GitState", lambda: started.append(GitState()) or started[-1])
    monkeypatch.setattr(OneCycle, "on_train_start", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Trainer(max_epochs=1, run_dir="run", accelerator="cpu", figures=False).fit(OneCycle(), Points(batch_size=25))
    (state,) = started
    assert state._process.poll() is not None
    assert state._process.stdout.closed
