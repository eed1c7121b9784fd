"""Nets and arrays without classes: ArrayDataModule, LightModel.from_net, and the Trainer's data arguments."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, Points, points
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, StackDataset, TensorDataset
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from lightmodels import LightModel, Trainer, load
from lightmodels.data.array_datamodule import ArrayDataModule
from lightmodels.data.tensor_datamodule import train_val_split

X, Y = points(103)
NO_CHANGE = partial(torch.optim.SGD, lr=0.0)


def quiet_trainer(max_epochs=1, **options):
    options = {"logger": False, "enable_checkpointing": False} | options
    return Trainer(max_epochs=max_epochs, accelerator="cpu", **options)


def accuracy(logits, y):
    return (logits.argmax(1) == y).float().mean()


def classifier(**options):
    pl.seed_everything(0, verbose=False)
    net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    return LightModel.from_net(net, **({"loss": F.cross_entropy} | options))


def test_from_net_trains_like_a_class():
    class Written(LightModel):
        def shared_step(self, batch):
            x, y = batch
            logits = self(x)
            return {"loss": F.cross_entropy(logits, y), "acc": accuracy(logits, y)}

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]

    ours = classifier(
        metrics={"acc": accuracy},
        optimizer=partial(torch.optim.Adam, lr=0.05),
        scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5),
    )
    written = Written(classifier().net)
    histories = [quiet_trainer(3).fit(model, Points(batch_size=25)) for model in (ours, written)]
    for name in ("train_loss", "train_acc", "val_loss", "val_acc", "lr"):
        assert histories[0][name] == histories[1][name]
    assert histories[0]["lr"] == [0.05, 0.025, 0.0125]


def test_from_net_accepts_metric_and_optimizer_objects():
    net = nn.Linear(2, 2)
    metrics = {"f1": MulticlassF1Score(2), "acc": MulticlassAccuracy(2, average="micro"), "own": accuracy}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    model = LightModel.from_net(net, loss=F.cross_entropy, metrics=metrics, optimizer=optimizer)
    before = net.weight.clone()
    trainer = quiet_trainer()
    row = trainer.fit(model, train_data=(X, Y), validation_data=(X, Y), batch_size=50)[-1]
    assert not torch.equal(net.weight, before)
    predicted = model(X).argmax(1)
    assert row["val_acc"] == pytest.approx((predicted == Y).double().mean().item())
    assert row["val_own"] == pytest.approx(row["val_acc"])
    assert row["val_f1"] == pytest.approx(MulticlassF1Score(2)(predicted, Y).item())
    assert trainer.evaluate(model, (X, Y), batch_size=7)["test_acc"] == pytest.approx(row["val_acc"])


def test_the_last_of_several_arrays_is_the_target():
    model = LightModel.from_net(nn.Bilinear(2, 2, 2), loss=F.cross_entropy)
    trainer = quiet_trainer()
    trainer.fit(model, train_data=(X, X, Y))
    assert torch.allclose(trainer.predict(model, (X, X, Y)), model(X, X))


as_numpy = (X.double().numpy(), Y.numpy().astype(np.int32))
KINDS = {
    "tensors": (X, Y),
    "numpy": as_numpy,
    "pandas": (pd.DataFrame(as_numpy[0]), pd.Series(as_numpy[1])),
    "TensorDataset": TensorDataset(X, Y),
    "Dataset": StackDataset(X, Y),
    "DataLoader": DataLoader(TensorDataset(X, Y), batch_size=50),
    "data module": ArrayDataModule((X, Y), batch_size=50),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_data_give_the_same_values(kind):
    data = KINDS[kind]
    model = classifier(metrics={"acc": accuracy}, optimizer=NO_CHANGE)
    trainer = quiet_trainer()
    row = trainer.fit(model, train_data=data, batch_size=50)[-1]
    loss = F.cross_entropy(model(X), Y).item()
    assert row["train_loss"] == pytest.approx(loss, rel=1e-6)
    assert "val_loss" not in row
    if kind != "data module":
        assert trainer.evaluate(model, data, batch_size=9)["test_loss"] == pytest.approx(loss, rel=1e-6)
        assert torch.allclose(trainer.predict(model, data, batch_size=9), model(X), atol=1e-6)


def test_a_validation_split_is_held_out():
    model = classifier(optimizer=NO_CHANGE)
    train, val = train_val_split((X, Y), 0.3, seed=0)
    for data in (X, Y), as_numpy:
        row = quiet_trainer().fit(model, train_data=data, validation_split=0.3)[-1]
        assert row["train_loss"] == pytest.approx(F.cross_entropy(model(train[0]), train[1]).item(), rel=1e-6)
        assert row["val_loss"] == pytest.approx(F.cross_entropy(model(val[0]), val[1]).item(), rel=1e-6)
    trainer = quiet_trainer()
    trainer.fit(model, train_data=StackDataset(X, Y), validation_split=0.3)
    assert [len(loader.dataset) for loader in (trainer.train_dataloader, trainer.val_dataloaders)] == [72, 31]


def test_without_validation_the_training_loss_decides_which_epoch_is_best():
    trainer = quiet_trainer(2, enable_checkpointing=True)
    trainer.fit(classifier(), train_data=(X, Y))
    assert trainer.best_epoch == 2


def test_arrays_are_accepted_instead_of_loaders():
    histories = [
        quiet_trainer().fit(classifier(), [X, Y], (X, Y), batch_size=50),
        quiet_trainer().fit(classifier(), ArrayDataModule((X, Y), batch_size=50).train_dataloader(), (X, Y)),
        quiet_trainer().fit(classifier(), train_data=(X, Y), validation_data=(X, Y), batch_size=50),
    ]
    losses = [history["val_loss"][0] for history in histories]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


def test_predict_accepts_inputs_without_targets():
    model = classifier()
    trainer = quiet_trainer()
    expected = model(X)
    for inputs in (X, X.numpy(), (X, Y)):
        assert torch.allclose(trainer.predict(model, inputs), expected, atol=1e-6)


BAD = [
    (
        {"train_data": (X, Y[:90])},
        r"train must hold arrays of equal length with rows in them, got lengths \[103, 90\]",
    ),
    ({"train_data": (X[:0], Y[:0])}, r"train must hold .* rows in them, got lengths \[0, 0\]"),
    ({"train_data": (np.array(["a"]), Y[:1])}, "train must hold arrays of numbers"),
    ({"train_data": (X, Y), "validation_data": (X, Y[:3])}, "val must hold arrays of equal length"),
    ({"train_data": (X, Y), "validation_split": 1.0}, "validation_split must be a fraction .* got 1.0"),
    ({"train_data": (X, Y), "validation_split": 0.001}, "validation_split must leave rows"),
    ({"train_data": (X, Y), "validation_data": (X, Y), "validation_split": 0.5}, "validation_split cannot"),
    ({"train_data": KINDS["DataLoader"], "validation_split": 0.5}, "validation_split needs arrays"),
    ({"train_data": (X, Y), "train_dataloaders": KINDS["DataLoader"]}, "train_data cannot be combined"),
    ({"train_data": (X, Y), "batch_size": 0}, "batch_size must be at least 1"),
    ({"train_data": ArrayDataModule((X, Y)), "validation_data": (X, Y)}, "has validation data of its own"),
    ({"train_data": (X, Y), "validation_data": ArrayDataModule((X, Y))}, "got a data module"),
    ({"train_dataloaders": KINDS["DataLoader"], "validation_data": (X, Y)}, "need train_data"),
    ({"train_dataloaders": KINDS["DataLoader"], "validation_split": 0.2}, "need train_data"),
    ({"datamodule": ArrayDataModule((X, Y)), "validation_data": (X, Y)}, "need train_data"),
    ({"train_dataloaders": (X, Y), "datamodule": ArrayDataModule((X, Y))}, "data are given twice"),
    ({"train_data": X}, r"batches must be \(input, …, target\)"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_invalid_data_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        quiet_trainer().fit(classifier(), **arguments)


def test_a_metric_must_not_be_named_loss():
    with pytest.raises(ValueError, match="metrics must have names other than loss"):
        LightModel.from_net(nn.Linear(2, 2), loss=F.cross_entropy, metrics={"loss": accuracy})


def test_a_model_without_shared_step_is_refused():
    class Silent(Classifier):
        shared_step = LightModel.shared_step

    with pytest.raises(NotImplementedError, match="Silent must define shared_step"):
        quiet_trainer().fit(Silent(), train_data=(X, Y))


def test_a_net_is_loaded_without_the_buffers_of_its_loss():
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))
    model = LightModel.from_net(nn.Linear(2, 2), loss=loss)
    Trainer(max_epochs=1, run_dir="run", accelerator="cpu").fit(model, train_data=(X, Y))
    loaded = load("run/checkpoints/last.ckpt", LightModel, net=nn.Linear(2, 2))
    assert torch.equal(loaded(X), model(X))


def test_reversed_and_big_endian_numpy_arrays_are_converted():
    data = ArrayDataModule((X.numpy()[::-1], Y.numpy().astype(">i4")[::-1]))
    assert torch.equal(data.splits.train[0], X.flip(0))
    assert torch.equal(data.splits.train[1], Y.flip(0))
