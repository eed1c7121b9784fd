"""LightModel: exact epoch values, history, wrapping, metrics, under our Trainer and under Lightning's."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, points
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import BinaryConfusionMatrix, BinaryF1Score

from lightmodels import LightModel, Trainer
from lightmodels.data.tensor_loader import TensorLoader


def quiet_trainer(kind=Trainer, **options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return kind(max_epochs=2, accelerator="cpu", **quiet, **options)


def by_hand(model, batches):
    """Loss and accuracy over the rows of all batches, in float64 from the per-row values."""
    losses, hits = [], []
    model.eval()
    with torch.no_grad():
        for x, y in batches:
            logits = model(x)
            losses.append(F.cross_entropy(logits, y, reduction="none").double())
            hits.append((logits.argmax(1) == y).double())
    return torch.cat(losses).mean().item(), torch.cat(hits).mean().item()


class Frozen(Classifier):
    """Does not move, so that training values can be computed by hand too."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.mark.parametrize("kind", [Trainer, pl.Trainer])
def test_epoch_values_are_exact_on_uneven_batches(kind):
    model, data = Frozen(), points(103)
    loaders = [TensorLoader(*data, batch_size=50) for _ in range(2)]
    quiet_trainer(kind).fit(model, *loaders)
    loss, accuracy = by_hand(model, loaders[1])
    for row in model.history:
        for stage in ("train", "val"):
            assert row[f"{stage}_loss"] == pytest.approx(loss, rel=1e-6)
            assert row[f"{stage}_acc"] == pytest.approx(accuracy, rel=1e-6)
    assert [row["epoch"] for row in model.history] == [1, 2]


def test_pairs_are_exact_to_the_last_digit():
    class Pairs(Frozen):
        def shared_step(self, batch):
            x, y = batch
            hits = self(x).argmax(1) == y
            return {"loss": F.cross_entropy(self(x), y), "acc": (hits.sum(), len(y))}

    model, data = Pairs(), points(103)
    quiet_trainer().fit(model, TensorLoader(*data, batch_size=50), TensorLoader(*data, batch_size=7))
    hits = (model(data[0]).argmax(1) == data[1]).sum().item()
    assert model.history[-1]["train_acc"] == model.history[-1]["val_acc"] == hits / 103


def test_test_values_are_those_by_hand_and_known_to_callbacks():
    model, data = Classifier(), points(103)
    trainer = quiet_trainer()
    trainer.fit(model, TensorLoader(*data, batch_size=10))
    (values,) = trainer.test(model, TensorLoader(*data, batch_size=50), verbose=False)
    loss, accuracy = by_hand(model, TensorLoader(*data, batch_size=50))
    assert values == {"test_loss": pytest.approx(loss, rel=1e-6), "test_acc": pytest.approx(accuracy, rel=1e-6)}
    assert trainer.callback_metrics["test_loss"].item() == values["test_loss"]


def test_one_metric_object_serves_training_and_validation():
    class Scored(Frozen):
        def __init__(self):
            super().__init__()
            self.f1 = BinaryF1Score()

        def shared_step(self, batch):
            x, y = batch
            logits = self(x)
            self.f1.update(logits.argmax(1), y)
            return {"loss": F.cross_entropy(logits, y), "f1": self.f1}

    model, train, val = Scored(), points(103), points(31, seed=1)
    trainer = quiet_trainer(val_check_interval=0.5)
    trainer.fit(model, TensorLoader(*train, batch_size=25), TensorLoader(*val, batch_size=25))
    for row in model.history:
        for name, (x, y) in (("train_f1", train), ("val_f1", val)):
            p = model(x).argmax(1)
            hits = ((p == 1) & (y == 1)).sum().item()
            assert row[name] == pytest.approx(2 * hits / (p.sum().item() + y.sum().item()), rel=1e-6)


def test_sanity_batches_leave_no_trace():
    data = points(103)
    loaders = [TensorLoader(*data, batch_size=25, shuffle=shuffle) for shuffle in (True, False)]
    without, with_two = (rows_of_a_fit(*loaders, dropout=0.5, num_sanity_val_steps=steps) for steps in (0, 2))
    assert without == with_two


def rows_of_a_fit(train, val, dropout=0.0, **options):
    """The history's rows without the timings, from seed 0."""
    pl.seed_everything(0, verbose=False)
    model = Classifier(dropout=dropout)
    quiet_trainer(**options).fit(model, train, val)
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in model.history]


def test_a_data_loader_and_a_tensor_loader_give_the_same():
    data = points(103)
    ours, torchs = TensorLoader(*data, batch_size=25), DataLoader(TensorDataset(*data), batch_size=25)
    assert rows_of_a_fit(ours, ours) == rows_of_a_fit(torchs, torchs)


def test_a_hand_written_loop_gives_the_same_bits():
    data = points(103)
    pl.seed_everything(0, verbose=False)
    model = Classifier(dropout=0.3)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    pl.seed_everything(1, verbose=False)
    quiet_trainer().fit(model, TensorLoader(*data, batch_size=25, shuffle=True, seed=4))
    other = Classifier(dropout=0.3)
    other.load_state_dict(start)
    (optimizer,), (scheduler,) = other.configure_optimizers()
    loader = TensorLoader(*data, batch_size=25, shuffle=True, seed=4)
    pl.seed_everything(1, verbose=False)
    for _ in range(2):
        for batch in loader:
            optimizer.zero_grad()
            other.shared_step(batch)["loss"].backward()
            optimizer.step()
        scheduler.step()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_rows_hold_learning_rate_and_time():
    model, data = Classifier(lr=0.01), points(103)
    Trainer(max_epochs=3, logger=False, enable_checkpointing=False).fit(model, TensorLoader(*data, batch_size=25))
    assert model.history["lr"] == [0.01, 0.01, 0.005]
    for row in model.history:
        assert row["seconds"] > 0
        assert row["samples_per_second"] == pytest.approx(103 / row["seconds"])
        assert "val_loss" not in row


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Linear(2, 2)),
        nn.Sequential(),
        nn.ModuleList([nn.Linear(2, 2)]),
        nn.ModuleDict({"dense": nn.Linear(2, 2)}),
        nn.Linear(2, 2),
    ],
)
def test_any_net_can_be_wrapped(net):
    class Wrapped(LightModel):
        def forward(self, x):
            for layer in self.net.values() if isinstance(self.net, nn.ModuleDict) else self.net:
                x = layer(x)
            return x

    model = (LightModel if isinstance(net, (nn.Sequential, nn.Linear)) else Wrapped)(net)
    assert model(torch.ones(3, 2)).shape == (3, 2)
    assert len(list(model.parameters())) == len(list(net.parameters()))


def test_predictions_are_forward_of_the_inputs_in_order():
    class Named(Classifier):
        def forward(self, x):
            return self.net(x)

    model, (x, y) = Named(), points(103)
    for loader in (
        TensorLoader(x, y, batch_size=25),
        TensorLoader(x, batch_size=25),
        DataLoader(x, batch_size=25),
        DataLoader([{"x": row, "y": 0} for row in x], batch_size=25),
    ):
        predicted = quiet_trainer().predict(model, loader)
        assert torch.allclose(predicted, model(x))
    with pytest.raises(ValueError, match="forward takes x, but the batch has z"):
        quiet_trainer().predict(model, DataLoader([{"z": row} for row in x]))


class Returns(Classifier):
    def __init__(self, values):
        super().__init__()
        self.values = values

    def shared_step(self, batch):
        return self.values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"acc": 1.0}, r"Returns.shared_step must return a dict with 'loss', got the keys \['acc'\]"),
        (torch.ones(()), "must return a dict with 'loss', got Tensor"),
        (None, "must return a dict with 'loss', got NoneType"),
    ],
)
@pytest.mark.parametrize("run", ["fit", "validate", "test"])
def test_a_missing_loss_is_named_at_the_first_batch(values, message, run):
    with pytest.raises(ValueError, match=message):
        getattr(quiet_trainer(), run)(Returns(values), TensorLoader(*points(10), batch_size=5))


def test_size_can_be_returned_and_must_be_where_it_cannot_be_inferred():
    class Sized(Classifier):
        def shared_step(self, batch):
            (number,) = batch
            return {"loss": self.net[0].weight.sum() * 0 + number, "size": 10 * number}

    def loader(*items):
        return DataLoader([*items], batch_size=None, collate_fn=lambda batch: batch)

    model = Sized()
    quiet_trainer().fit(model, loader((1,), (3,)))
    assert model.history[-1]["train_loss"] == (1 * 10 + 3 * 30) / 40
    with pytest.raises(ValueError, match="return it as 'size' from shared_step"):
        quiet_trainer().fit(Returns({"loss": torch.ones((), requires_grad=True)}), loader((1,)))


def test_missing_methods_are_named():
    with pytest.raises(NotImplementedError, match="LightModel needs a net"):
        LightModel()(torch.ones(1))
    with pytest.raises(NotImplementedError, match=r"LightModel must define shared_step\(batch\)"):
        LightModel(nn.Linear(1, 1)).shared_step(None)


def test_a_loss_that_is_not_finite_raises_and_names_the_row():
    model, (x, y) = Classifier(), points(103)
    x[40] = float("nan")
    named = "loss is nan in epoch 1, step 2: the features of row 40 of the data are not finite"
    with pytest.raises(FloatingPointError, match=named):
        Trainer(max_epochs=2, run_dir="run").fit(model, TensorLoader(x, y, batch_size=25))
    assert not list(Path("run/checkpoints").iterdir())


@pytest.mark.parametrize("row", [7, 40, 102])
def test_the_row_is_that_of_the_array_not_of_the_part_to_train_on(row):
    x, y = (array.numpy() for array in points(103))
    x[row] = float("inf")
    with pytest.raises(FloatingPointError, match=f"the features of row {row} of the data are not finite"):
        quiet_trainer().fit(Classifier(), train_data=(x, y), validation_split=0.3, batch_size=10)


def test_a_lone_validation_returns_its_values():
    model, data = Classifier(), points(103)
    for kind in (Trainer, pl.Trainer):
        (values,) = quiet_trainer(kind).validate(model, TensorLoader(*data, batch_size=50), verbose=False)
        loss, accuracy = by_hand(model, TensorLoader(*data, batch_size=50))
        assert values == pytest.approx({"val_loss": loss, "val_acc": accuracy}, rel=1e-6)
    assert len(model.history) == 0


@pytest.mark.parametrize("stage", ["val", "test"])
def test_several_loaders_have_values_of_their_own(stage):
    model, parts = Classifier(), [points(31, 1), points(17, 2), points(5, 3)]
    run = {"val": "validate", "test": "test"}[stage]
    loaders = [TensorLoader(*part, batch_size=10) for part in parts]
    merged = {k: v for part in getattr(quiet_trainer(), run)(model, loaders, verbose=False) for k, v in part.items()}
    for index, loader in enumerate(loaders):
        loss, accuracy = by_hand(model, loader)
        assert merged[f"{stage}_loss/dataloader_idx_{index}"] == pytest.approx(loss, rel=1e-6)
        assert merged[f"{stage}_acc/dataloader_idx_{index}"] == pytest.approx(accuracy, rel=1e-6)


def test_a_failed_run_leaves_no_values_behind():
    class Breaks(Classifier):
        fails = True

        def shared_step(self, batch):
            if self.fails and len(batch[0]) < 25:
                raise RuntimeError("broken")
            return super().shared_step(batch)

    model, loader = Breaks(), TensorLoader(*points(103), batch_size=25)
    with pytest.raises(RuntimeError, match="broken"):
        quiet_trainer().test(model, loader, verbose=False)
    model.fails = False
    (values,) = quiet_trainer().test(model, loader, verbose=False)
    assert values["test_loss"] == pytest.approx(by_hand(model, loader)[0], rel=1e-6)


def test_a_metric_that_is_no_part_of_the_model_and_one_of_many_numbers_are_named():
    class Loose(Classifier):
        def __init__(self, metric, registered):
            super().__init__()
            self.metric = metric if registered else [metric]

        def shared_step(self, batch):
            metric = self.metric if isinstance(self.metric, nn.Module) else self.metric[0]
            metric.update(self(batch[0]).argmax(1), batch[1])
            return {**super().shared_step(batch), "f1": metric}

    loader = TensorLoader(*points(10), batch_size=5)
    with pytest.raises(ValueError, match="metric 'f1' must be an attribute of the model itself"):
        quiet_trainer().fit(Loose(BinaryF1Score(), registered=False), loader)
    with pytest.raises(TypeError, match="metric 'f1' must compute to one number, got tensor"):
        quiet_trainer().fit(Loose(BinaryConfusionMatrix(), registered=True), loader)


def test_dict_batches_find_their_parameters_in_a_wrapped_net():
    class Net(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    x, y = points(20)
    loader = DataLoader([{"x": row, "y": label} for row, label in zip(x, y, strict=True)], batch_size=6)
    model = LightModel(Net(2, 2))
    assert torch.allclose(quiet_trainer().predict(model, loader), model(x))


def test_overfit_batches_sees_the_same_batch_every_epoch():
    class Sees(Classifier):
        seen = ()

        def shared_step(self, batch):
            self.seen = (*self.seen, batch[0][0, 0].item())
            return super().shared_step(batch)

    model, loader = Sees(), TensorLoader(*points(103), batch_size=25, shuffle=True)
    quiet_trainer(overfit_batches=1).fit(model, loader)
    assert len(model.seen) == 2
    assert len(set(model.seen)) == 1


def test_a_run_without_a_step_raises():
    with pytest.raises(ValueError, match="no optimizer step was made: max_epochs="):
        quiet_trainer(limit_train_batches=0).fit(Classifier(), TensorLoader(*points(10), batch_size=5))


def test_a_validation_loss_that_is_not_finite_raises():
    x, y = points(10)
    train, val = TensorLoader(x, y, batch_size=5), TensorLoader(x * float("nan"), y, batch_size=5)
    with pytest.raises(FloatingPointError, match="val_loss is nan in epoch 1"):
        quiet_trainer().fit(Classifier(), train, val)


def test_several_validation_loaders_leave_the_training_values_their_names():
    model, data = Classifier(), points(103)
    loaders = [TensorLoader(*data, batch_size=50) for _ in range(3)]
    quiet_trainer().fit(model, loaders[0], loaders[1:])
    assert {"train_loss", "val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1"} <= set(model.history.columns)
    assert not [name for name in model.history.columns if name.startswith("train_loss/")]
