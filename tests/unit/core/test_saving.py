"""A model that is saved, and loaded in another process, is the same; nothing in a file is run."""

import os
import pickle
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from helpers.apart import run_apart
from helpers.fits import loaders
from helpers.models import Classifier, points
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy

from lightmodels import LightModel, RingDNN, Trainer, load
from lightmodels.checkpointing.files import CheckpointError
from lightmodels.core.net_layers import build_layers, describe_layers

OPTIONS = {"gpus": 0, "logger": False, "figures": False}
NETS = {
    "dense": lambda: nn.Sequential(
        nn.Linear(2, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 2, bias=False)
    ),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(2, 4), nn.ELU(alpha=0.5)), nn.LayerNorm(4), nn.Linear(4, 2)
    ),
    "images": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 1, 2)),
        nn.Conv2d(1, 3, (1, 2), padding="same"),
        nn.MaxPool2d((1, 2)),
        nn.Flatten(),
        nn.LazyLinear(2),
    ),
}


def from_net(net):
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.25, 4.0]))
    return LightModel.from_net(net, loss=loss, metrics={"acc": MulticlassAccuracy(2)}, optimizer=torch.optim.SGD)


@pytest.mark.parametrize("kind", ["dense", "nested"])
@pytest.mark.parametrize("way", ["checkpoint", "save"])
def test_a_model_of_from_net_predicts_is_evaluated_and_trains_on(kind, way):
    net = NETS[kind]()
    model, trainer = from_net(net), Trainer(max_epochs=2, run_dir="run", **OPTIONS)
    trainer.fit(model, **loaders())
    path = Path("run/checkpoints/last.ckpt")
    if way == "save":
        path = Path("model.ckpt")
        model.save(path)
    x, y = points(31, 1)
    expected, values = model.predict_on_batch(x), trainer.evaluate(model, (x, y))
    assert torch.equal(load(path).predict_on_batch(x), expected)
    loss = nn.CrossEntropyLoss(weight=torch.ones(2))
    loaded = load(path, loss=loss, metrics={"acc": MulticlassAccuracy(2)}, optimizer=torch.optim.SGD)
    assert loss.weight.tolist() == [0.25, 4.0]
    assert list(loaded.history) == list(model.history)
    assert Trainer(**OPTIONS).evaluate(loaded, (x, y)) == values
    assert len(Trainer(max_epochs=1, run_dir="on", **OPTIONS).fit(loaded.train(), **loaders())) == 3


def test_a_model_is_loaded_in_another_process():
    from_net(NETS["dense"]()).save("model.ckpt")
    Path("script.py").write_text(
        "import lightmodels, torch; print(lightmodels.load('model.ckpt').predict_on_batch(torch.ones(1, 2)).tolist())"
    )
    expected = load("model.ckpt").predict_on_batch(torch.ones(1, 2)).tolist()
    assert run_apart("script.py").out.strip() == str(expected)


def test_other_models_are_saved_too():
    model = RingDNN(lr=0.5)
    model.save("ring.ckpt")
    for loaded in (load("ring.ckpt"), RingDNN.load_from_checkpoint("ring.ckpt")):
        assert loaded.hparams.lr == 0.5
        assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))


class Mine(nn.Linear):
    pass


def test_nets_of_torchs_layers_are_described_and_rebuilt_alike():
    for make in NETS.values():
        net = make()
        net(torch.ones(4, 2))
        layers = describe_layers(net)
        rebuilt = build_layers(layers)
        rebuilt.load_state_dict(net.state_dict())
        x = points(8)[0]
        assert torch.equal(rebuilt.eval()(x), net.eval()(x))
    shared = nn.Linear(2, 2)
    for net in (nn.Linear(2, 2), nn.Sequential(Mine(2, 2)), nn.Sequential(nn.ModuleList()), None):
        assert describe_layers(net) is None
    assert describe_layers(nn.Sequential(shared, nn.ReLU())) is not None


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([["0", "Module", {}]], "Module is not a layer of torch.nn"),
        ([["0", "os", {}]], "os is not a layer of torch.nn"),
        ([["0", "Linear", {"in_features": 10**12, "out_features": 10**6}]], "its weights have other shapes"),
        ([["0", "Linear", {}]], "missing 2 required"),
        ("ab", "not enough values"),
    ],
)
def test_a_description_that_is_not_the_nets_is_refused(layers, message):
    model = LightModel.from_net(nn.Sequential(nn.Linear(2, 2)), loss=F.cross_entropy)
    model.save("model.ckpt")
    checkpoint = torch.load("model.ckpt", weights_only=True)
    torch.save(checkpoint | {"net_layers": layers}, "bad.ckpt")
    with pytest.raises(CheckpointError, match=f"bad.ckpt: its net cannot be rebuilt .*{message}"):
        load("bad.ckpt")


class Gadget:
    def __reduce__(self):
        return os.mkdir, ("executed",)


DOORS = {
    "load": lambda path: load(path, Classifier),
    "load_from_checkpoint": Classifier.load_from_checkpoint,
    "load_from_checkpoint, None": lambda path: Classifier.load_from_checkpoint(path, weights_only=None),
    "fit": lambda path: Trainer(max_epochs=9, **OPTIONS).fit(Classifier(), **loaders(), ckpt_path=path),
    "test": lambda path: Trainer(**OPTIONS).test(Classifier(), points(9), ckpt_path=path),
    "validate": lambda path: Trainer(**OPTIONS).validate(Classifier(), points(9), ckpt_path=path),
    "evaluate": lambda path: Trainer(**OPTIONS).evaluate(Classifier(), points(9), ckpt_path=path),
    "predict": lambda path: Trainer(**OPTIONS).predict(Classifier(), points(9), ckpt_path=path),
}


@pytest.mark.parametrize("place", ["file", "http"])
@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize("door", DOORS)
def test_no_door_runs_code(door, forced, place, monkeypatch):
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    model = Classifier()
    model.save("good.ckpt")
    checkpoint = torch.load("good.ckpt", weights_only=True)
    torch.save(checkpoint | {"gadget": Gadget()}, "gadget.ckpt", pickle_module=pickle)
    path = "gadget.ckpt" if place == "file" else "http://127.0.0.1:9/gadget.ckpt"
    message = r"holds more than tensors and plain data|no such checkpoint|not found"
    with pytest.raises((CheckpointError, FileNotFoundError), match=message):
        DOORS[door](path)
    assert not Path("executed").exists()


@pytest.mark.parametrize("door", ["fit", "test", "validate", "predict", "load_from_checkpoint"])
def test_code_is_read_only_on_request_and_a_warning_says_so(door):
    Trainer(max_epochs=1, run_dir="run", **OPTIONS).fit(Classifier(), **loaders())
    checkpoint = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    torch.save(checkpoint | {"mine": Fraction(1, 2)}, "mine.ckpt")
    data = {} if door == "fit" else {"dataloaders": points(9)}
    trainer = Trainer(max_epochs=2, **OPTIONS)
    calls = {
        "fit": lambda **options: trainer.fit(Classifier(), **loaders(), ckpt_path="mine.ckpt", **options),
        "load_from_checkpoint": lambda **options: Classifier.load_from_checkpoint("mine.ckpt", **options),
    }
    other = lambda **options: getattr(trainer, door)(Classifier(), **data, ckpt_path="mine.ckpt", **options)  # noqa: E731
    call = calls.get(door, other)
    for weights_only in (None, True):
        with pytest.raises(CheckpointError, match="holds more than"):
            call(weights_only=weights_only)
    with pytest.warns(UserWarning, match="mine.ckpt is read with weights_only=False: it can run any code"):
        call(weights_only=False)
