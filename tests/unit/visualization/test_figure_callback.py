"""FigureLogger: when figures are drawn and where they go; training is the same with and without them."""

import os
import random
import signal
import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.apart import run_apart
from helpers.browser import events
from helpers.checkpoints import different
from helpers.fits import loaders
from helpers.models import Classifier, GetsWorse, ManyMetrics, Points, points
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import Trainer
from lightmodels.visualization import figure_callback, render, validation_sample
from lightmodels.visualization.figure_callback import FigureLogger
from lightmodels.visualization.validation_sample import ValidationSample


@pytest.fixture(autouse=True)
def no_limit(monkeypatch):
    monkeypatch.setattr(figure_callback, "MAX_SHARE", float("inf"))


@pytest.fixture
def titles(monkeypatch):
    """The titles of all figures but the history's."""
    drawn, to_image = [], render.to_image
    monkeypatch.setattr(render, "to_image", lambda *args: drawn.append(args[1]) or to_image(*args))
    monkeypatch.setattr(render.Renderer, "render_history", lambda renderer: None)
    return drawn


def fit(model, data=None, **options):
    """A trainer that has trained the model."""
    trainer = Trainer(**{"max_epochs": 2, "run_dir": "run", "accelerator": "cpu", **options})
    trainer.fit(model, **(loaders() if data is None else data))
    return trainer


def files():
    return {path.name for path in Path("run/figures").glob("*")}


def line(title=""):
    figure = Figure(figsize=(2, 1))
    figure.suptitle(title)
    figure.add_subplot().plot([0, 1])
    return figure


class Watched(Classifier):
    """Records when it draws, which rows, and with which weights."""

    def __init__(self) -> None:
        super().__init__(dropout=0.3)
        self.drawn = []

    def figures(self, batch, outputs):
        assert not self.training
        torch.testing.assert_close(outputs, self(batch[0]))  # not equal: a CPU may round by the batch's size
        self.drawn.append((self.trainer.current_epoch, batch, self.net[0].weight.clone()))
        return {"line": line()}


class WatchedGetsWorse(Watched, GetsWorse):
    """Is best after the first epoch."""


def test_figures_go_to_png_files_and_to_tensorboard():
    fit(Classifier())
    found = events().Images("visualization/confusion_matrix")
    assert [event.step for event in found] == [1, 2]
    with Image.open("run/figures/confusion_matrix.png") as file:
        logged = Image.open(BytesIO(found[-1].encoded_image_string))
        assert np.array_equal(np.asarray(file), np.asarray(logged))
    assert files() == {"confusion_matrix.png", "history.png"}
    assert [event.step for event in events().Images("visualization/history")] == [2]
    assert max(events().Tags()["scalars"]) < "visualization"  # TensorBoard shows the curves first


@pytest.mark.parametrize(("cost", "epochs"), [(0.01, [1, 2, 4, 8, 16, 20]), (0.3, [1, 8, 16, 20]), (3.0, [1, 20])])
def test_figures_are_drawn_at_growing_intervals_in_a_twentieth_of_the_training_time(cost, epochs, monkeypatch, titles):
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
    fit(model, max_epochs=20)
    assert [epoch for epoch, *_ in model.drawn] == epochs
    assert all(len(x) == 31 for _, (x, _), _ in model.drawn)
    assert titles[:-1] == [f"epoch {epoch}, current weights" for epoch in epochs[:-1]]
    assert [event.step for event in events().Images("visualization/line")] == epochs
    assert model.history["seconds"] == pytest.approx([1.0] * 20)  # five steps, without the drawing
    assert model.history["samples_per_second"] == pytest.approx([120.0] * 20)


def test_the_last_figures_show_the_best_weights_and_the_model_keeps_its_own(titles):
    pl.seed_everything(3, verbose=False)
    model = WatchedGetsWorse()
    fit(model, max_epochs=3)
    (*_, after_one), *_, (*_, at_the_end) = model.drawn
    assert torch.equal(after_one, at_the_end)
    assert titles[-1] == "epoch 1, best weights"
    last = torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert different(last, model.state_dict()) == {}
    assert not torch.equal(model.net[0].weight, at_the_end)


def test_titles_name_the_epoch_of_any_checkpoint_and_count_on_from_an_earlier_training(titles):
    model, greatest = WatchedGetsWorse(), ModelCheckpoint("own", monitor="val_loss", mode="max")
    fit(model, max_epochs=3, callbacks=[greatest])
    assert titles[-1] == "epoch 3, best weights"  # the history's best epoch is the first
    fit(model, max_epochs=3, run_dir="second", enable_checkpointing=False)
    assert titles[-2:] == ["epoch 4, current weights", "epoch 6, current weights"]
    fit(model, max_epochs=3, run_dir="third")
    assert titles[-2:] == ["epoch 8, current weights", "epoch 7, best weights"]


def test_the_title_is_a_strip_above_the_figure():
    plain = BytesIO()
    line().savefig(plain, format="png")
    expected = np.asarray(Image.open(plain).convert("RGB"))
    first, second = (np.asarray(render.to_image(line(), f"epoch {n}, best weights")) for n in (1, 2))
    height, width = expected.shape[:2]
    assert np.array_equal(first[-height:, :width], expected)
    assert (first[:-height] == 255).mean() > 0.5
    assert (first[:-height] < 160).any()
    assert not np.array_equal(first[:-height], second[:-height])


def test_the_sample_is_the_first_rows_of_the_validation_data_while_training(monkeypatch):
    monkeypatch.setattr(validation_sample, "MAX_ROWS", 20)
    model, (x, y) = Watched(), points(31, 1)
    trainer = fit(model, val_check_interval=2, num_sanity_val_steps=2)
    trainer.validate(model, loaders()["val_dataloaders"], verbose=False)
    assert len(model.drawn) == 2
    assert all(torch.equal(a, x[:20]) and torch.equal(b, y[:20]) for _, (a, b), _ in model.drawn)


class Greedy(ManyMetrics):
    """Draws random numbers, and changes modes, gradients and metrics, when it is drawn."""

    def figures(self, batch, outputs):
        torch.rand(3), np.random.rand(3), random.random()
        self.train()
        with torch.enable_grad():
            self.shared_step(batch)["loss"].backward()
        return {"line": line()}


def data_loaders():
    train, val = (DataLoader(TensorDataset(*points(50, i)), 10, shuffle=not i) for i in range(2))
    return {"train_dataloaders": train, "val_dataloaders": val}


@pytest.mark.parametrize("make", [loaders, data_loaders, lambda: {"datamodule": Points(batch_size=25)}])
def test_training_is_bit_identical_with_figures_and_tensorboard_and_without(make):
    ends = []
    for on in (True, False):
        pl.seed_everything(1, verbose=False)
        model, data, logger = Greedy(), make(), None if on else False
        fit(model, data, max_epochs=4, run_dir=f"run-{on}", figures=on, logger=logger, val_check_interval=0.5)
        assert Path(f"run-{on}/figures/line.png").exists() == on
        positions = [loader.state_dict() for loader in data.values() if hasattr(loader, "state_dict")]
        loops = torch.load(f"run-{on}/checkpoints/last.ckpt", weights_only=True)["loops"]["fit_loop"]["state_dict"]
        randoms = random.random(), np.random.rand(), torch.rand(1)
        weights = [(value, value.grad) for value in model.parameters()]
        metric = model.f1_score.tp, model.f1_score.update_count
        ends.append((list(model.history), positions, loops, randoms, weights, metric))
    assert different(*ends) == {}


TWO_PROCESSES = """
import time
from lightmodels import Trainer
import pytorch_lightning as pl
from helpers.models import Classifier, Points

class Slow(Classifier):
    def figures(self, batch, outputs):
        assert self.trainer.global_rank == 0
        time.sleep(0.1)
        return super().figures(batch, outputs)

for figures in (True, False):
    pl.seed_everything(1)
    options = {"accelerator": "cpu", "devices": 2, "strategy": "ddp", "run_dir": f"run-{figures}"}
    Trainer(max_epochs=3, figures=figures, **options).fit(Slow(dropout=0.3), Points())
"""


def test_of_two_processes_the_first_draws_and_both_train_as_without():
    Path("script.py").write_text(TWO_PROCESSES)
    assert "could not be drawn" not in run_apart("script.py", processes=2).err
    assert Path("run-True/figures/confusion_matrix.png").exists()
    ours, expected = (torch.load(f"run-{on}/checkpoints/last.ckpt") for on in (True, False))
    for part in ("state_dict", "history"):
        assert different(ours[part], expected[part]) == {}


def fails(batch, outputs):
    raise KeyError("colour\nof lines")


def draws_some(batch, outputs):
    return {"bad": line("$\\nonsense$"), "none": None, "line": line()}


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
        assert fit(Watched(), max_epochs=4).current_epoch == 4
    messages = [str(each.message) for each in caught if "drawn" in str(each.message)]
    assert [message[: len(start)] for message, start in zip(messages, warned, strict=True)] == warned
    assert files() == {"history.png"} | written


@pytest.mark.filterwarnings("error:.*drawn")
def test_a_model_without_hooks_of_its_own_gets_no_warning_if_its_forward_does_not_suit():
    class Odd(Classifier):
        def forward(self, x, more=None):
            if self.trainer.state.stage == "train" and not self.training:
                raise TypeError("forward cannot be used here")
            return super().forward(x)

    fit(Odd())
    assert files() == {"history.png"}


def test_without_tensorboard_one_line_says_so_and_files_are_written(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.setitem(sys.modules, name, None)
    fit(Classifier())
    assert capsys.readouterr().out.splitlines().count("no event files: tensorboard is not installed") == 1
    assert files() == {"confusion_matrix.png", "history.png"}


@pytest.mark.parametrize(
    "options", [{"figures": False}, {"fast_dev_run": True}, {"barebones": True}, {"limit_val_batches": 0}]
)
def test_when_nothing_of_the_model_is_drawn(options):
    model = Watched()
    model.texts = model.embeddings = model.figures
    fit(model, **options)
    assert not model.drawn
    assert files() == ({"history.png"} if "limit_val_batches" in options else set())


@pytest.mark.filterwarnings("ignore")
def test_other_modules_and_trainers_without_a_run_directory_draw_nothing():
    fit(BoringModel(), {}, max_epochs=1)
    model = Watched()
    pl.Trainer(max_epochs=1, accelerator="cpu", callbacks=[FigureLogger()], logger=False).fit(model, **loaders())
    assert not model.drawn
    assert files() == set()


def test_ctrl_c_while_drawing_stops_after_the_epoch_with_its_state_saved():
    class Interrupted(Watched):
        def figures(self, batch, outputs):
            os.kill(os.getpid(), signal.SIGINT)
            return super().figures(batch, outputs)

    model = Interrupted()
    fit(model, max_epochs=3)
    saved = torch.load("run/checkpoints/last.ckpt")["history"]["rows"]
    assert len(model.history) == len(model.drawn) == len(saved) == 1


def test_figures_of_pyplot_are_closed_and_may_be_used_again():
    pyplot.close("all")  # those of other tests
    model, reused = Classifier(), pyplot.figure(figsize=(3, 1))
    model.figures = lambda *_: {"reused": reused, "new": pyplot.figure()}
    fit(model, max_epochs=4)
    assert pyplot.get_fignums() == []
    assert len({(event.width, event.height) for event in events().Images("visualization/reused")}) == 1


def test_rows_that_cannot_be_joined_are_left_out():
    kept = ValidationSample()
    for length in (3, 3, 4, 3):
        kept.add({"x": torch.zeros(5, length), "y": [torch.arange(5)]})
    batch, labels = kept.predict(lambda batch: batch["y"][0])
    assert batch["x"].shape == (15, 3)
    assert labels.tolist() == [0, 1, 2, 3, 4] * 3
    kept = ValidationSample()
    kept.add(["no tensor"])
    assert (kept.complete, kept.batches) == (True, [])


def test_large_rows_and_large_outputs_make_the_sample_smaller(monkeypatch):
    monkeypatch.setattr(validation_sample, "MAX_BYTES", 1_000)
    kept = ValidationSample()
    kept.add((torch.zeros(30, 50), torch.zeros(30)))  # 204 bytes a row
    assert [len(part) for part in kept.batches[0]] == [4, 4]
    assert kept.complete
    monkeypatch.setattr(validation_sample, "MAX_OUTPUT_BYTES", 500)
    kept = ValidationSample()
    for start in range(4):
        kept.add(torch.full((3,), start))
    batch, results = kept.predict(lambda batch: batch.repeat(10).reshape(10, 3).T)  # 240 bytes each
    assert results.shape == (9, 10)
    assert batch.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
