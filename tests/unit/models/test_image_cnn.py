"""ImageCNN: a reference in torch's primitives, pixels as bytes, weights of rows, and torchvision's backbones."""

import warnings
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import log_loss
from torch.nn import functional as F
from torchvision import models

from lightmodels import ImageCNN, Trainer, load
from lightmodels.data.tensor_loader import TensorLoader

SMALL = {"num_classes": 3, "channels": 3, "backbone": "shufflenet_v2_x0_5"}  # the smallest one


def example(rows=6, channels=1, size=9):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (rows, channels, size, size), generator=generator).to(torch.uint8)
    return x, torch.arange(rows) % 3


def residual_net(parameters, x):
    """The net of two blocks, in torch's primitives."""
    left = iter(parameters)

    def convolution(x):
        kernel, scale, shift = (next(left) for _ in range(3))
        return F.group_norm(F.conv2d(x, kernel, padding=1), kernel.shape[0] // 8, scale, shift)

    def block(x, widens):
        inner = convolution(F.relu(convolution(x)))
        return F.relu(inner + (F.conv2d(x, next(left)) if widens else x))

    hidden = block(F.relu(convolution(x)), widens=False)
    hidden = block(F.max_pool2d(hidden, 2, ceil_mode=True), widens=True)
    return F.linear(hidden.mean((2, 3)), next(left), next(left))


def test_the_net_from_scratch_is_a_residual_one_and_takes_bytes_or_floats():
    model, (x, _) = ImageCNN(3, width=8, blocks=2).eval(), example()
    with torch.no_grad():
        expected = residual_net(model.parameters(), x / 255)
        torch.testing.assert_close(model(x), expected)
        torch.testing.assert_close(model(x / 255), expected)
    assert sum(parameter.numel() for parameter in ImageCNN().parameters()) == 77_562


def test_the_loss_is_the_weighted_one_of_scikit_learn():
    model, (x, y) = ImageCNN(3, width=8, blocks=1).eval(), example()
    weights = torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0, 1.0])
    probabilities = model(x).softmax(1).detach().numpy()
    step = model.shared_step((x, y, weights))
    expected = log_loss(y, probabilities, sample_weight=weights, labels=[0, 1, 2]) * weights.sum() / len(y)
    assert step["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert model.shared_step((x, y))["loss"].item() == pytest.approx(log_loss(y, probabilities), rel=1e-5)


def torchvisions(weights):
    """A backbone with these weights, as torchvision builds it."""
    net = models.shufflenet_v2_x0_5(weights=None)
    net.load_state_dict(torch.load(weights, weights_only=True))
    return net.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights as torchvision offers them."""
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("weights") / "backbone.pth"
    state = models.shufflenet_v2_x0_5(weights=None).state_dict()
    state["conv1.1.running_mean"] += 0.1
    torch.save({name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}, path)
    return str(path)


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "color"])
def test_a_backbone_gives_torchvisions_features_of_normalized_images(weights, channels):
    model, (x, _) = ImageCNN(**SMALL | {"channels": channels}, weights=weights).eval(), example(2, channels, 33)
    net = torchvisions(weights)
    net.fc = torch.nn.Identity()
    three = (x / 255).repeat(1, 3 // channels, 1, 1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        features = net((three - mean[:, None, None]) / std[:, None, None])
        dense = model.net.net.fc[1]
        torch.testing.assert_close(model(x), features @ dense.weight.T + dense.bias, rtol=1e-4, atol=1e-4)
    assert dense.weight.shape == (3, 1024)


def trained(**options):
    x, y = example(4, 3, 32)
    pl.seed_everything(0, verbose=False)
    model = ImageCNN(**SMALL, **options)
    trainer = Trainer(max_epochs=1, gpus=0, logger=False, figures=False, run_dir="run")
    trainer.fit(model, TensorLoader(x, y, batch_size=4), TensorLoader(x, y, batch_size=4))
    return model


def test_a_frozen_backbone_trains_its_dense_layer_only_and_its_file_is_not_needed_any_more(weights):
    moved = Path(weights).rename("moved.pth")
    try:
        model, before = trained(weights=str(moved), freeze=True), torchvisions(moved).state_dict()
    finally:
        moved.rename(weights)
    state = model.net.net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], state.get(name, torch.empty(0)))}
    assert changed == {"fc.weight", "fc.bias"}
    assert model.train().net.net.fc[0].training
    assert not model.net.net.conv1[1].training
    again = load("run/checkpoints/last.ckpt")
    assert again.hparams["freeze"]
    x, _ = example(4, 3, 16)
    assert torch.equal(again(x), model.eval()(x))
    assert {name for name, each in again.named_parameters() if each.requires_grad} == {
        "net.net.fc.1.weight", "net.net.fc.1.bias"
    }  # fmt: skip


def test_without_freezing_all_layers_are_trained(weights):
    state, before = trained(weights=weights).net.net.state_dict(), torchvisions(weights).state_dict()
    assert not any(torch.equal(before[name], state[name]) for name in ("conv1.0.weight", "conv1.1.running_mean"))


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18"])
def test_other_backbones_have_their_last_layer_replaced(name):
    model = ImageCNN(5, 1, backbone=name).eval()
    assert model(torch.zeros(2, 1, 40, 40)).shape == (2, 5)


BAD = {
    "unknown": ({"backbone": "resnet19"}, "backbone must be a classifier in torchvision.models, such as resnet1"),
    "a detector": ({"backbone": "retinanet_resnet50_fpn"}, "backbone must be a classifier in torchvision.models"),
    "no dense layer": ({"backbone": "squeezenet1_1"}, "backbone squeezenet1_1 does not end in one dense layer"),
    "weights alone": ({"weights": "a.pth"}, "weights needs a backbone"),
    "freeze alone": ({"freeze": True}, "freeze needs a backbone"),
    "no file": (SMALL | {"weights": "none.pth"}, "weights none.pth cannot be read: No such file"),
    "text": (SMALL | {"weights": "text.pth"}, "weights text.pth cannot be read: "),
    "code": (SMALL | {"weights": "code.pth"}, "weights code.pth cannot be read: "),
    "other net": (SMALL | {"weights": "other.pth"}, "other.pth do not fit shufflenet_v2_x0_5: there is no "),
    "other shape": (SMALL | {"weights": "wide.pth"}, "do not fit shufflenet_v2_x0_5: fc.weight has the shape [7"),
    "list": (SMALL | {"weights": "list.pth"}, "list.pth do not fit shufflenet_v2_x0_5: there is no conv1.0"),
    "width": ({"width": 12}, "width must be a multiple of 8, got 12"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "line"), BAD.values(), ids=BAD)
def test_bad_arguments_have_one_line(options, line, weights):
    Path("text.pth").write_text("hello")
    torch.save(Path, "code.pth")
    torch.save({"conv1.bias": torch.ones(3)}, "other.pth")
    torch.save([1, 2], "list.pth")
    if "wide" in options.get("weights", ""):
        torch.save(torch.load(weights, weights_only=True) | {"fc.weight": torch.ones(7, 1024)}, "wide.pth")
    with pytest.raises(ValueError, match=r"backbone|weights|freeze|width") as error:
        ImageCNN(**options)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_flags_are_checked_without_memory_for_the_weights(weights):
    with torch.device("meta"), warnings.catch_warnings():  # as train.py does
        warnings.simplefilter("error")
        ImageCNN(**SMALL, weights=weights)
