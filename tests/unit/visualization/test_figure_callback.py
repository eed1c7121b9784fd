"""FigureLogger: when figures are drawn and where they go; training is the same with and without them."""

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.browser import events
from helpers.models import Classifier, ManyMetrics, Points, points
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import Trainer
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.visualization import figure_callback, render, validation_sample
from lightmodels.visualization.figure_callback import FigureLogger
from lightmodels.visualization.validation_sample import ValidationSample

CLOCKS = ("seconds", "samples_per_second")
BARE = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}


@pytest.fixture(autouse=True)
def no_limit(monkeypatch):
    monkeypatch.setattr(figure_callback, "MAX_SHARE", float("inf"))


@pytest.fixture
def footers(monkeypatch):
    """The footers of all figures but the history's."""
    drawn, to_image = [], render.to_image
    monkeypatch.setattr(render, "to_image", lambda *args: drawn.append(args[1]) or to_image(*args))
    monkeypatch.setattr(render.Renderer, "render_history", lambda renderer: None)
    return drawn


def loaders():
    return TensorLoader(*points(103), batch_size=25, shuffle=True), TensorLoader(*points(31, 1), batch_size=9)


def trainer(**options):
    return Trainer(**{"max_epochs": 2, "run_dir": "run", "accelerator": "cpu", **options})


def files():
    return {path.name for path in Path("run/figures").glob("*")}


def line():
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([0, 1])
    return figure


class Watched(Classifier):
    """Records when it draws, and with which weights."""

    def __init__(self) -> None:
        super().__init__(dropout=0.3)
        self.drawn = []

    def figures(self, batch, outputs):
        epoch, weights = self.trainer.current_epoch, self.net[0].weight.clone()
        self.drawn.append((epoch, self.training, len(batch[0]), weights))
        return {"line": line()}


class GetsWorse(Watched):
    """Is best after the first epoch."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, maximize=True)


def test_figures_go_to_png_files_and_to_tensorboard():
    trainer().fit(Classifier(), *loaders())
    found = events().Images("figures/confusion_matrix")
    assert [event.step for event in found] == [5, 10]
    with Image.open("run/figures/confusion_matrix.png") as file:
        logged = Image.open(BytesIO(found[-1].encoded_image_string))
        assert np.array_equal(np.asarray(file), np.asarray(logged))
    assert files() == {"confusion_matrix.png", "history.png"}
    assert [event.step for event in events().Images("figures/history")] == [10]


def test_figures_are_drawn_at_growing_intervals_and_at_the_end(footers):
    model = Watched()
    trainer(max_epochs=10).fit(model, *loaders())
    assert [epoch for epoch, *_ in model.drawn] == [1, 2, 4, 8, 10]
    assert all(not training and rows == 31 for _, training, rows, _ in model.drawn)
    assert [event.step for event in events().Images("figures/line")] == [5, 10, 20, 40, 50]
    assert footers[:4] == [f"epoch {epoch}, current weights" for epoch in (1, 2, 4, 8)]


@pytest.mark.parametrize(("cost", "epochs"), [(0.01, [1, 2, 4, 8, 16, 20]), (0.3, [1, 8, 16, 20]), (3.0, [1, 20])])
def test_drawing_takes_a_twentieth_of_the_training_time(cost, epochs, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(figure_callback, "MAX_SHARE", 0.05)
    monkeypatch.setattr(figure_callback, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])  # for the history's rows

    class Timed(Watched):
        def shared_step(self, batch):
            now[0] += 0.2 if self.training else 0
            return super().shared_step(batch)

        def figures(self, batch, outputs):
            now[0] += cost
            return super().figures(batch, outputs)

    model = Timed()
    history = trainer(max_epochs=20).fit(model, *loaders())
    assert [epoch for epoch, *_ in model.drawn] == epochs
    assert history["seconds"] == pytest.approx([1.0] * 20)  # five steps, without the drawing
    assert history["samples_per_second"] == pytest.approx([103.0] * 20)


def test_the_last_figures_show_the_best_weights_and_the_model_keeps_its_own(footers):
    pl.seed_everything(3, verbose=False)
    model = GetsWorse()
    trainer(max_epochs=3).fit(model, *loaders())
    (*_, after_one), *_, (*_, at_the_end) = model.drawn
    assert torch.equal(after_one, at_the_end)
    assert footers[-1] == "epoch 1, best weights"
    last = torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(last[name], value) for name, value in model.state_dict().items())
    assert not torch.equal(model.net[0].weight, at_the_end)


def test_footers_name_the_epoch_of_any_checkpoint_and_count_on_from_an_earlier_training(footers):
    model, greatest = GetsWorse(), ModelCheckpoint("own", monitor="val_loss", mode="max")
    trainer(max_epochs=3, callbacks=[greatest]).fit(model, *loaders())
    assert footers[-1] == "epoch 3, best weights"  # the history's best epoch is the first
    trainer(max_epochs=3, run_dir="second", enable_checkpointing=False).fit(model, *loaders())
    assert footers[-2:] == ["epoch 4, current weights", "epoch 6, current weights"]
    trainer(max_epochs=3, run_dir="third").fit(model, *loaders())
    assert footers[-2:] == ["epoch 8, current weights", "epoch 7, best weights"]


def test_the_footer_is_a_strip_below_the_figure():
    plain = BytesIO()
    line().savefig(plain, format="png")
    expected = np.asarray(Image.open(plain).convert("RGB"))
    first, second = (np.asarray(render.to_image(line(), f"epoch {n}, best weights")) for n in (1, 2))
    height, width = expected.shape[:2]
    assert np.array_equal(first[:height, :width], expected)
    assert (first[height:] == 255).mean() > 0.5
    assert (first[height:] < 160).any()
    assert not np.array_equal(first[height:], second[height:])


def test_the_sample_is_the_first_rows_of_the_validation_data(monkeypatch):
    monkeypatch.setattr(validation_sample, "MAX_ROWS", 20)
    x, y = points(31, 1)

    class Sees(Watched):
        def figures(self, batch, outputs):
            assert torch.equal(batch[0], x[:20])
            assert torch.equal(batch[1], y[:20])
            assert torch.equal(outputs, self(x[:20]))
            return super().figures(batch, outputs)

    model = Sees()
    trainer(val_check_interval=2).fit(model, *loaders())
    assert len(model.drawn) == 2


class Greedy(ManyMetrics):
    """Draws random numbers, and changes modes, gradients and metrics, when it is drawn."""

    def figures(self, batch, outputs):
        torch.rand(3), np.random.rand(3), random.random()
        self.train()
        with torch.enable_grad():
            self.shared_step(batch)["loss"].backward()
        return {"line": line()}


@pytest.mark.parametrize("kind", ["tensors", "DataLoader", "datamodule"])
def test_training_is_bit_identical_with_figures_and_without(kind):
    ends = []
    for on in (True, False):
        pl.seed_everything(1, verbose=False)
        model, data = Greedy(), loaders()
        if kind == "DataLoader":
            data = [DataLoader(TensorDataset(*points(50, i)), 10, shuffle=not i) for i in range(2)]
        data = (None, None, Points(batch_size=25)) if kind == "datamodule" else data
        run = trainer(max_epochs=4, run_dir=f"run-{on}", figures=on, val_check_interval=0.5)
        run.fit(model, *data)
        assert Path(f"run-{on}/figures/line.png").exists() == on
        rows = [{name: row[name] for name in row if name not in CLOCKS} for row in model.history]
        positions = [loader.state_dict() for loader in data[:2] if hasattr(loader, "state_dict")]
        loops = torch.load(f"run-{on}/checkpoints/last.ckpt", weights_only=True)["loops"]["fit_loop"]
        randoms = random.random(), np.random.rand(), torch.rand(1).item()
        tensors = [*model.parameters(), *(value.grad for value in model.parameters()), model.f1_score.tp]
        plain = [value.tolist() for value in tensors]
        ends.append((rows, positions, loops["state_dict"], randoms, plain, model.f1_score.update_count))
    assert ends[0] == ends[1]


TWO_PROCESSES = """
import time
import pytorch_lightning as pl
from helpers.models import Classifier, Points
from lightmodels import Trainer

class Slow(Classifier):
    def figures(self, batch, outputs):
        assert self.trainer.global_rank == 0
        time.sleep(0.5)
        return super().figures(batch, outputs)

for figures in (True, False):
    pl.seed_everything(1)
    options = {"accelerator": "cpu", "devices": 2, "strategy": "ddp", "run_dir": f"run-{figures}"}
    Trainer(max_epochs=3, figures=figures, **options).fit(Slow(dropout=0.3), Points())
"""


def test_of_two_processes_the_first_draws_and_both_train_as_without():
    Path("script.py").write_text(TWO_PROCESSES)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "script.py"], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "could not be drawn" not in done.stderr
    assert Path("run-True/figures/confusion_matrix.png").exists()
    ours, expected = (torch.load(f"run-{on}/checkpoints/last.ckpt") for on in (True, False))
    assert all(torch.equal(value, ours["state_dict"][name]) for name, value in expected["state_dict"].items())
    for row, other in zip(ours["history"]["rows"], expected["history"]["rows"], strict=True):
        assert row["val_loss"] == other["val_loss"]


def fails(batch, outputs):
    raise KeyError("colour\nof lines")


def draws_some(batch, outputs):
    bad = Figure()
    bad.suptitle("$\\nonsense$")
    return {"bad": bad, "none": None, "line": line()}


@pytest.mark.parametrize(
    ("hook", "function", "warned", "written"),
    [
        ("figures", fails, [r"Watched.figures could not be drawn: KeyError: 'colour\nof lines'"], set()),
        ("figures", draws_some, ["figure 'bad' could", "figure 'none' could"], {"line.png"}),
        ("texts", fails, ["Watched.texts could not be drawn: KeyError"], {"line.png"}),
        ("embeddings", fails, ["Watched.embeddings could not be drawn: KeyError"], {"line.png"}),
    ],
)
def test_an_error_is_one_warning_and_all_else_is_drawn(hook, function, warned, written, monkeypatch):
    monkeypatch.setattr(Watched, hook, lambda self, *args: function(*args))
    with pytest.warns(RuntimeWarning) as caught:
        assert len(trainer(max_epochs=4).fit(Watched(), *loaders())) == 4
    messages = [str(each.message) for each in caught if "drawn" in str(each.message)]
    assert [message[: len(start)] for message, start in zip(messages, warned, strict=True)] == warned
    assert files() == {"history.png"} | written


def test_a_model_without_hooks_of_its_own_gets_no_warning_if_its_forward_does_not_suit():
    class Odd(Classifier):
        def forward(self, x, more=None):
            if self.trainer.state.stage == "train" and not self.training:
                raise TypeError("forward cannot be used here")
            return super().forward(x)

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*drawn")
        trainer().fit(Odd(), *loaders())
    assert files() == {"history.png"}


def test_without_tensorboard_one_line_says_so_and_files_are_written(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.setitem(sys.modules, name, None)
    trainer().fit(Classifier(), *loaders())
    line = "no event files: tensorboard is not installed"
    assert capsys.readouterr().out.splitlines().count(line) == 1
    assert files() == {"confusion_matrix.png", "history.png"}


@pytest.mark.parametrize(
    "options", [{"figures": False}, {"fast_dev_run": True}, {"barebones": True}, {"limit_val_batches": 0}]
)
def test_when_nothing_of_the_model_is_drawn(options):
    model = Watched()
    trainer(**options).fit(model, *loaders())
    assert not model.drawn
    assert files() == ({"history.png"} if "limit_val_batches" in options else set())


def test_sanity_checks_and_validation_by_itself_draw_nothing():
    model, run = Watched(), trainer(max_epochs=1, num_sanity_val_steps=2)
    run.fit(model, *loaders())
    run.validate(model, loaders()[1], verbose=False)
    assert [(epoch, rows) for epoch, _, rows, _ in model.drawn] == [(1, 31)]


def test_other_modules_and_trainers_without_a_run_directory_draw_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer(max_epochs=1).fit(BoringModel())
    model = Watched()
    other = pl.Trainer(max_epochs=1, accelerator="cpu", callbacks=[FigureLogger()], **BARE)
    other.fit(model, *loaders())
    assert not model.drawn
    assert files() == set()


def test_ctrl_c_while_drawing_stops_after_the_epoch_with_its_state_saved():
    class Interrupted(Watched):
        def figures(self, batch, outputs):
            os.kill(os.getpid(), signal.SIGINT)
            return super().figures(batch, outputs)

    model = Interrupted()
    assert len(trainer(max_epochs=3).fit(model, *loaders())) == len(model.drawn) == 1
    assert len(torch.load("run/checkpoints/last.ckpt")["history"]["rows"]) == 1


def test_figures_of_pyplot_are_closed_and_may_be_used_again():
    class Plots(Classifier):
        figure = None

        def figures(self, batch, outputs):
            self.figure = self.figure or pyplot.figure(figsize=(3, 1))
            return {"reused": self.figure, "new": pyplot.figure()}

    pyplot.close("all")  # those of other tests
    trainer(max_epochs=4).fit(Plots(), *loaders())
    assert pyplot.get_fignums() == []
    assert len({(event.width, event.height) for event in events().Images("figures/reused")}) == 1


def test_rows_that_cannot_be_joined_are_left_out():
    kept = ValidationSample()
    for length in (3, 3, 4, 3):
        kept.add({"x": torch.zeros(5, length), "y": [torch.arange(5)]})
    assert kept.joined()["x"].shape == (15, 3)
    kept = ValidationSample()
    kept.add(["no tensor"])
    assert (kept.complete, kept.batches) == (True, [])


def test_large_rows_and_large_outputs_make_the_sample_smaller(monkeypatch):
    monkeypatch.setattr(validation_sample, "MAX_BYTES", 1_000)
    kept = ValidationSample()
    kept.add((torch.zeros(30, 50), torch.zeros(30)))  # 204 bytes a row
    assert len(kept.joined()[0]) == 4
    assert kept.complete
    monkeypatch.setattr(validation_sample, "MAX_OUTPUT_BYTES", 500)
    kept = ValidationSample()
    for start in range(4):
        kept.add(torch.full((3,), start))
    results = kept.map(lambda batch: batch.repeat(10).reshape(10, 3).T)  # 240 bytes each
    assert results.shape == (9, 10)
    assert kept.joined().tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
