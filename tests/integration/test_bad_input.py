"""Bad input in Python: one line that names the argument and what to do; or what is meant, with the right numbers."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from helpers.models import points
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from lightmodels import LightModel

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
@pytest.mark.parametrize("loss", CROSS_ENTROPIES, ids=str)
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
