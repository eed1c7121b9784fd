"""torchmetrics without what nobody asked for, and with all of it for who does."""

import subprocess
import sys

import pytest

from lightmodels.utils import lazy_torchmetrics

SCRIPT = """
import gc; gc.disable()  # collections would take as long as the imports
import lightmodels, sys
from lightmodels import MLP
from lightmodels.cli.exit_codes import quick_end
unused = [name for name in ("torchvision", "scipy.signal", "torchmetrics.functional.image") if name in sys.modules]
assert not unused, unused

import importlib, pickle, torch, torchmetrics
from torchmetrics.classification import Accuracy, BinaryAccuracy
assert torchmetrics.Accuracy is Accuracy
assert torchmetrics.functional.accuracy is importlib.import_module("torchmetrics.functional.classification").accuracy
for package in (torchmetrics, torchmetrics.functional):
    for name in package.__all__:
        value = getattr(package, name)
        assert name == "functional" or value.__name__.lstrip("_").lower() == name.lower(), (name, value)

# Of each of the kinds that a plain import of torchmetrics brings along.
image = torchmetrics.image.PeakSignalNoiseRatio(data_range=1.0)
image.update(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1))
assert abs(image.compute() - 20) < 1e-4  # 10 log10(1 / 0.1**2) decibels
assert "torchvision" in sys.modules
assert torchmetrics.functional.audio.signal_noise_ratio(torch.tensor([1.1]), torch.tensor([1.0])) > 19
assert sys.modules["scipy.signal"].hamming(3)[1] == 1
metric = BinaryAccuracy()
metric.update(torch.tensor([0.9, 0.1]), torch.tensor([1, 1]))
assert metric.plot()[0].axes
assert pickle.loads(pickle.dumps(metric)).compute() == 0.5

for wrong in (lambda: torchmetrics.Nothing, lambda: torchmetrics.functional.nothing):
    try:
        wrong()
    except AttributeError as error:
        assert "has no attribute" in str(error)
    else:
        raise AssertionError
with quick_end():
    pass  # an error has ended this before
"""


def test_every_metric_is_there_when_it_is_used():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("loaded", [{"torchmetrics": None}, {}], ids=["imported_before", "switched_off"])
def test_leaves_torchmetrics_alone(monkeypatch, loaded):
    monkeypatch.setattr(sys, "modules", dict(loaded))
    monkeypatch.setattr(sys, "meta_path", [])
    if not loaded:
        lazy_torchmetrics.install()
        assert len(sys.meta_path) == 1  # what the switch is for
        sys.meta_path.clear()
        monkeypatch.setenv(lazy_torchmetrics.SWITCH, "0")
    lazy_torchmetrics.install()
    assert not sys.meta_path
