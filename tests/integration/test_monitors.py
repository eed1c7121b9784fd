"""The best epoch is the best one: by the metric's direction, for every metric and every validation loader."""

from pathlib import Path

import pytest
import torch
from helpers.models import Classifier, points
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy

from lightmodels import LightModel, Trainer
from lightmodels.metrics.direction import WORDS, mode_of

SCORES = [0.2, 0.9, 0.4, 0.3, 0.8]  # of epochs 1, 2, …


class Scored(Classifier):
    """Its validation values are known: ``score`` of each epoch under the names of ``names``."""

    names = ("acc",)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        score = SCORES[self.current_epoch] if not self.trainer.sanity_checking else 0.0
        values = dict.fromkeys(self.names, (score * len(batch[0]), len(batch[0])))
        self._stage_metrics.change_loader("val", dataloader_idx, self.trainer)
        self._stage_metrics.add("val", {"loss": (len(batch[0]), len(batch[0])), **values}, len(batch[0]))


def loader(rows=20, seed=0):
    return DataLoader(TensorDataset(*points(rows, seed)), batch_size=10)


def fit(model, val_loaders=None, max_epochs=5, **options):
    trainer = Trainer(gpus=0, max_epochs=max_epochs, logger=False, figures=False, run_dir="run", **options)
    trainer.fit(model, loader(), val_loaders or loader())
    return trainer


def test_higher_is_better_for_an_accuracy_and_lower_for_an_error():
    assert fit(Scored(), monitor="val_acc").best_epoch == 2
    assert torch.load("run/checkpoints/best.ckpt", weights_only=True)["epoch"] == 1


def test_lower_is_better_for_an_error():
    class Error(Scored):
        names = ("top5_error",)

    assert fit(Error(), monitor="val_top5_error").best_epoch == 1


@pytest.mark.parametrize(("mode", "best"), [("min", 1), ("max", 2)])
def test_a_given_mode_overrides_the_name(mode, best):
    assert fit(Scored(), monitor="val_acc", mode=mode).best_epoch == best


def test_a_name_that_says_nothing_needs_a_mode_before_the_first_step():
    class Reward(Scored):
        names = ("reward",)

        def training_step(self, batch, batch_idx):
            raise AssertionError("a step was made")

    with pytest.raises(ValueError, match=r"monitor 'val_reward': pass mode='min' or mode='max'"):
        fit(Reward(), monitor="val_reward")
    assert not list(Path("run").glob("**/*.ckpt"))


@pytest.mark.parametrize("higher", [True, False])
def test_a_metric_object_tells_its_direction(higher):
    class Quality(MeanMetric):
        higher_is_better = higher

    class Model(Classifier):
        def __init__(self):
            super().__init__()
            self.quality = Quality()

        def shared_step(self, batch):
            score = 0.0 if self.trainer.sanity_checking else SCORES[self.current_epoch]
            self.quality.update(score)
            return super().shared_step(batch) | {"loss_like": self.quality}

    trainer = fit(Model(), monitor="val_loss_like")
    assert trainer.best_epoch == (2 if higher else 1)


def test_metrics_of_torchmetrics_tell_their_direction_in_from_net():
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 1)
    rows = DataLoader(TensorDataset(points()[0], points()[1][:, None].float()), batch_size=20)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    model = LightModel.from_net(net, loss=loss, metrics={"share": BinaryAccuracy()})
    trainer = Trainer(gpus=0, max_epochs=6, logger=False, figures=False, run_dir="run", monitor="val_share")
    history = trainer.fit(model, rows, rows)
    assert history["val_share"][trainer.best_epoch - 1] == max(history["val_share"])
    assert min(history["val_share"]) < max(history["val_share"])


@pytest.mark.parametrize(("monitor", "epochs"), [("val_acc", 4), ("val_error", 3)])
def test_patience_goes_by_the_same_direction(monitor, epochs):
    class Both(Scored):
        names = ("acc", "error")

    model = Both()
    fit(model, monitor=monitor, patience=2)
    assert len(model.history) == epochs


def test_every_known_word_is_found_at_the_end_of_a_name():
    for word, mode in WORDS.items():
        assert mode_of(f"val_{word}", None) == mode_of(f"test_macro-{word}", None) == mode
        assert mode_of(f"val_{word}/dataloader_idx_1", None) == mode
    assert mode_of("val_acc_loss", None) == "min"
    assert mode_of("val_mapped", None) is None


def test_several_validation_loaders_are_judged_by_the_first():
    model = Classifier(lr=0.01)
    trainer = fit(model, [loader(31, 1), loader(17, 2)], patience=1)
    losses = model.history["val_loss/dataloader_idx_0"]
    assert trainer.best_epoch == 1 + losses.index(min(losses))
    best = torch.load("run/checkpoints/best.ckpt", weights_only=True)
    assert best["epoch"] + 1 == trainer.best_epoch
    (values, _) = trainer.test(model, [loader(31, 1), loader(17, 2)], ckpt_path="best", verbose=False)
    assert values["test_loss/dataloader_idx_0"] == pytest.approx(min(losses))


@pytest.mark.parametrize("bad", [0, 1])
def test_nan_in_any_validation_loader_ends_the_run(bad):
    given = [loader(31, 1), loader(17, 2)]
    given[bad].dataset.tensors[0][3] = float("nan")
    model = Classifier()
    with pytest.raises(FloatingPointError, match=rf"val_loss/dataloader_idx_{bad} is nan in epoch 1"):
        fit(model, given)


def test_patience_counts_with_several_loaders():
    class Constant(Classifier):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self._stage_metrics.change_loader("val", dataloader_idx, self.trainer)
            self._stage_metrics.add("val", {"loss": (1.0, 1)}, len(batch[0]))

    model = Constant()
    fit(model, [loader(), loader()], max_epochs=20, patience=2)
    assert len(model.history) == 3
