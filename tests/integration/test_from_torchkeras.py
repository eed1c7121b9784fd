"""Programs in the style of torchkeras' LightModel of 2021 run, with imports and metric calls of today."""

import gzip
import math
import re
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from helpers import ROOT
from helpers.tiny_files import write_mnist
from matplotlib import pyplot as plt
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics.functional import accuracy
from torchvision import datasets, transforms

from lightmodels import LightModel, Trainer

GUIDE = (ROOT / "examples" / "from_torchkeras.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def without_windows():
    mpl.use("agg")


def steps_down(model):
    """What the source's programs return from ``configure_optimizers``."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    lr_scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.0001)
    return {"optimizer": optimizer, "lr_scheduler": lr_scheduler}


class RingNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(2, 4)
        self.fc2 = nn.Linear(4, 8)
        self.fc3 = nn.Linear(8, 1)

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        return torch.sigmoid(self.fc3(x))


class RingModel(LightModel):
    def shared_step(self, batch) -> dict:
        x, y = batch
        prediction = self(x)
        loss = nn.BCELoss()(prediction, y)
        acc = accuracy(prediction, y.long(), task="binary")
        return {"loss": loss, "acc": acc}

    configure_optimizers = steps_down


def ring_loaders():
    y = torch.cat([torch.ones(2000, 1), torch.zeros(2000, 1)])
    radius = torch.normal(8.0 - 3.0 * y, 1.0)
    angle = 2 * math.pi * torch.rand(4000, 1)
    data = TensorDataset(torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1), y)
    train, valid = random_split(data, [2800, 1200])
    return DataLoader(train, batch_size=100, shuffle=True), DataLoader(valid, batch_size=100)


class CnnNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(1, 32, kernel_size=3),
                nn.MaxPool2d(2),
                nn.Conv2d(32, 64, kernel_size=5),
                nn.MaxPool2d(2),
                nn.Dropout2d(0.1),
                nn.AdaptiveMaxPool2d((1, 1)),
                nn.Flatten(),
                nn.Linear(64, 32),
                nn.ReLU(),
                nn.Linear(32, 10),
            ]
        )

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class CnnModel(LightModel):
    def shared_step(self, batch) -> dict:
        x, y = batch
        prediction = self(x)
        loss = nn.CrossEntropyLoss()(prediction, y)
        acc = accuracy(prediction.argmax(dim=1), y, task="multiclass", num_classes=10)
        return {"loss": loss, "acc": acc}

    configure_optimizers = steps_down


def mnist_loaders():
    """torchvision's MNIST, on tiny files that lie there as it would have unpacked them."""
    write_mnist("data", train=200, test=50)
    for path in Path("data/MNIST/raw").glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    to_tensor = transforms.ToTensor()
    train, valid = (datasets.MNIST("data", train=train, transform=to_tensor) for train in (True, False))
    return DataLoader(train, batch_size=32, shuffle=True), DataLoader(valid, batch_size=32)


def plot_metric(dfhistory, metric):
    train_metrics, val_metrics = dfhistory["train_" + metric], dfhistory["val_" + metric]
    plt.figure()
    plt.plot(range(1, len(train_metrics) + 1), train_metrics, "bo--")
    (curve,) = plt.plot(range(1, len(val_metrics) + 1), val_metrics, "ro-")
    plt.savefig(f"{metric}.png")
    return curve.get_ydata()


def predict(model, dl):
    """Predictions without a trainer, as the programs do it."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model.forward(t[0].to(model.device)) for t in dl])


@pytest.mark.parametrize(
    ("model_class", "net_class", "loaders", "epochs", "reached"),
    [(RingModel, RingNet, ring_loaders, 12, 0.85), (CnnModel, CnnNet, mnist_loaders, 4, 0.5)],
)
def test_a_program_from_data_to_saved_net(model_class, net_class, loaders, epochs, reached):
    pl.seed_everything(123, verbose=False)
    dl_train, dl_valid = loaders()
    model = model_class(net_class())
    ckpt_cb = pl.callbacks.ModelCheckpoint(monitor="val_loss")
    trainer = Trainer(max_epochs=epochs, gpus=0, callbacks=[ckpt_cb])
    trainer.fit(model, dl_train, dl_valid)

    dfhistory = pd.DataFrame(model.history)
    assert list(dfhistory["epoch"]) == list(range(1, epochs + 1))
    assert list(dfhistory["lr"]) == pytest.approx([0.01] * min(epochs, 10) + [1e-6] * (epochs - 10))
    for metric in ("loss", "acc"):
        assert list(plot_metric(dfhistory, metric)) == model.history[f"val_{metric}"]
        assert Path(f"{metric}.png").stat().st_size > 0

    results = trainer.test(model, dl_valid, verbose=False)
    assert ckpt_cb.best_model_score.item() == pytest.approx(min(dfhistory["val_loss"]), rel=1e-6)
    assert results[0]["test_loss"] == pytest.approx(ckpt_cb.best_model_score.item(), rel=1e-5)
    assert results[0]["test_acc"] > reached

    assert torch.allclose(trainer.predict(model, dl_valid), predict(model, dl_valid), atol=1e-6)
    best = model_class.load_from_checkpoint(ckpt_cb.best_model_path, net=net_class(), weights_only=True)
    torch.save(best.net.state_dict(), "net.pt")
    net_clone = net_class()
    net_clone.load_state_dict(torch.load("net.pt", weights_only=True))
    clone = Trainer().test(model_class(net_clone), dl_valid, verbose=False)
    assert clone[0] == pytest.approx(results[0], rel=1e-6)


BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def test_the_guide_has_a_block_for_each_start():
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("code", BLOCKS)
def test_the_guides_code_runs(code, capsys):
    exec(compile(code, "from_torchkeras.md", "exec"), {"__name__": "__main__"})
    accuracy = float(re.findall(r"acc\w*'?:? *([\d.]+)", capsys.readouterr().out)[-1])
    assert accuracy > 0.8
