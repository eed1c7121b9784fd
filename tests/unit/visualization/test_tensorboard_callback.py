"""TensorBoardCallback: what TensorBoard's own reader finds in the event files of a run."""

import sys
import time
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.browser import events
from helpers.fits import loaders
from helpers.models import Classifier, OneCycle, Points, points
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from lightmodels import Trainer
from lightmodels.cli import train
from lightmodels.cli.train_flags import parse


def values_of(found, tag):
    return [(event.step, event.value) for event in found.Scalars(tag)]


def fit(data=None, ckpt_path=None, **options):
    pl.seed_everything(0, verbose=False)
    trainer, model = Trainer(**{"max_epochs": 3, "run_dir": "run", "accelerator": "cpu", **options}), OneCycle()
    trainer.fit(model, data or Points(batch_size=25), ckpt_path=ckpt_path)
    return trainer, model


def test_values_are_plotted_over_epochs_in_one_chart_for_training_and_validation():
    trainer, model = fit()
    tested = trainer.test(verbose=False)[0]
    found = events()
    for name in model.history.columns:
        if name != "epoch":
            expected = [(row["epoch"], pytest.approx(row[name], rel=1e-6)) for row in model.history]
            assert values_of(found, name) == expected
    assert values_of(found, "test_loss") == [(3, pytest.approx(tested["test_loss"], rel=1e-6))]
    assert "epoch" not in found.Tags()["scalars"]
    (event,) = found.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for part in layout.category for chart in part.chart}
    metrics = {name: [f"train_{name}", f"val_{name}"] for name in ("acc", "loss")}
    assert charts == {**metrics, "learning rate": ["lr"]}


def test_all_values_of_an_epoch_are_one_event():
    _, model = fit()
    written = [event for path in Path("run").glob("events.*") for event in EventFileLoader(str(path)).Load()]
    values = [{value.tag for value in event.summary.value} for event in written if event.step == 3]
    assert set(model.history.columns) - {"epoch"} in values


class OwnSplits(pl.LightningDataModule):
    splits = {"train": 1}  # noqa: RUF012

    def train_dataloader(self):
        return loaders()["train_dataloaders"]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (Points(), "Points, rows: 103 train, 31 val, 31 test |"),
        (OwnSplits(), " OwnSplits |"),
        (loaders()["train_dataloaders"], " loaders |"),
    ],
)
def test_the_description_names_command_model_data_and_versions(data, shown, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--seed", "a|b"])
    fit(data, max_epochs=1)
    text = events().Tensors("run/text_summary")[0].tensor_proto.string_val[0].decode()
    for part in ("train.py --seed 'a/b'", "OneCycle, 42 parameters", shown, torch.__version__):
        assert part in text


def test_hyper_parameters_stand_beside_the_best_and_the_final_values():
    train.main(parse(["--max_epochs", "3", "--run_dir", "run", "--model.lr", "0.5", "--data.num_rows", "300"]))
    found, parameters, metrics = events(), {}, set()
    for metadata in found.summary_metadata.values():
        if metadata.plugin_data.plugin_name == "hparams":
            data = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
            parameters |= {name: v.number_value for name, v in data.session_start_info.hparams.items()}
            metrics |= {info.name.tag for info in data.experiment.metric_infos}
    assert (parameters["lr"], parameters["num_rows"], parameters["batch_size"]) == (0.5, 300, 100)
    names = [f"{stage}_{name}" for stage in ("train", "val") for name in ("loss", "acc")]
    assert metrics == {f"summary/{kind}_{name}" for kind in ("best", "final") for name in names}
    losses = [value for _, value in values_of(found, "val_loss")]
    assert values_of(found, "summary/best_val_loss") == [(3, min(losses))]
    assert values_of(found, "summary/final_val_loss") == [(3, losses[-1])]


@pytest.mark.parametrize("steps_per_execution", [1, 20])
def test_long_epochs_show_their_steps(steps_per_execution):
    trainer = Trainer(max_epochs=2, run_dir="run", gpus=0, steps_per_execution=steps_per_execution)
    trainer.fit(Classifier(), train_data=points(1000), batch_size=8)
    found, expected = events(), [50, 100, 175, 225] if steps_per_execution == 1 else [60, 100, 185, 225]
    assert [step for step, _ in values_of(found, "step/loss")] == expected
    assert [value for _, value in values_of(found, "step/lr")] == pytest.approx([0.05] * 4)
    fit(run_dir="short")
    assert not [tag for tag in events("short").Tags()["scalars"] if tag.startswith("step/")]


def test_a_resumed_run_continues_the_same_curves():
    fit(max_epochs=2)
    second = int(time.time())
    while int(time.time()) == second:  # event files are read in the order of their names, which have whole seconds
        time.sleep(0.01)
    fit(max_epochs=4, ckpt_path="run/checkpoints/last.ckpt")
    assert [step for step, _ in values_of(events(), "val_loss")] == [1, 2, 3, 4]
    assert values_of(events(), "summary/final_val_loss")[-1][0] == 4


def test_the_best_values_are_those_of_the_checkpoint_or_of_the_lowest_loss():
    trainer, model = fit(monitor="val_loss", mode="max")
    (best,) = [row for row in model.history if row["epoch"] == trainer.best_epoch]
    assert best["val_loss"] == max(model.history["val_loss"])
    fit(run_dir="without", enable_checkpointing=False)
    for run_dir, expected in (("run", best["val_loss"]), ("without", min(model.history["val_loss"]))):
        ((_, value),) = values_of(events(run_dir), "summary/best_val_loss")
        assert value == pytest.approx(expected, rel=1e-6)
