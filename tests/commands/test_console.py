"""What a person sees: the same table in a terminal and in a file, its marks, and what is left out."""

import logging
import os
import pty
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers import ROOT
from helpers.commands import command
from helpers.models import Classifier, points
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import Trainer, epoch_table, messages, terminal
from lightmodels.data.tensor_loader import TensorLoader

SMALL = ["--max_epochs", "3", "--data.num_rows", "400", "--data.test_rows", "200", "--run_dir", "run"]


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def loaders():
    return TensorLoader(*points(103), batch_size=25), TensorLoader(*points(31, 1), batch_size=9)


def in_a_terminal(argv, **environment):
    """All that a process writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm"} | environment
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux's end of a terminal
                break
            if not part:
                break
            written += part
    os.close(ours)
    assert process.returncode == 0, written
    return written.decode().replace("\r\n", "\n")


def lasting(text):
    """What stays of a terminal's text: without colours, and without what was overwritten."""
    return re.sub(r"\x1b\[\d*m", "", re.sub(r"(\r\x1b\[K[^\n\r]*)*\r\x1b\[K", "", text))


def without_times(text):
    """The text with the seconds of each row, which no two runs share, taken out."""
    return re.sub(r"(?m)\d+\.\d\d( \*)?$", r"#\1", text)


# Epochs count as long from the start, and each step as slow enough for the line to show.
LONG = f"""
import sys
sys.path[:0] = [{str(ROOT / "scripts")!r}]
from lightmodels import terminal
import console, train
terminal.LONG_EPOCH, terminal.REFRESH = 0.0, 0.0
sys.argv = ["train.py", *{SMALL!r}, "--trainer.figures", "false"]
console.run(train.main)
"""


def test_a_terminal_and_a_file_show_the_same_rows(capfd, monkeypatch):
    shown = in_a_terminal([sys.executable, "-c", LONG])
    assert re.search(r"epoch 2  \[#+\.*\]  step 2/3  loss 0\.\d{4}  \d+ s left", shown)
    assert "\x1b[32m *\x1b[0m" in shown
    shutil.rmtree("run")
    for name in ("LONG_EPOCH", "REFRESH"):
        monkeypatch.setattr(terminal, name, 0.0)
    code, log, err = command(capfd, "train", *SMALL, "--trainer.figures", "false")  # to files
    assert (code, err) == (0, "")
    assert "\x1b" not in log
    assert "\r" not in log
    assert len(log.splitlines()) == 8
    assert without_times(lasting(shown)) == without_times(log)


def test_the_rows_that_were_the_best_so_far_are_marked_and_the_end_says_why(capsys):
    class Planned(Classifier):
        def shared_step(self, batch):
            planned = [0.5, 0.3, 0.4, 0.2, 0.2, 0.3, 0.4][self.current_epoch]
            values = super().shared_step(batch)
            return values if self.training else {"loss": torch.tensor(planned)}

    Trainer(max_epochs=9, patience=3, run_dir="run").fit(Planned(), *loaders())
    _, *rows, reason = capsys.readouterr().out.splitlines()
    assert [row.endswith(" *") for row in rows] == [True, True, False, True, False, False, False]
    assert reason == "stopped at epoch 7: no better val_loss for 3 epochs; best epoch 4: val_loss 0.2000"


def test_a_run_to_its_last_epoch_ends_with_its_last_row(capsys):
    Trainer(max_epochs=2, patience=2, run_dir="run").fit(Classifier(), *loaders())
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_an_early_stop_is_said_once_not_again_by_a_later_fit(capsys):
    class Worse(Classifier):
        def shared_step(self, batch):
            values = super().shared_step(batch)
            return values if self.training else {"loss": torch.tensor(1.0 + self.current_epoch)}

    class Enough(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop |= trainer.current_epoch == 3

    trainer, model = Trainer(max_epochs=9, patience=2, run_dir="run", callbacks=[Enough()]), Worse()
    trainer.fit(model, *loaders())
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("stopped at epoch 3: no better val_loss for 2 epochs;")
    trainer.fit(model, *loaders())
    assert len(model.history) == 4
    assert "stopped" not in capsys.readouterr().out


def test_rare_validation_has_its_columns_from_the_start(capsys):
    Trainer(max_epochs=4, run_dir="run", check_val_every_n_epoch=2).fit(Classifier(), *loaders())
    header, *rows = (line.removesuffix(" *") for line in capsys.readouterr().out.splitlines())
    assert header.split()[3:5] == ["val_loss", "val_acc"]
    assert [row.split()[3] == "-" for row in rows] == [True, False, True, False]
    assert {len(row) for row in rows} == {len(header)}


@pytest.mark.parametrize("value", [0.0, -0.5, 1e-9, -123456.7, 1e30, float("nan"), float("-inf"), 999.9999])
def test_any_value_fits_its_column(value):
    assert len(epoch_table.cell("train_loss", value)) <= epoch_table.WIDTH
    assert float(epoch_table.cell("train_loss", value)) == pytest.approx(value, rel=0.01, nan_ok=True)


def test_the_loss_shown_inside_an_epoch_is_the_mean_so_far(monkeypatch):
    shown, losses = [], []

    class Watched(Classifier):
        def shared_step(self, batch):
            values = super().shared_step(batch)
            losses.append(values["loss"].item() * len(batch[0]))
            return values

    monkeypatch.setattr(terminal.ProgressLine, "due", lambda line: True)
    monkeypatch.setattr(terminal.ProgressLine, "show", lambda line, *values: shown.append(values))
    monkeypatch.setattr(terminal.ProgressLine, "write", lambda line, text: None)
    Trainer(max_epochs=1, run_dir="run", num_sanity_val_steps=0).fit(Watched(), *loaders())
    assert [values[:3] for values in shown] == [(1, step, 5) for step in (1, 2, 3, 4, 5)]
    for step, seen in ((1, 25), (3, 75), (5, 103)):
        assert shown[step - 1][3] == pytest.approx(sum(losses[:step]) / seen)


def test_the_time_left_counts_the_steps_of_this_epoch(monkeypatch):
    written, clock = [], iter([100.0, 104.0, 200.0, 204.0, 300.0, 304.0])
    monkeypatch.setattr(terminal.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(terminal.ProgressLine, "write", lambda line, text: written.append(text))
    line = terminal.ProgressLine()
    for behind in (0, 0):
        line.counts(behind)
    line.show(1, 10, 30, None)
    line.start()
    line.counts(20)  # of an epoch that was resumed there
    line.show(2, 22, 30, 0.5)
    line.start()
    line.show(3, 7, float("inf"), 0.5)
    assert [text.split("  ")[-1] for text in written] == ["8 s left", "16 s left", "loss 0.5000"]


def quiet_run(**options):
    """Trains, tests and predicts with loaders of torch, of which Lightning has much to say."""
    loader = DataLoader(TensorDataset(*points(60)), batch_size=25)
    model, trainer = Classifier(), Trainer(max_epochs=1, **options)
    trainer.fit(model, loader)
    trainer.test(model, loader, verbose=False)
    trainer.predict(model, loader)


def said(caplog, monkeypatch):
    for name in ("pytorch_lightning", "lightning_fabric"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        monkeypatch.setattr(logging.getLogger(name), "level", logging.INFO)
        logging.getLogger(name).setLevel(logging.INFO)  # which also forgets what was decided before
    return caplog


def test_lightning_is_quiet_in_python_and_speaks_when_asked(caplog, monkeypatch):
    caplog = said(caplog, monkeypatch)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet_run(run_dir="run")
    assert caplog.messages == []
    assert [str(each.message) for each in caught] == []
    with warnings.catch_warnings(record=True) as caught, messages.say("verbose"):
        warnings.simplefilter("always")
        quiet_run(run_dir="again")
    assert any("GPU available" in message for message in caplog.messages)
    assert any("`Trainer.fit` stopped" in message for message in caplog.messages)
    assert any("logging interval" in str(each.message) for each in caught)


def test_what_was_asked_for_and_true_warnings_are_still_said(caplog, monkeypatch):
    caplog = said(caplog, monkeypatch)
    stop = pl.callbacks.EarlyStopping("val_loss", patience=1, verbose=True)
    checkpoint = pl.callbacks.ModelCheckpoint(str(Path.cwd()), filename="a", monitor="val_loss", verbose=True)
    Path("file").touch()
    trainer = Trainer(max_epochs=1, callbacks=[stop, checkpoint], logger=False)
    with pytest.warns(UserWarning, match="exists and is not empty"):
        trainer.fit(Classifier(), *loaders())
    for text in ("val_loss improved", "'val_loss' reached"):
        assert any(text in message for message in caplog.messages)


def test_afterwards_lightnings_own_trainer_speaks_as_before(caplog, monkeypatch):
    caplog = said(caplog, monkeypatch)
    filters = list(warnings.filters)
    quiet_run(logger=False, enable_checkpointing=False)
    assert warnings.filters == filters
    pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert any("GPU available" in message for message in caplog.messages)


def test_quiet_shows_the_results_only(capfd):
    ended = command(capfd, "train", *SMALL, "--quiet")
    assert (ended.code, ended.err) == (0, "")
    first, *_, last = ended.out.splitlines()
    assert first.startswith("best epoch 3 of 3: test_loss")
    assert (last, len(ended.out.splitlines())) == ("tensorboard --logdir run", 3)
    assert "quiet" not in Path("run/config.yaml").read_text()
    again = command(capfd, "train", *SMALL, "--resume", "last", "--max_epochs", 4, "--quiet")
    assert (again.code, again.err) == (0, "")
    wrong = command(capfd, "train", "--quiet", "--model.lr", -1)
    assert (wrong.code, len(wrong.err.splitlines())) == (2, 1)


def test_verbose_shows_layers_and_messages_and_no_color_is_heeded():
    shown = in_a_terminal([sys.executable, ROOT / "scripts/train.py", *SMALL, "--verbose"], NO_COLOR="1")
    for text in ("net.2 (Linear)", "GPU available", "`Trainer.fit` stopped", "\n    1 "):
        assert text in shown
    assert "\x1b" not in shown  # nor is the cursor moved in short epochs


def test_quiet_and_verbose_together_are_refused(capfd):
    ended = command(capfd, "train", "--quiet", "--verbose")
    assert (ended.code, ended.err) == (2, "train.py: --quiet and --verbose: leave one out\n")
    assert not Path("runs").exists()


@pytest.mark.parametrize("task", ["linear", "ring", "mnist", "reuters"])
def test_help_is_about_a_page_that_begins_with_the_task(capfd, task):
    lines = command(capfd, "train", "--task", task, "--help").out.splitlines()
    assert len(lines) <= 70
    assert max(map(len, lines)) <= 110
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles[1:5] == ["What to train:", "Where:", "Going on after a stop:", "What is shown:"]
    assert all(each not in "\n".join(lines) for each in ("``", "null", "Optional["))
