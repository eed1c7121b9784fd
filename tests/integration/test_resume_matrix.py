"""A run that stops anywhere and is resumed by a new Trainer ends with the checkpoint of the run that never stopped."""

import functools

import pytest
import pytorch_lightning as pl
import torch
from helpers.checkpoints import different
from helpers.models import Classifier, points
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader

from lightmodels import Trainer
from lightmodels.data.tensor_loader import TensorLoader

EPOCHS = 6  # of 53 rows in batches of 10: six steps each


class Stop(pl.Callback):
    """Ends a run as an error would, after a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            raise InterruptedError


def plateau(monitor, **options):
    def make(optimizer):
        schedule = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.3)
        return {"scheduler": schedule, "monitor": monitor, **options}

    return make


def every_step(scheduler):
    return {"scheduler": scheduler, "interval": "step"}


SCHEDULES = {
    "none": None,
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2, gamma=0.5),
    "plateau on val_loss": plateau("val_loss"),
    "plateau on train_loss": plateau("train_loss"),
    "plateau every second epoch": plateau("val_loss", frequency=2),
    "plateau every step": plateau("val_loss", interval="step", strict=False),
    "one cycle": lambda optimizer: every_step(lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=6 * EPOCHS)),
    "warm restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2),
}


class Model(Classifier):
    def __init__(self, schedule="none"):
        super().__init__(dropout=0.3)
        self.schedule = SCHEDULES[schedule]

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        return {"optimizer": optimizer, **({"lr_scheduler": self.schedule(optimizer)} if self.schedule else {})}


class Flat(Model):
    """Validation does not get better after the second epoch, so that patience ends the run."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        loss = (1.0, 0.5, 0.7, 0.6, 0.6, 0.6, 0.6)[self.trainer.current_epoch]
        self._stage_metrics.add("val", {"loss": (loss, 1)}, 1)


class Finetuned(Model):
    """Has a backbone that ``BackboneFinetuning`` unfreezes at epoch 2."""

    @property
    def backbone(self):
        return self.net[0]

    def configure_optimizers(self):
        return torch.optim.Adam([p for p in self.net[3].parameters()], lr=0.05)


def tensors():
    return TensorLoader(*points(53), batch_size=10, shuffle=True)


def data_loader(**options):
    return DataLoader(TensorDataset(*points(53)), batch_size=10, shuffle=True, **options)


def data_loader_with_generator():
    return data_loader(generator=torch.Generator().manual_seed(5))


def stateful(workers):
    def make():
        return StatefulDataLoader(TensorDataset(*points(53)), batch_size=10, shuffle=True, num_workers=workers)

    return make


def train(run_dir, case, ckpt_path=None, stop=None, **options):
    model_class, loader, arguments, callbacks = case
    pl.seed_everything(3, verbose=False)
    model = model_class()
    callbacks = [*callbacks(), *([Stop(stop)] if stop else [])]
    trainer = Trainer(
        gpus=0,
        logger=False,
        figures=False,
        run_dir=run_dir,
        callbacks=callbacks,
        **{"max_epochs": EPOCHS} | arguments | options,
    )
    val_loader = TensorLoader(*points(17, 1), batch_size=9)
    try:
        trainer.fit(model, loader(), val_loader, ckpt_path=ckpt_path)
    except InterruptedError:
        assert stop
    return torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)


def case(model=Model, loader=tensors, callbacks=list, **arguments):
    return model, loader, arguments, callbacks


CASES = {f"schedule: {name}": case(lambda name=name: Model(name)) for name in SCHEDULES}
CASES |= {
    "patience": case(Flat, patience=3),
    "patience of Lightning": case(Flat, callbacks=lambda: [pl.callbacks.EarlyStopping("val_loss", patience=3)]),
    "monitor": case(monitor="val_acc"),
    "monitor train": case(monitor="train_acc", patience=2),
    "64-true": case(precision="64-true"),
    "bf16-mixed": case(precision="bf16-mixed"),
    "DataLoader": case(loader=data_loader),
    "DataLoader with a generator": case(loader=data_loader_with_generator),
    "Stateful loader": case(loader=stateful(0)),
    "Stateful loader, 2 workers": case(loader=stateful(2), max_epochs=3),  # each epoch starts them
    "max_steps": case(max_steps=33),
    "clipping": case(gradient_clip_val=0.1),
    "accumulation": case(accumulate_grad_batches=4),
    "accumulation schedule": case(callbacks=lambda: [pl.callbacks.GradientAccumulationScheduler({2: 2, 4: 3})]),
    "finetuning": case(Finetuned, callbacks=lambda: [pl.callbacks.BackboneFinetuning(2, verbose=False)]),
    "validation every second epoch": case(check_val_every_n_epoch=2),
    "validation twice an epoch": case(val_check_interval=0.5),
}
INSIDE = {name for name in CASES if "DataLoader" not in name}  # torch's has no state inside an epoch


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The last checkpoint of each case's run that never stops."""
    return functools.cache(lambda name: train(tmp_path_factory.mktemp("run") / "run", CASES[name]))


@pytest.mark.parametrize("name", CASES)
def test_stopped_at_the_end_of_every_epoch(name, uninterrupted, tmp_path):
    expected = uninterrupted(name)
    checkpoint = train(tmp_path / "run", CASES[name], max_epochs=1)
    for epochs in range(2, CASES[name][2].get("max_epochs", EPOCHS) + 1):
        if any(state.get("stopped_epoch") for state in checkpoint["callbacks"].values()):
            break  # stopped early
        checkpoint = train(tmp_path / "run", CASES[name], tmp_path / "run/checkpoints/last.ckpt", max_epochs=epochs)
    assert different(checkpoint, expected, ignore=("max_epochs",)) == {}


@pytest.mark.parametrize("name", sorted(INSIDE))
def test_stopped_inside_epochs(name, uninterrupted, tmp_path):
    expected = uninterrupted(name)
    path = tmp_path / "run/checkpoints/last.ckpt"
    checkpoint = None
    for stop in (2, 9, 14, 27, None):
        resumed_from = path if checkpoint else None
        checkpoint = train(tmp_path / "run", CASES[name], resumed_from, stop=stop, save_every_n_steps=1)
        if checkpoint["global_step"] == expected["global_step"]:
            break
    assert different(checkpoint, expected) == {}
