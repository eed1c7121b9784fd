"""Bad input in Python: one line that names the argument and what to do; or what is meant, with the right numbers."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, points
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from lightmodels import LightModel, Trainer
from lightmodels.data.array_datamodule import ArrayDataModule

X, Y = points(40)


def net(outputs=2):
    pl.seed_everything(0, verbose=False)
    return nn.Linear(2, outputs)


def first_loss(loss, target, outputs=2, x=X):
    model = LightModel.from_net(net(outputs), loss=loss, optimizer=partial(torch.optim.SGD, lr=0.0))
    return model.train_on_batch((x, target))["loss"]


def assert_one_line(error, *parts):
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


# LightModel.from_net


REGRESSION = {"mse": F.mse_loss, "mae": F.l1_loss, "Huber": F.huber_loss, "bce": F.binary_cross_entropy_with_logits}


@pytest.mark.parametrize("name", REGRESSION)
def test_the_usual_names_of_losses_are_accepted(name):
    expected = REGRESSION[name](net(1)(X), Y.float()[:, None]).item()
    assert first_loss(name, Y, outputs=1) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("RMSprop", torch.optim.RMSprop)])
def test_the_names_of_optimizers_are_accepted_in_any_case(name, kind):
    model = LightModel.from_net(net(), loss="cross_entropy", optimizer=name)
    model.train_on_batch((X, Y))
    assert type(model.optimizers()) is kind


LABELS = {"column": Y[:, None], "int32": Y.int(), "uint8": Y.byte(), "bool": Y.bool(), "one-hot": F.one_hot(Y, 2)}
CROSS_ENTROPIES = ["cross_entropy", F.cross_entropy, nn.CrossEntropyLoss(), partial(F.cross_entropy, reduction="mean")]


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("loss", CROSS_ENTROPIES, ids=["name", "function", "module", "partial"])
def test_class_labels_of_any_kind_of_integer_give_the_same_cross_entropy(loss, kind):
    assert first_loss(loss, LABELS[kind]) == pytest.approx(F.cross_entropy(net()(X), Y).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("target", "outputs", "parts"),
    [
        (Y.float(), 2, ["class labels that are integers", "float32", "target.long()"]),
        (Y.double()[:, None], 2, ["class labels that are integers", "float64", "target.long()"]),
        (Y, 1, ["one output per class", "'bce'"]),
    ],
)
def test_labels_that_do_not_fit_a_cross_entropy_are_refused(target, outputs, parts):
    for loss in CROSS_ENTROPIES:
        with pytest.raises(ValueError, match="cross-entropy") as error:
            first_loss(loss, target, outputs)
        assert_one_line(error, *parts)


BAD_PARTS = {
    "name of a loss": ({"loss": "hinge"}, ["loss", "mse, mae, huber, cross_entropy, bce", "'hinge'"]),
    "class of a loss": ({"loss": nn.MSELoss}, ["loss", "MSELoss(…)"]),
    "no loss": ({"loss": None}, ["loss", "function (output, target) -> scalar"]),
    "name of an optimizer": ({"optimizer": "adma"}, ["optimizer", "Adam, ", "SGD", "'adma'"]),
    "no optimizer": ({"optimizer": 0.1}, ["optimizer", "0.1"]),
    "list of metrics": ({"metrics": ["acc"]}, ["metrics", "mapping", "{'acc': ", "['acc']"]),
    "empty list of metrics": ({"metrics": []}, ["metrics", "mapping"]),
    "a metric": ({"metrics": MulticlassAccuracy(2)}, ["metrics", "mapping"]),
    "name of a metric": ({"metrics": {"acc": "accuracy"}}, ["metrics['acc']", "'accuracy'"]),
    "class of a metric": ({"metrics": {"acc": MulticlassAccuracy}}, ["metrics['acc']", "MulticlassAccuracy(…)"]),
    "name of a schedule": ({"scheduler": "cosine"}, ["scheduler", "'cosine'"]),
    "class of a net": ({"net": nn.Linear}, ["net must be a torch.nn.Module"]),
}


@pytest.mark.parametrize("kind", BAD_PARTS)
def test_bad_parts_of_a_model_are_refused_when_it_is_made(kind):
    arguments, parts = BAD_PARTS[kind]
    with pytest.raises(ValueError, match="must be") as error:
        LightModel.from_net(**({"net": net(), "loss": "mse"} | arguments))
    assert_one_line(error, *parts)


@pytest.mark.parametrize(
    ("optimizer", "parts"),
    [
        (lambda _: None, ["optimizer", "NoneType"]),
        (torch.optim.SGD(nn.Linear(2, 2).parameters()), ["optimizer", "net.parameters()"]),
    ],
)
def test_what_does_not_optimize_the_net_is_refused(optimizer, parts):
    model = LightModel.from_net(net(), loss="cross_entropy", optimizer=optimizer)
    with pytest.raises(ValueError, match="optimizer") as error:
        model.train_on_batch((X, Y))
    assert_one_line(error, *parts)


# Arrays


class StopAfter(pl.Callback):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop |= trainer.current_epoch + 1 == self.epochs


def trainer(**options):
    return Trainer(**({"max_epochs": 1, "gpus": 0, "logger": False, "enable_checkpointing": False} | options))


def classifier(module=None, **options):
    return LightModel.from_net(module or net(), loss="cross_entropy", optimizer=partial(torch.optim.SGD, lr=0.0))


objects = np.array(X.double().tolist(), dtype=object)
GOOD_ARRAYS = {
    "lists": (X.tolist(), Y.tolist()),
    "a list beside an array": (X, Y.tolist()),
    "numbers as objects": (objects, Y),
    "extended precision": (X.numpy().astype(np.longdouble), Y),
    "float64 tensors": (X.double(), Y),
    "nothing masked": (np.ma.masked_greater(X.numpy(), 100), Y),
}


@pytest.mark.parametrize("kind", GOOD_ARRAYS)
def test_arrays_of_other_kinds_give_the_same_values(kind):
    model, data = classifier(), GOOD_ARRAYS[kind]
    expected = F.cross_entropy(model(X), Y).item()
    row = trainer().fit(model, train_data=data, validation_data=data)[-1]
    assert [row["train_loss"], row["val_loss"]] == pytest.approx([expected] * 2, rel=1e-6)
    assert trainer().evaluate(model, data)["test_loss"] == pytest.approx(expected, rel=1e-6)
    assert torch.allclose(trainer().predict(model, data[0]), model(X), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"precision": "64-true"}])
def test_a_net_in_double_precision_gets_its_data_in_double_precision(options):
    x = torch.full((40, 2), 1 / 3, dtype=torch.float64)
    model = classifier(net().double())
    seen = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for data in (x, x.numpy()):
        trainer(**options).fit(model, train_data=(data, Y))
        trainer(**options).predict(model, data)
    assert len(seen) == 8
    assert all(torch.equal(each, x[: len(each)]) for each in seen)


class Sparse:
    def toarray(self):
        return X.numpy()


texts = np.array(["a"] * 40)
dates = np.array(["2020-01-01"] * 40, dtype="datetime64")
wide = np.full(40, 2**63, dtype=np.uint64)
BAD_DATA = {
    "texts": ({"train_data": (texts, Y)}, ["train must hold arrays of numbers", "<U1", "encode texts"]),
    "a list of texts": ({"train_data": (["a"] * 40, Y)}, ["train must hold arrays of numbers", "encode texts"]),
    "mixed types": (
        {"train_data": (pd.DataFrame({"a": [1.0] * 40, "b": [2.0] * 3 + ["x"] * 37}), Y)},
        ["train must hold arrays of numbers", "'x' in row 3"],
    ),
    "None": ({"train_data": (np.array([None] * 40), Y)}, ["arrays of numbers", "None in row 0"]),
    "dates": ({"train_data": (dates, Y)}, ["arrays of numbers", "datetime64"]),
    "ragged lists": ({"train_data": ([[1.0, 2.0], [3.0]], [0, 1])}, ["lists of different lengths", "(X, y)"]),
    "a list of two lists": ({"train_data": [X.tolist(), Y.tolist()]}, ["lists of different lengths", "tuple"]),
    "sparse inputs": ({"train_data": (Sparse(), Y)}, ["train", "sparse", ".toarray()"]),
    "sparse targets": ({"train_data": (X, Sparse())}, ["train", "sparse", ".toarray()"]),
    "sparse validation data": ({"train_data": (X, Y), "validation_data": (Sparse(), Y)}, ["val ", ".toarray()"]),
    "complex numbers": ({"train_data": (X.numpy() + 1j, Y)}, ["arrays of numbers", "complex", "x.imag"]),
    "complex tensors": ({"train_data": (X + 1j, Y)}, ["shared_step", "convert the inputs"]),
    "masked values": ({"train_data": (np.ma.masked_greater(X.numpy(), 0), Y)}, ["masked", ".filled("]),
    "too large integers": ({"train_data": (X, wide)}, ["below 2**63"]),
    "a mapping": ({"train_data": {"x": X, "y": Y}}, ["(X, y)", "dict"]),
    "a text": ({"train_data": "data.csv"}, ["data must be arrays", "'data.csv'"]),
    "percent": ({"train_data": (X, Y), "validation_split": 30}, ["validation_split", "fraction", "30"]),
    "a text as split": ({"train_data": (X, Y), "validation_split": "0.3"}, ["validation_split", "fraction", "'0.3'"]),
    "a negative split": ({"train_data": (X, Y), "validation_split": -0.1}, ["validation_split", "-0.1"]),
    "a text as batch size": ({"train_data": (X, Y), "batch_size": "32"}, ["batch_size", "'32'"]),
    "half a row": ({"train_data": (X, Y), "batch_size": 2.5}, ["batch_size", "whole", "2.5"]),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_are_refused(kind):
    arguments, parts = BAD_DATA[kind]
    with pytest.raises(ValueError, match=r"must|convert|masked") as error:
        trainer().fit(classifier(), **arguments)
    assert_one_line(error, *parts)


def test_a_list_of_lists_is_one_array_as_for_numpy():
    assert [part.shape for part in ArrayDataModule(X.tolist()).splits.train] == [(40, 2)]
    assert torch.equal(trainer().predict(classifier(), X.tolist()), classifier()(X))


CONVOLUTION = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize("module", [nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), CONVOLUTION], ids=["dense", "conv"])
@pytest.mark.parametrize("as_numpy", [False, True])
def test_images_of_integers_are_refused_alike_in_fit_and_predict(module, as_numpy):
    images = torch.ones(40, 1, 4, 4, dtype=torch.uint8)
    images = images.numpy() if as_numpy else images
    for use in (lambda model: trainer().fit(model, train_data=(images, Y)), lambda m: trainer().predict(m, images)):
        with pytest.raises(ValueError, match="LightModel") as error:
            use(classifier(module))
        assert_one_line(error, "convert the inputs in forward", "x.float()")


# A last batch of one row


def normalized():
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


@pytest.mark.parametrize("options", [{}, {"compile": True}], ids=["eager", "compiled"])
def test_batch_norm_with_a_last_batch_of_one_row_names_the_batch_size(options, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # generating code takes seconds
    with pytest.raises(ValueError, match=r"shared_step: BatchNorm") as error:
        trainer(**options).fit(classifier(normalized()), train_data=(X, Y), batch_size=13)
    assert_one_line(error, "batch_size=13", "drop_last=True")
    with pytest.raises(ValueError, match=r"shared_step: BatchNorm") as error:
        classifier(normalized()).train_on_batch((X[:1], Y[:1]))
    assert_one_line(error, "batch of one row:", "batch_size")


def test_single_rows_that_torch_can_train_on_are_trained_on():
    images = torch.randn(5, 1, 6, 6)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert len(trainer().fit(classifier(module), train_data=(images, Y[:5]), batch_size=4)) == 1
    model = classifier(normalized())
    trainer().fit(model, train_data=(X, Y), validation_data=(X[:1], Y[:1]), batch_size=20)
    assert trainer().predict(model, X[:1]).shape == (1, 2)


# Options of the Trainer


BAD_OPTIONS = {
    "accumulate_grad_batches": {"accumulate_grad_batches": 0},
    "val_check_interval": {"val_check_interval": 0},
    "check_val_every_n_epoch": {"check_val_every_n_epoch": 0},
    "max_steps": {"max_steps": 0},
    "gradient_clip_val": {"gradient_clip_val": -1},
    "limit_val_batches": {"limit_val_batches": 0, "monitor": "val_loss"},
    "min_epochs": {"min_epochs": 2},
    "max_epochs": {"max_epochs": 1.5},
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_options_that_no_training_can_have_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"^{name} must be") as error:
        trainer(**BAD_OPTIONS[name])
    assert_one_line(error)


# How long a model is trained


class Recipe(Classifier):
    max_epochs = 3


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"max_epochs": None}, 3),
        ({"max_epochs": None, "min_epochs": 2}, 3),
        ({"max_epochs": 1}, 1),
        ({"max_epochs": None, "max_steps": 10}, 5),
        ({"max_epochs": None, "max_time": "01:00:00:00", "callbacks": [StopAfter(4)]}, 4),
        ({"max_epochs": -1, "callbacks": [StopAfter(4)]}, 4),
    ],
    ids=["unset", "min_epochs", "max_epochs", "max_steps", "max_time", "endless"],
)
@pytest.mark.filterwarnings("error:.*max_epochs. was not set")
def test_without_a_limit_a_model_is_trained_for_the_epochs_of_its_class(options, epochs):
    assert len(trainer(**options).fit(Recipe(), train_data=(X, Y), batch_size=20)) == epochs


def test_the_epochs_of_a_class_are_a_default_of_fit_only():
    used = trainer(max_epochs=None)
    assert len(used.fit(Recipe(), train_data=(X, Y), max_epochs=1)) == 1
    assert len(used.fit(used.lightning_module, train_data=(X, Y), max_epochs=2)) == 2
    with pytest.raises(ValueError, match="min_epochs must be at most max_epochs, which is 3, got 5"):
        trainer(max_epochs=None, min_epochs=5).fit(Recipe(), train_data=(X, Y))
