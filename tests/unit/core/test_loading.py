"""lightmodels.load: a model from its checkpoint alone, or one line that says why not."""

import sys

import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, points
from torch import nn
from torch.nn import functional as F

import lightmodels
from lightmodels import MNISTCNN, LightModel, RingDNN, Trainer
from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.checkpointing.files import CheckpointError
from lightmodels.data.tensor_loader import TensorLoader

INFO = {"kind": "table", "features": ["a", "b"], "classes": ["no", "yes"], "scale": 1.5, "flag": True}


class Points(LightModel):
    """What the classes below share."""

    shared_step, configure_optimizers = Classifier.shared_step, Classifier.configure_optimizers


class Wrapper(Points):
    """A net of the caller's: no hyper-parameter."""

    def __init__(self, net, lr=0.05):
        super().__init__(net)
        self.save_hyperparameters(ignore=["net"])


class Options(Points):
    """One dictionary of hyper-parameters."""

    def __init__(self, options):
        super().__init__(nn.Linear(2, options["classes"]))
        self.save_hyperparameters(options)


class Open(Points):
    """Takes any further hyper-parameters."""

    def __init__(self, lr=0.05, **others):
        super().__init__(nn.Linear(2, others.get("classes", 2)))
        self.save_hyperparameters()


class Data(pl.LightningDataModule):
    """Points, with something to know of them."""

    info = INFO

    def train_dataloader(self):
        return TensorLoader(*points(), batch_size=32)

    def val_dataloader(self):
        return TensorLoader(*points(40, seed=1), batch_size=32)


def trained(tmp_path, model, data=None, epochs=2):
    """A checkpoint of the model after some epochs."""
    run = tmp_path / type(model).__name__
    Trainer(gpus=0, max_epochs=epochs, run_dir=run).fit(model, datamodule=data or Data())
    return run / "checkpoints" / "last.ckpt"


@pytest.fixture
def tampered(tmp_path):
    """A ring checkpoint with some entries changed; ``None`` leaves one out."""

    def write(**changes):
        model = RingDNN()
        whole = {
            "model_class": "RingDNN", "hyper_parameters": dict(model.hparams),
            "state_dict": model.state_dict(),
        }  # fmt: skip
        whole = {key: value for key, value in (whole | changes).items() if value is not None}
        checkpoint_files.save_checkpoint(whole, tmp_path / "t.ckpt")
        return tmp_path / "t.ckpt"

    return write


@pytest.mark.parametrize(
    ("model", "init"),
    [
        (Classifier(lr=0.03, dropout=0.25), {}),
        (Open(lr=0.03, classes=3), {}),
        (Options({"classes": 4, "lr": 0.1}), {}),
        (Wrapper(nn.Linear(2, 3)), {"net": nn.Linear(2, 3)}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_loaded_model_is_the_one_that_was_saved(tmp_path, model, init):
    loaded = lightmodels.load(trained(tmp_path, model), type(model) if init else None, **init)
    assert type(loaded) is type(model)
    assert dict(loaded.hparams) == dict(model.hparams)
    assert list(loaded.history) == list(model.history)
    assert len(loaded.history) == 2
    assert loaded.data_info == model.data_info == INFO
    assert not loaded.training
    x, _ = points()
    torch.testing.assert_close(loaded(x), model.eval()(x), rtol=0, atol=0)


def test_loading_leaves_the_random_numbers_as_they_were(tmp_path, tampered):
    path, before = tampered(), torch.get_rng_state()
    lightmodels.load(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_wrapped_net_is_given_again(tampered):
    net = RingDNN().net
    model = lightmodels.load(tampered(model_class="LightModel", hyper_parameters=None), net=net)
    assert type(model) is LightModel
    assert model.net is net


def test_arguments_win_over_hyper_parameters(tampered):
    model = lightmodels.load(tampered(), lr=0.5)
    assert model.hparams.lr == 0.5
    assert model.data_info == {}  # the checkpoint has none


def test_data_info_outlives_a_training_without_a_data_module(tmp_path):
    model = lightmodels.load(trained(tmp_path, Classifier()))
    trainer = Trainer(gpus=0, max_epochs=1, run_dir=tmp_path / "again")
    trainer.fit(model, TensorLoader(*points(), batch_size=32))
    assert lightmodels.load(tmp_path / "again/checkpoints/last.ckpt").data_info == INFO


def test_data_info_that_is_not_plain_is_refused_before_training(tmp_path):
    data = Data()
    data.info = {"scale": torch.nn}
    with pytest.raises(TypeError, match=r"Data.info/scale must be plain data"):
        trained(tmp_path, model := Classifier(), data)
    assert len(model.history) == 0


def test_a_class_whose_definition_ran_again_is_the_newer_one(tampered):
    older, newer = (type("Again", (RingDNN,), {}) for _ in range(2))
    assert type(lightmodels.load(tampered(model_class="Again"))) is newer
    assert older is not newer


def test_a_tampered_class_name_imports_and_runs_nothing(tampered):
    sys.modules.pop("antigravity", None)
    before = set(sys.modules)
    for name in ("antigravity", "os.system", "builtins.eval", "torch.nn.Linear", "Trainer", "__import__"):
        with pytest.raises(CheckpointError, match="is not an imported class"):
            lightmodels.load(tampered(model_class=name))
    path = tampered(hyper_parameters={"lr": 0.1, "_instantiator": "antigravity.fly", "_class_path": "this.x"})
    assert type(lightmodels.load(path)) is RingDNN
    assert set(sys.modules) == before


MISFIT = "is a checkpoint of RingDNN, its weights do not fit"
ODD = [
    ({"model_class": None}, {}, "t.ckpt: not a checkpoint of a LightModel"),
    ({"model_class": 3}, {}, "t.ckpt: not a checkpoint of a LightModel"),
    ({"model_class": "Mine"}, {}, "t.ckpt: Mine is not an imported class: import it first, or pass"),
    ({"state_dict": None}, {}, "t.ckpt: not a checkpoint of a Lightning model"),
    ({"state_dict": [1]}, {}, f"t.ckpt {MISFIT} RingDNN: there are none"),
    ({"state_dict": {}}, {}, f"t.ckpt {MISFIT} RingDNN: it has no net.0.weight"),
    ({"state_dict": {**RingDNN().state_dict(), "b": torch.ones(2)}}, {}, "RingDNN: b is not known here"),
    ({"state_dict": dict.fromkeys(RingDNN().state_dict(), "w")}, {}, "net.0.weight is no tensor, here (4, 2)"),
    ({}, {"model_class": MNISTCNN}, f"{MISFIT} MNISTCNN: net.0.weight is (4, 2), here (32, 1, 3, 3)"),
    ({}, {"num_features": 3}, f"{MISFIT} RingDNN: net.0.weight is (4, 2), here (4, 3)"),
    ({"hyper_parameters": [2]}, {}, "t.ckpt: its hyper-parameters are a list"),
    ({"hyper_parameters": {"lr": -1}}, {}, "t.ckpt: its hyper-parameters do not fit RingDNN (lr must be"),
    ({"hyper_parameters": {"lr": "fast"}}, {}, "t.ckpt: its hyper-parameters do not fit RingDNN ("),
    ({}, {"momentum": 1}, "do not fit RingDNN ("),
    ({"model_class": "LightModel"}, {}, "needs arguments that were not saved: load(path, LightModel, net=…)"),
    ({}, {"model_class": Wrapper}, "Wrapper needs arguments that were not saved: load(path, Wrapper, net=…)"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "arguments", "line"), ODD, ids=lambda value: str(value)[:40])
def test_what_cannot_be_loaded_is_said_in_one_line(tampered, changes, arguments, line):
    with pytest.raises(CheckpointError) as caught:
        lightmodels.load(tampered(**changes), **arguments)
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_two_classes_of_one_name_are_named(tampered):
    twins = [type("Twin", (RingDNN,), {"__module__": module}) for module in ("one", "other")]
    with pytest.raises(CheckpointError, match=r"Twin may be one.Twin and other.Twin: pass model_class"):
        lightmodels.load(tampered(model_class="Twin"))
    assert type(lightmodels.load(tampered(model_class="Twin"), twins[0])) is twins[0]


def test_damage_is_named(tampered):
    path = tampered()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="the checkpoint is damaged"):
        lightmodels.load(path)


class Other(Points):
    """A net of other sizes."""

    def __init__(self):
        super().__init__(nn.Linear(2, 2))
        self.save_hyperparameters({"lr": 0.1})


class Plain(pl.LightningModule):
    """A module that is none of ours."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 2)

    def validation_step(self, batch, batch_idx):
        self.log("loss", F.cross_entropy(self.net(batch[0]), batch[1]))


@pytest.mark.parametrize(
    ("call", "model_class"),
    [("fit", Other), ("validate", Other), ("test", Other), ("predict", Other), ("validate", Plain)],
)
def test_the_trainer_says_that_a_checkpoint_is_of_another_model(tmp_path, call, model_class):
    path, model = trained(tmp_path, Classifier(), epochs=1), model_class()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = Trainer(gpus=0, max_epochs=3, logger=False, enable_checkpointing=False)
    loader = TensorLoader(*points(), batch_size=32)
    with pytest.raises(CheckpointError) as caught:
        getattr(trainer, call)(model, loader, ckpt_path=path)
    name = model_class.__name__
    line = f"{path} is a checkpoint of Classifier, its weights do not fit {name}: it has no net.weight"
    assert str(caught.value) == line
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_model_that_is_not_strict_takes_what_fits(tmp_path):
    model = Other()
    model.strict_loading = False
    trainer = Trainer(gpus=0, logger=False, enable_checkpointing=False)
    path = trained(tmp_path, Classifier(), epochs=1)
    assert trainer.validate(model, TensorLoader(*points(), batch_size=32), ckpt_path=path, verbose=False)
