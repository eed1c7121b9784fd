"""What TensorBoard's own reader finds in the event files of a run."""

import random
import sys

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import train
from models import Classifier, OneCycle, Points, points
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import Trainer
from lightmodels.visualization.run_description import fingerprint
from lightmodels.visualization.tensorboard_callback import TensorBoardCallback


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def events(run_dir):
    found = EventAccumulator(str(run_dir), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
    found.Reload()
    return found


def points_of(found, tag):
    return [(event.step, event.value) for event in found.Scalars(tag)]


def fit(**options):
    pl.seed_everything(0, verbose=False)
    model = OneCycle()
    trainer = Trainer(**({"max_epochs": 3, "run_dir": "run", "accelerator": "cpu"} | options))
    trainer.fit(model, Points(batch_size=25))
    return trainer, model


def test_epochs_are_drawn_over_epochs_with_the_historys_values():
    trainer, model = fit()
    tested = trainer.test(verbose=False)[0]
    found = events("run")
    for name in model.history.columns:
        if name != "epoch":
            expected = [(row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in model.history]
            assert points_of(found, name) == expected
    assert points_of(found, "test_loss") == [(3, pytest.approx(tested["test_loss"], rel=1e-6))]
    assert "epoch" not in found.Tags()["scalars"]


def test_a_chart_holds_training_and_validation_of_a_metric():
    fit()
    (event,) = events("run").Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for part in layout.category for chart in part.chart}
    assert charts == {
        "acc": ["train_acc", "val_acc"],
        "loss": ["train_loss", "val_loss"],
        "learning rate": ["lr"],
    }


def test_the_card_says_what_was_run_on_what(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--seed", "a|b"])
    fit()
    (event,) = events("run").Tensors("run/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    for part in ("train.py --seed 'a/b'", "OneCycle, 42 parameters", "103 train, 31 val", torch.__version__):
        assert part in text


def test_other_data_have_another_fingerprint():
    first, same, other = (((torch.arange(6), torch.zeros(6)),) for _ in range(3))
    other[0][0][3] = 7
    prints = [fingerprint(splits) for splits in (first, same, other)]
    assert prints[0] == prints[1] != prints[2]
    assert fingerprint((first[0][::-1],)) != prints[0]


def hyper_parameters(run_dir):
    """Of the run as TensorBoard's page would show them: parameters, and the tags of its metrics."""
    started, metrics = {}, []
    for tag, metadata in events(run_dir).summary_metadata.items():
        if metadata.plugin_data.plugin_name == "hparams":
            data = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
            if tag.endswith("session_start_info"):
                started = {
                    name: v.number_value or v.string_value
                    for name, v in data.session_start_info.hparams.items()
                }
            elif tag.endswith("experiment"):
                metrics = [info.name.tag for info in data.experiment.metric_infos]
    return started, metrics


def test_hyper_parameters_stand_beside_the_best_and_the_final_values():
    train.main(["--max_epochs", "3", "--run_dir", "run", "--model.lr", "0.5", "--data.num_rows", "300"])
    parameters, metrics = hyper_parameters("run")
    assert (parameters["lr"], parameters["num_rows"], parameters["batch_size"]) == (0.5, 300, 100)
    assert set(metrics) == {
        f"summary/{kind}_{stage}_{name}"
        for kind in ("best", "final")
        for stage in ("train", "val")
        for name in ("loss", "acc")
    }
    found = events("run")
    losses = [value for _, value in points_of(found, "val_loss")]
    assert points_of(found, "summary/best_val_loss") == [(3, min(losses))]
    assert points_of(found, "summary/final_val_loss") == [(3, losses[-1])]


def test_long_epochs_show_their_steps():
    x, y = points(1000)
    model = Classifier()
    Trainer(max_epochs=2, run_dir="run").fit(model, train_data=(x, y), batch_size=8)
    found = events("run")
    assert [step for step, _ in points_of(found, "step/loss")] == [50, 100, 175, 225]
    assert [value for _, value in points_of(found, "step/lr")] == pytest.approx([0.05] * 4)
    fit(run_dir="short")
    assert not [tag for tag in events("short").Tags()["scalars"] if tag.startswith("step/")]


def test_the_net_is_drawn_and_nothing_else_changes():
    fit()
    assert events("run").Tags()["graph"]
    _, model = fit(run_dir="other")
    _, bare = fit(run_dir="bare", logger=False)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), bare.parameters(), strict=True))
    assert model.history["val_loss"] == bare.history["val_loss"]


def test_the_first_batch_of_other_loaders_shows_the_net():
    loader = DataLoader(TensorDataset(*points(30)), batch_size=10)
    Trainer(max_epochs=1, run_dir="run").fit(Classifier(), loader)
    assert events("run").Tags()["graph"]


class Counting(torch.nn.Module):
    traced = 0

    def forward(self, x):
        Counting.traced += torch.jit.is_tracing()
        return x


def test_the_net_is_traced_once():
    model = Classifier()
    model.net = torch.nn.Sequential(Counting(), model.net)
    Trainer(max_epochs=1, run_dir="run", accelerator="cpu").fit(model, Points())
    assert events("run").Tags()["graph"]
    assert Counting.traced == 1


class Untraceable(Classifier):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(Capricious(), self.net)


class Capricious(torch.nn.Module):
    def forward(self, x):
        if torch.jit.is_tracing():
            raise RuntimeError("not today\nnor tomorrow")
        return x


def test_a_net_that_cannot_be_traced_is_warned_of(capsys):
    trainer = Trainer(max_epochs=1, run_dir="run", accelerator="cpu")
    with pytest.warns(UserWarning, match="will not show the net's graph: RuntimeError: not today$"):
        trainer.fit(Untraceable(), Points())
    assert not events("run").Tags()["graph"]
    assert "not today" not in capsys.readouterr().out  # where the writer of torch prints it


def test_histograms_are_written_if_asked_for():
    _, model = fit(callbacks=[TensorBoardCallback(histograms=True)])
    found = events("run")
    names = [name for name, _ in model.named_parameters()]
    wanted = {f"{kind}/{name}" for kind in ("weights", "gradients") for name in names}
    assert set(found.Tags()["histograms"]) == wanted
    assert [event.step for event in found.Histograms("weights/net.0.weight")] == [1, 2, 3]
    fit(run_dir="without")
    assert events("without").Tags()["histograms"] == []


def test_a_resumed_run_goes_on_in_the_same_curves():
    fit(max_epochs=2)
    model = OneCycle()
    trainer = Trainer(max_epochs=4, run_dir="run", accelerator="cpu")
    trainer.fit(model, Points(batch_size=25), ckpt_path="run/checkpoints/last.ckpt")
    assert [step for step, _ in points_of(events("run"), "val_loss")] == [1, 2, 3, 4]
    assert points_of(events("run"), "summary/final_val_loss")[-1][0] == 4


def test_the_best_values_are_those_of_the_checkpoint_or_of_the_least_loss():
    trainer, model = fit(monitor="val_loss", mode="max")
    (best,) = [row for row in model.history if row["epoch"] == trainer.best_epoch]
    assert best["val_loss"] == max(model.history["val_loss"])
    fit(run_dir="unkept", enable_checkpointing=False)
    for run_dir, expected in (("run", best["val_loss"]), ("unkept", min(model.history["val_loss"]))):
        ((_, value),) = points_of(events(run_dir), "summary/best_val_loss")
        assert value == pytest.approx(expected, rel=1e-6)


class Restless(torch.nn.Module):
    """A net that draws from every random state, and counts how often it was called."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x * (1 + np.random.rand() + random.random()) + self.calls


@pytest.mark.filterwarnings("ignore:TensorBoard will not show the net")
def test_the_card_and_the_graph_leave_no_trace():
    losses = []
    for logger in (None, False):
        pl.seed_everything(0, verbose=False)
        model = Classifier(dropout=0.5)
        model.net = torch.nn.Sequential(Restless(), model.net)
        trainer = Trainer(max_epochs=2, logger=logger, accelerator="cpu", enable_checkpointing=False)
        losses.append(trainer.fit(model, Points(batch_size=25))["train_loss"])
    assert losses[0] == losses[1]


def test_odd_data_and_weights_do_not_break_a_run():
    class Odd(Classifier):
        def __init__(self):
            super().__init__()
            self.words = torch.nn.Embedding(5, 2, sparse=True)
            self.nothing = torch.nn.Parameter(torch.empty(0))

        def shared_step(self, batch):
            values = super().shared_step(batch)
            return values | {"loss": values["loss"] + self.words(torch.tensor([1])).sum()}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class OwnSplits(pl.LightningDataModule):
        def __init__(self):
            super().__init__()
            self.splits = {"train": 1}

        def train_dataloader(self):
            return DataLoader(TensorDataset(*points(30)), batch_size=10)

    Trainer(
        max_epochs=1, run_dir="run", callbacks=[TensorBoardCallback(histograms=True)], accelerator="cpu"
    ).fit(Odd(), OwnSplits())
    assert "weights/words.weight" in events("run").Tags()["histograms"]
    assert "OwnSplits" in events("run").Tensors("run/text_summary")[0].tensor_proto.string_val[0].decode()
