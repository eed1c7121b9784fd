"""The console command, and what is printed: the table of epochs, the progress line, which of Lightning's messages."""

import io
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import nullcontext, redirect_stdout, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from helpers import ROOT
from helpers.commands import command, error_line
from helpers.models import Classifier, Points, points
from lightning_fabric.accelerators import cuda
from pytorch_lightning.trainer import setup
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import Trainer
from lightmodels.callbacks import epoch_table, progress
from lightmodels.cli import exit_codes
from lightmodels.cli.main import COMMANDS
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.utils.console import verbosity, without_banners

SMALL = ["--max_epochs", "3", "--data.num_rows", "400", "--data.test_rows", "200", "--run_dir", "run"]


def what_remains(text):
    """What a terminal without colors shows in the end, except the seconds of each row, which differ."""
    shown = re.sub(r"(\r\x1b\[K[^\n\r]*)*\r\x1b\[K", "", without_colors(text))
    return re.sub(r"(?m)\d+\.\d\d( \*)?$", r"#\1", shown)


def without_colors(text):
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_the_best_rows_so_far_are_marked_and_an_early_stop_is_explained_once(capsys):
    class Planned(Classifier):
        def shared_step(self, batch):
            planned = [0.5, 0.3, 0.4, 0.2, 0.2, 0.3, 0.4, 0.5][self.current_epoch]
            values = super().shared_step(batch)
            return values if self.training else {"loss": torch.tensor(planned)}

    class Enough(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop |= trainer.current_epoch == 7

    trainer, model = Trainer(max_epochs=9, patience=3, run_dir="run", callbacks=[Enough()]), Planned()
    trainer.fit(model, Points(batch_size=25))
    _, *rows, reason = capsys.readouterr().out.splitlines()
    assert [row.endswith(" *") for row in rows] == [True, True, False, True, False, False, False]
    assert reason == "stopped at epoch 7: no better val_loss for 3 epochs; best epoch 4: val_loss 0.2000"
    trainer.fit(model, Points(batch_size=25))  # stopped by the other callback
    assert len(model.history) == 8
    assert "stopped" not in capsys.readouterr().out


def test_rare_validation_has_its_columns_from_the_start_and_the_last_epoch_is_the_last_line(capsys):
    Trainer(max_epochs=4, patience=2, run_dir="run", check_val_every_n_epoch=2).fit(Classifier(), Points(batch_size=25))
    header, *rows = (line.removesuffix(" *") for line in capsys.readouterr().out.splitlines())
    assert header.split()[3:5] == ["val_loss", "val_acc"]
    assert [row.split()[3] == "-" for row in rows] == [True, False, True, False]
    assert {len(row) for row in rows} == {len(header)}


@pytest.mark.parametrize("value", [0.0, -0.5, 1e-9, -123456.7, 1e30, float("nan"), float("-inf"), 999.9999])
def test_any_value_fits_its_column(value):
    assert len(epoch_table.cell("train_loss", value)) <= epoch_table.WIDTH
    assert float(epoch_table.cell("train_loss", value)) == pytest.approx(value, rel=0.01, nan_ok=True)


@pytest.fixture
def slow(monkeypatch):
    """Makes models whose training steps take so many seconds, and then some action, by the line's clock."""
    clock, updated, update = [0.0], threading.Event(), progress.ProgressLine._update
    monkeypatch.setattr(progress, "REFRESH", 0.001)
    monkeypatch.setattr(progress, "LONG_EPOCH", 0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(progress.ProgressLine, "_update", lambda line: (update(line), updated.set()))

    class Slow(Classifier):
        def shared_step(self, batch):
            values = super().shared_step(batch)
            clock[0] += self.seconds * self.training
            for _ in range(2 * (self.training or self.trainer.validating)):  # the first may have begun before
                updated.clear()
                assert updated.wait(60), "no update of the progress line"
            if self.training:
                self.action()
                self.losses.append(values["loss"].item())
            return values

    def make(seconds, action=lambda: None):
        pl.seed_everything(3, verbose=False)
        model = Slow()
        model.seconds, model.action, model.losses = seconds, action, []
        return model

    yield make
    assert not [thread for thread in threading.enumerate() if thread.name == "progress"]


def test_a_terminal_shows_the_rows_of_a_log_file_and_a_progress_bar(slow, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    models = slow(seconds=1.0), Classifier()
    models[1].load_state_dict(models[0].state_dict())
    terminal, file = io.StringIO(), io.StringIO()
    terminal.isatty = lambda: True
    for model, stdout in zip(models, (terminal, file), strict=True):
        with redirect_stdout(stdout):
            Trainer(max_epochs=3, run_dir=type(model).__name__).fit(model, Points(batch_size=25))
    shown, log = terminal.getvalue(), file.getvalue()
    assert re.search(r"\r\x1b\[Kepoch 2 [━╺╸]+ step 4/5 loss 0\.\d{4} [-\d:]+ left\r", without_colors(shown))
    assert re.search(r"\r\x1b\[Kepoch 2 validation [━╺╸]+ step 1/2 ", without_colors(shown))
    assert "\x1b[32m *\x1b[0m" in shown
    assert not {"\x1b", "\r"} & set(log)
    assert what_remains(shown) == what_remains(log)
    assert len(log.splitlines()) == 4


def test_a_log_file_gets_a_line_a_minute_with_the_mean_loss_and_the_same_results(slow, capsys):
    def fit(model, run_dir):
        train, val = TensorLoader(*points(110), batch_size=10, shuffle=True), TensorLoader(*points(31), batch_size=9)
        Trainer(max_epochs=2, run_dir=run_dir, num_sanity_val_steps=0).fit(model, train, val)
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    model = slow(seconds=20.0)
    weights, lines = fit(model, "run"), capsys.readouterr().out.splitlines()
    for epoch, shown in ((0, lines[:3]), (1, lines[5:8])):
        for line, step in zip(shown, (2, 5, 8), strict=True):
            found = re.fullmatch(rf"epoch {epoch + 1} step +{step}/11 loss (\d\.\d{{4}}) [-\d:]+ left", line)
            losses = model.losses[11 * epoch :][:step]
            assert float(found[1]) == pytest.approx(sum(losses) / step, abs=1e-4)
    assert [line.split()[0] for line in lines[3:5] + lines[8:]] == ["epoch", "1", "2"]
    pl.seed_everything(3, verbose=False)
    with verbosity("quiet"):
        assert torch.equal(weights, fit(Classifier(), "quiet"))


def test_a_notebook_has_one_display_that_is_updated_and_emptied(slow, monkeypatch, capsys):
    display = pytest.importorskip("IPython.display", reason="needs IPython")
    shown = []
    handle = SimpleNamespace(update=lambda data, raw: shown.append(data["text/plain"]))
    monkeypatch.setattr(display, "display", lambda data, raw, display_id: handle)
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    Trainer(max_epochs=2, run_dir="run").fit(slow(seconds=1.0), Points(batch_size=25))
    assert any(re.fullmatch(r"epoch 2 ━+ +step 4/5 loss 0\.\d{4} [-\d:]+ left", text) for text in shown)
    assert shown[-1] == ""
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, "Ctrl-C"])
def test_the_progress_line_ends_with_an_error_and_with_ctrl_c(slow, error, capsys):
    def fail():
        if error == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            raise error

    expected = nullcontext() if error == "Ctrl-C" else pytest.raises((RuntimeError, SystemExit))
    with expected:
        Trainer(max_epochs=9, run_dir="run").fit(slow(61.0, fail), Points(batch_size=25))
    assert re.fullmatch(r"epoch 1 step 0/5 +--:-- left\n", capsys.readouterr().out)


@pytest.mark.parametrize("bar", [pl.callbacks.TQDMProgressBar, pl.callbacks.RichProgressBar])
def test_a_progress_bar_in_callbacks_replaces_the_progress_line(bar, monkeypatch, capsys):
    monkeypatch.setattr(epoch_table, "ProgressLine", lambda *_: pytest.fail("two progress bars"))
    Trainer(max_epochs=2, run_dir="run", callbacks=[bar()]).fit(Classifier(), Points(batch_size=25))
    shown = re.split(r"[\n\r]", capsys.readouterr().out)
    table = [line.split()[0] for line in shown if re.match("epoch  train_loss|    [12]  ", line)]
    assert table == ["epoch", "1", "2"]
    assert any(line.startswith("Epoch 1") for line in shown)


@pytest.fixture
def log(caplog, monkeypatch):
    """All that Lightning logs."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        caplog.set_level(logging.INFO, logger=name)
    return caplog


def test_lightnings_banners_are_shown_on_request_and_by_its_own_trainer_only(log):
    def warnings_of_a_run(**options):
        loader = DataLoader(TensorDataset(*points(60)), batch_size=25)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model, trainer = Classifier(), Trainer(max_epochs=1, **options)
            trainer.fit(model, loader)
            trainer.test(model, loader, verbose=False)
            trainer.predict(model, loader)
        return [str(each.message) for each in caught]

    filters = list(warnings.filters)
    assert warnings_of_a_run(run_dir="run") == log.messages == []
    assert warnings.filters == filters
    with verbosity("verbose"):
        assert any("logging interval" in text for text in warnings_of_a_run(run_dir="again"))
    assert any("`Trainer.fit` stopped" in text for text in log.messages)
    log.clear()
    pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert any("GPU available" in text for text in log.messages)


def test_what_lightning_advises_about_gpus_is_not_shown(log, monkeypatch):
    monkeypatch.setattr(setup.CUDAAccelerator, "is_available", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Trainer(gpus=0)  # where the CPU was asked for
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    with without_banners():  # Lightning advises a function of torch, where a Trainer takes tf32=True
        cuda._check_cuda_matmul_precision.__wrapped__(torch.device("cuda"))
    assert log.messages == []


def test_verbose_callbacks_and_true_warnings_are_shown(log):
    stop = pl.callbacks.EarlyStopping("val_loss", patience=1, verbose=True)
    keeper = pl.callbacks.ModelCheckpoint(str(Path.cwd()), filename="a", monitor="val_loss", verbose=True)
    Path("file").touch()
    trainer = Trainer(max_epochs=1, callbacks=[stop, keeper], logger=False)
    with pytest.warns(UserWarning, match="exists and is not empty"):
        trainer.fit(Classifier(), Points(batch_size=25))
    improved, reached = log.messages
    assert "val_loss improved" in improved
    assert "'val_loss' reached" in reached


def test_quiet_shows_the_results_only(capfd):
    ended = command(capfd, "train", *SMALL, "--quiet")
    assert (ended.code, ended.err) == (0, "")
    first, *_, last = ended.out.splitlines()
    assert first.startswith("best epoch 3 of 3: test_loss")
    assert (last, len(ended.out.splitlines())) == ("tensorboard --logdir run", 9)
    assert "quiet" not in Path("run/config.yaml").read_text()
    again = command(capfd, "train", *SMALL, "--resume", "last", "--max_epochs", 4, "--quiet")
    assert (again.code, again.err) == (0, "")


def test_a_verbose_process_in_a_terminal_shows_layers_and_messages_and_heeds_no_color():
    argv = [sys.executable, ROOT / "scripts/train.py", *SMALL, "--verbose"]
    ours, theirs = pty.openpty()
    env, written = os.environ | {"TERM": "xterm", "NO_COLOR": "1"}, b""
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        with suppress(OSError):  # how Linux reports the end of a terminal
            while part := os.read(ours, 65536):
                written += part
    os.close(ours)
    assert process.returncode == 0, written
    shown = written.decode().replace("\r\n", "\n")
    for text in ("| net.2 | Linear", "GPU available", "`Trainer.fit` stopped", "\n    1 "):
        assert text in shown
    assert shown.endswith("\ntensorboard --logdir run\n")
    assert "\x1b" not in re.sub(r"\r\x1b\[K[^\r\n]*", "", shown)  # the progress line, on a slow machine


def test_help_lists_the_commands_and_no_or_an_unknown_command_is_an_error(capfd):
    code, text, err = command(capfd, "lightmodels", "--help")
    assert (code, err) == (0, "")
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert command(capfd, "lightmodels", "-h") == (0, text, "")
    assert command(capfd, "lightmodels") == (2, "", text)
    told = f"lightmodels: unknown command nonsense, choose one of {', '.join(COMMANDS)}\n"
    assert command(capfd, "lightmodels", "nonsense", "--help") == (2, "", told)


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_and_errors_name_the_command_as_it_was_called(capfd, name):
    assert command(capfd, "lightmodels", name, "--help").out.startswith(f"usage: lightmodels {name} [")
    assert command(capfd, name, "--help").out.startswith(f"usage: {name}.py [")
    assert error_line(command(capfd, "lightmodels", name, "--nonsense")).startswith(f"lightmodels {name}: ")


def test_a_warning_is_one_line_without_a_place_in_the_code(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scripts/train.py"])

    shown = []

    def warn(argv):
        shown.append(warnings.formatwarning("3 rows are left out:\n\x1b[1mrow 1", UserWarning, "code.py", 7))
        shown.append(warnings.formatwarning("old", DeprecationWarning, "code.py", 8))

    before, handler = warnings.formatwarning, signal.getsignal(signal.SIGTERM)
    exit_codes.run(warn, [])
    signal.signal(signal.SIGTERM, handler)
    assert warnings.formatwarning is before
    assert shown == ["train.py: warning: 3 rows are left out: \\x1b[1mrow 1\n", "train.py: DeprecationWarning: old\n"]
