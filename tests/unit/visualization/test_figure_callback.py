"""Pictures: when they are drawn and where they go; training is the same with them and without."""

import multiprocessing
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, OneCycle, Points, points
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning.demos.boring_classes import BoringModel
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import Trainer, sample
from lightmodels.budget import Budget
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.pictures import Pictures
from lightmodels.projector import Embedding
from lightmodels.snapshot import Snapshot

CLOCKS = ("seconds", "samples_per_second")


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def loaders(batch_size=25):
    train = TensorLoader(*points(103), batch_size=batch_size, shuffle=True)
    return train, TensorLoader(*points(31, 1), batch_size=9)


def trainer(**options):
    return Trainer(**{"max_epochs": 2, "run_dir": "run", "gpus": 0, **options})


def images(tag):
    events = EventAccumulator("run", size_guidance={"images": 0})
    events.Reload()
    return events.Images(f"figures/{tag}")


class Watched(Classifier):
    """Writes down when it draws, and draws something small."""

    def __init__(self) -> None:
        super().__init__(dropout=0.3)
        self.drawn = []

    def figures(self, batch, outputs):
        self.drawn.append(
            (self.trainer.current_epoch, self.training, len(batch[0]), self.net[0].weight.clone())
        )
        figure = Figure(figsize=(1, 1))
        figure.add_subplot().plot([0, 1])
        return {"line": figure}


class GetsWorse(Watched):
    """Best after the first epoch."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, maximize=True)


@pytest.fixture
def no_budget(monkeypatch):
    monkeypatch.setattr("lightmodels.pictures.SHARE", float("inf"))


@pytest.fixture
def here(monkeypatch):
    """Draws in this process, where tests can watch, as it is where processes cannot be copied."""
    monkeypatch.setattr("lightmodels.snapshot.can_fork", lambda: False)


@pytest.fixture(params=["copy", "here"])
def anywhere(request):
    if request.param == "here":
        request.getfixturevalue("here")


def test_a_users_own_model_gets_pictures_in_tensorboard_and_in_files():
    trainer().fit(Classifier(), *loaders())
    content = Path("run/figures/confusion_matrix.png").read_bytes()
    events = images("confusion_matrix")
    assert [event.step for event in events] == [5, 10]
    assert events[-1].encoded_image_string == content
    assert Image.open("run/figures/confusion_matrix.png").size == (events[-1].width, events[-1].height)
    assert {path.name for path in Path("run/figures").iterdir()} == {"confusion_matrix.png", "history.png"}
    assert [event.step for event in images("history")] == [10]


def test_they_are_drawn_at_growing_intervals_and_at_the_end(no_budget, here):
    model = Watched()
    trainer(max_epochs=10).fit(model, *loaders())
    assert [epoch for epoch, *_ in model.drawn] == [1, 2, 4, 8, 10]
    assert all(not training and rows == 31 for _, training, rows, _ in model.drawn)
    assert [event.step for event in images("line")] == [5, 10, 20, 40, 50]


@pytest.fixture
def no_time(monkeypatch):
    monkeypatch.setattr("lightmodels.pictures.SHARE", 0.0)


class Remembers(pl.Callback):
    """The weights after each epoch, by optimizer step."""

    def __init__(self):
        self.weights = {}

    def on_train_epoch_end(self, trainer, pl_module):
        self.weights[trainer.global_step] = pl_module.net[0].weight.detach().clone()


@pytest.mark.parametrize(("epochs", "steps"), [(1, [5]), (2, [5, 10]), (5, [5, 20, 25]), (20, [5, 80, 100])])
def test_without_time_to_spare_weights_are_kept_and_drawn_at_the_end(epochs, steps, no_time, here):
    pl.seed_everything(3, verbose=False)
    model, remembers = GetsWorse(), Remembers()
    trainer(max_epochs=epochs, callbacks=[remembers]).fit(model, *loaders())
    assert [epoch for epoch, *_ in model.drawn] == [epochs] * len(steps)
    assert [event.step for event in images("line")] == steps
    for step, (*_, drawn) in zip([*steps[:-1], 5], model.drawn, strict=True):  # at last the best, the first
        assert torch.equal(drawn, remembers.weights[step])
    assert torch.equal(model.net[0].weight, remembers.weights[epochs * 5])


def test_kept_weights_are_logged_at_their_steps_and_the_files_are_the_bests(no_time, anywhere):
    class Shows(Classifier):
        def texts(self, batch, outputs):
            return {"weight": f"{self.net[0].weight[0, 0].item():.9f}"}

    remembers, model = Remembers(), Shows()
    trainer(max_epochs=3, callbacks=[remembers]).fit(model, *loaders())
    events = images("confusion_matrix")
    assert [event.step for event in events] == [5, 10, 15]
    assert Path("run/figures/confusion_matrix.png").read_bytes() == events[-1].encoded_image_string
    assert [event.step for event in images("history")] == [15]
    reader = EventAccumulator("run", size_guidance={"tensors": 0})
    reader.Reload()
    texts = reader.Tensors("texts/weight/text_summary")
    said = {event.step: event.tensor_proto.string_val[0].decode() for event in texts}
    assert list(said) == [5, 10, 15]
    assert all(said[step] == f"{remembers.weights[step][0, 0].item():.9f}" for step in (5, 10))


def test_large_weights_are_not_kept_and_what_is_due_waits_for_time(monkeypatch, here):
    monkeypatch.setattr("lightmodels.kept_weights.MOST_BYTES", 100)
    affords = iter([False, False, True, True, False])
    monkeypatch.setattr("lightmodels.budget.Budget.affords", lambda self, share: next(affords))
    model = Watched()
    trainer(max_epochs=6).fit(model, *loaders())
    assert [epoch for epoch, *_ in model.drawn] == [3, 4, 6]


def test_kept_weights_are_drawn_in_their_order_as_soon_as_there_is_time(monkeypatch, here):
    affords = iter([False, False, True, True, True, True])
    monkeypatch.setattr("lightmodels.budget.Budget.affords", lambda self, share: next(affords))
    model = Watched()
    trainer(max_epochs=7).fit(model, *loaders())
    assert [epoch for epoch, *_ in model.drawn] == [3, 4, 5, 7]
    assert [event.step for event in images("line")] == [5, 10, 20, 35]


def test_the_budget_counts_waiting_and_the_copies_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("lightmodels.budget.perf_counter", lambda: now[0])
    budget = Budget()
    now[0] += 5.99
    assert not budget.affords(0.05)  # the first is thought to cost 0.3 seconds
    now[0] += 0.02
    assert budget.affords(0.05)
    with budget.waiting():
        now[0] += 0.1
    budget.beside, budget.drawn = 0.4, 2  # 0.5 seconds for two, so that 15 are needed for a third
    now[0] += 8.98
    assert not budget.affords(0.05)
    now[0] += 0.02
    assert budget.affords(0.05)


def test_a_copy_tells_its_own_seconds():
    def work():
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        return "done"

    snapshot = Snapshot(work)
    assert snapshot.result() == "done"
    assert 0.2 <= snapshot.seconds < 1


def test_the_copies_seconds_are_charged_to_the_training(no_budget):
    class Busy(Watched):
        def figures(self, batch, outputs):
            end = time.process_time() + 0.2
            while time.process_time() < end:
                pass
            return super().figures(batch, outputs)

    run = trainer(max_epochs=2)
    run.fit(Busy(), *loaders())
    (pictures,) = [each for each in run.callbacks if isinstance(each, Pictures)]
    assert pictures._budget.drawn == 2
    assert pictures._budget.beside >= 0.4


def test_the_last_are_of_the_best_weights_and_the_model_keeps_its_own(here):
    pl.seed_everything(3, verbose=False)
    model = GetsWorse()
    trainer(max_epochs=3).fit(model, *loaders())
    (*_, after_one), *_, (*_, at_the_end) = model.drawn
    assert torch.equal(after_one, at_the_end)
    assert not torch.equal(model.net[0].weight, at_the_end)
    last = torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(last[name], value) for name, value in model.state_dict().items())


def test_the_sample_is_the_first_rows_of_the_validation_data(monkeypatch, here):
    monkeypatch.setattr(sample, "MOST_ROWS", 20)
    x, y = points(31, 1)

    class Sees(Watched):
        def figures(self, batch, outputs):
            assert torch.equal(batch[0], x[:20])
            assert torch.equal(batch[1], y[:20])
            assert torch.equal(outputs, self(x[:20]))
            return super().figures(batch, outputs)

    model = Sees()
    trainer().fit(model, *loaders())
    assert len(model.drawn) == 2


@pytest.mark.parametrize("kind", ["tensors", "DataLoader", "datamodule"])
@pytest.mark.parametrize("share", [float("inf"), 0.0], ids=["at once", "kept"])
def test_training_is_the_same_to_the_bit_with_pictures_and_without(kind, share, monkeypatch, anywhere):
    monkeypatch.setattr("lightmodels.pictures.SHARE", share)

    class Greedy(OneCycle):
        """Draws random numbers of all kinds, and leaves everything behind in another state."""

        def figures(self, batch, outputs):
            torch.rand(3), np.random.rand(3), random.random()
            self.train()
            return super().figures(batch, outputs)

    ends = []
    for on in (True, False):
        pl.seed_everything(1, verbose=False)
        model, data = Greedy(), loaders()
        if kind == "DataLoader":
            data = [DataLoader(TensorDataset(*points(50, i)), 10, shuffle=True) for i in range(2)]
        data = (None, None, Points()) if kind == "datamodule" else data
        run = trainer(max_epochs=4, run_dir=f"run-{on}", figures=on)
        run.fit(model, *data)
        assert Path(f"run-{on}/figures").exists() == on
        rows = [{name: row[name] for name in row if name not in CLOCKS} for row in model.history]
        positions = [loader.state_dict() for loader in data[:2] if hasattr(loader, "state_dict")]
        state = torch.load(f"run-{on}/checkpoints/last.ckpt", weights_only=True)
        ends.append(
            (rows, positions, state["loops"]["fit_loop"]["state_dict"], random.random(), np.random.rand())
        )
        ends[-1] += (torch.rand(1).item(), [value.tolist() for value in model.state_dict().values()])
    assert ends[0] == ends[1]


def test_a_run_that_is_resumed_draws_and_ends_as_one_that_was_not(no_budget):
    pl.seed_everything(1, verbose=False)
    whole = OneCycle()
    trainer(max_epochs=4, run_dir="whole").fit(whole, *loaders())
    pl.seed_everything(1, verbose=False)
    first = trainer(max_epochs=4, save_every_n_steps=3, limit_train_batches=1.0)
    first.callbacks.append(StopsAt(13))
    with pytest.raises(RuntimeError, match="stopped"):
        first.fit(OneCycle(), *loaders())
    resumed = OneCycle()
    trainer(max_epochs=4, run_dir=None).fit(resumed, *loaders(), ckpt_path="run/checkpoints/last.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert images("confusion_matrix")[-1].step == 20


class StopsAt(pl.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise RuntimeError("stopped")


def test_a_figure_that_cannot_be_drawn_is_one_warning(no_budget, anywhere):
    class Fails(Classifier):
        def figures(self, batch, outputs):
            raise KeyError("colour")

    with pytest.warns(RuntimeWarning) as caught:
        history = trainer(max_epochs=4).fit(Fails(), *loaders())
    ours = [str(each.message) for each in caught if "drawn" in str(each.message)]
    assert ours == ["Fails.figures could not be drawn: KeyError: 'colour'"]
    assert len(history) == 4


def test_one_that_cannot_be_rendered_is_named_and_the_others_are_drawn(no_budget, anywhere):
    class Half(Watched):
        def figures(self, batch, outputs):
            bad = Figure()
            bad.suptitle("$\\nonsense$")
            return {"bad": bad, **super().figures(batch, outputs)}

    with pytest.warns(RuntimeWarning, match="figure 'bad' could not be drawn: ValueError") as caught:
        trainer(max_epochs=4).fit(Half(), *loaders())
    assert len([each for each in caught if "drawn" in str(each.message)]) == 1
    assert {path.name for path in Path("run/figures").iterdir()} == {"line.png", "history.png"}


def test_a_model_that_has_asked_for_nothing_is_not_bothered():
    class Odd(Classifier):
        def forward(self, x, more=None):
            if self.trainer.state.stage == "train" and not self.training:
                raise TypeError("forward is no use for this")
            return super().forward(x)

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*drawn")
        trainer().fit(Odd(), *loaders())
    assert [path.name for path in Path("run/figures").iterdir()] == ["history.png"]


NO_MATPLOTLIB = "no pictures: matplotlib is not installed"


def without(package, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == package] or [package]:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(
    ("package", "line"),
    [("matplotlib", NO_MATPLOTLIB), ("tensorboard", "no event files: tensorboard is not installed")],
)
def test_without_a_package_one_line_says_so_and_training_runs(package, line, monkeypatch, capsys):
    without(package, monkeypatch)
    history = trainer().fit(Classifier(), *loaders())
    assert len(history) == 2
    assert capsys.readouterr().out.splitlines().count(line) == 1
    assert Path("run/figures").exists() == (package == "tensorboard")


def test_without_matplotlib_texts_and_embeddings_are_still_shown(monkeypatch, capsys, anywhere):
    class Shows(Classifier):
        def figures(self, batch, outputs):
            raise AssertionError("nothing can draw")

        def texts(self, batch, outputs):
            return {"note": f"{len(outputs)} rows"}

        def embeddings(self, batch, outputs):
            return {"points": Embedding(batch[0], [str(number) for number in range(31)])}

    without("matplotlib", monkeypatch)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*drawn")
        trainer().fit(Shows(), *loaders())
    assert capsys.readouterr().out.splitlines().count(NO_MATPLOTLIB) == 1
    reader = EventAccumulator("run", size_guidance={"tensors": 0})
    reader.Reload()
    assert [event.step for event in reader.Tensors("texts/note/text_summary")] == [5, 10]
    assert Path("run/projector_config.pbtxt").exists()
    assert not Path("run/figures").exists()


@pytest.mark.parametrize("options", [{"figures": False}, {"fast_dev_run": True}, {"barebones": True}])
def test_when_nothing_is_drawn(options, here):
    options = {"max_epochs": 1, "run_dir": "run", "accelerator": "cpu", **options}
    model = Watched()
    Trainer(**options).fit(model, *loaders())
    assert not model.drawn
    assert not Path("run/figures").exists()


def test_without_validation_only_the_history_is_drawn(here):
    model = Watched()
    trainer(limit_val_batches=0).fit(model, *loaders())
    assert not model.drawn
    assert [path.name for path in Path("run/figures").iterdir()] == ["history.png"]


def test_a_copy_that_is_killed_is_a_warning_and_leaves_nothing_behind():
    class Dies(Watched):
        def figures(self, batch, outputs):
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.warns(
        RuntimeWarning, match="figures could not be drawn: its process ended with exit code -9"
    ):
        history = trainer().fit(Dies(), *loaders())
    assert len(history) == 2
    assert not Path("run/figures").exists()
    assert not multiprocessing.active_children()


def test_a_copy_that_cannot_be_made_is_a_warning(monkeypatch):
    def full(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("os.fork", full)
    with pytest.warns(RuntimeWarning, match="figures could not be drawn: .* Resource temporarily"):
        assert len(trainer().fit(Classifier(), *loaders())) == 2


def test_figures_may_ask_for_the_best_checkpoint():
    class Asks(Watched):
        def figures(self, batch, outputs):
            assert self.trainer.checkpoint_callback.best_model_path.endswith("best.ckpt")
            return super().figures(batch, outputs)

    trainer().fit(Asks(), *loaders())
    assert Path("run/figures/line.png").exists()


def test_an_error_in_training_ends_a_drawing_that_hangs(no_budget):
    class Hangs(Watched):
        def figures(self, batch, outputs):
            time.sleep(1000)

    run = trainer(max_epochs=4)
    run.callbacks.append(StopsAt(7))
    with pytest.raises(RuntimeError, match="stopped"):
        run.fit(Hangs(), *loaders())
    assert not multiprocessing.active_children()


def test_fit_can_end_before_its_last_pictures():
    run, model = trainer(), Slow()
    with run.drawing_on():
        run.fit(model, *loaders())
        assert not Path("run/figures/history.png").exists()
        run.validate(model, loaders()[1], verbose=False)
    assert Path("run/figures/history.png").exists()
    assert [event.step for event in images("line")][-1] == 10


class Slow(Watched):
    def figures(self, batch, outputs):
        time.sleep(1)
        return super().figures(batch, outputs)


def test_sanity_checks_and_validation_by_itself_draw_nothing(here):
    model = Watched()
    run = trainer(max_epochs=1, num_sanity_val_steps=2)
    run.fit(model, *loaders())
    assert [(epoch, rows) for epoch, _, rows, _ in model.drawn] == [(1, 31)]
    run.validate(model, loaders()[1], verbose=False)
    assert len(model.drawn) == 1


def test_modules_that_are_no_light_model_are_left_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer(max_epochs=1).fit(BoringModel())
    assert not Path("run/figures").exists()


def test_rows_that_cannot_be_joined_are_left_out(no_budget):
    kept = sample.Sample()
    for length in (3, 3, 4, 3):
        kept.add({"x": torch.zeros(5, length), "y": [torch.arange(5)]})
    assert kept.joined()["x"].shape == (15, 3)
    kept = sample.Sample()
    kept.add(["no tensor"])
    assert kept.complete
    assert not kept.batches


def test_large_rows_are_few(monkeypatch):
    monkeypatch.setattr(sample, "MOST_BYTES", 1_000)
    kept = sample.Sample()
    kept.add((torch.zeros(30, 50), torch.zeros(30)))  # 204 bytes a row
    assert len(kept.joined()[0]) == 4
    assert kept.complete


def test_the_callback_needs_a_directory():
    model = Watched()
    pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[Pictures()],
    ).fit(model, *loaders())  # fmt: skip
    assert not model.drawn


def test_outputs_that_would_fill_the_memory_make_the_sample_smaller(monkeypatch):
    monkeypatch.setattr(sample, "MOST_RESULT_BYTES", 500)
    kept = sample.Sample()
    for start in range(4):
        kept.add(torch.full((3,), start))
    results = kept.mapped(lambda batch: batch.repeat(10).reshape(10, 3).T)  # 240 bytes each
    assert results.shape == (9, 10)
    assert kept.joined().tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
