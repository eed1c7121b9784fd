"""The fast loops do what Lightning's do, with every option of the loops, hook by hook and bit by bit."""

import contextlib
import functools
import io
import re
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from helpers.checkpoints import rows_of
from helpers.fits import Rows, loaders, model_with
from helpers.models import Classifier, ManyMetrics, OneCycle, Points, points
from pytorch_lightning.loggers.logger import Logger
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import LightModel, Trainer
from lightmodels.callbacks import best_and_last
from lightmodels.loops import fast_path
from lightmodels.utils import lightning_internals

UNEQUAL = ("seconds", "samples_per_second", "hparams_name", "dirpath")  # values that differ in each run
SAVING = ("on_save_checkpoint", "state_dict")
NOT_RECORDED = {*fast_path.TRAINING_HOOKS, *fast_path.VALIDATION_HOOKS}  # a model with them gets no fast path
CALLBACK_HOOKS = {name for name in dir(pl.Callback) if name.startswith(("on_", "setup", "teardown"))}
MODEL_HOOKS = (CALLBACK_HOOKS & set(dir(LightModel)) - NOT_RECORDED) | {"lr_scheduler_step"}


class Schedules(Classifier):  # two schedules: every other step, and every epoch
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        steps = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        epochs = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
        return [optimizer], [{"scheduler": steps, "interval": "step", "frequency": 2}, epochs]


class Plateau(Classifier):
    interval = "epoch"

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=1.0)
        schedule = {"scheduler": plateau, "monitor": "val_loss", "interval": self.interval, "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class Halves(
    torch.optim.SGD
):  # keeps half of each gradient for the next step, and evaluates the loss where gradients are off
    @torch.no_grad()
    def step(self, closure):
        loss = closure()
        super().step()
        return loss

    def zero_grad(self, set_to_none=True):
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                parameter.grad.mul_(0.5)


class Logs(OneCycle):  # logs a value of its own in each step
    def shared_step(self, batch):
        values = super().shared_step(batch)
        self.log("own", values["loss"].detach(), on_step=True, on_epoch=True)
        return values

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.log("late", outputs["loss"], on_step=True, on_epoch=True)


class Stops(OneCycle):  # stops training in the middle of the second epoch
    def shared_step(self, batch):
        self.trainer.should_stop = self.global_step >= 7
        return super().shared_step(batch)


class Manual(OneCycle):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer, loss = self.optimizers(), super().training_step(batch, batch_idx)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.lr_schedulers().step()
        return loss


class ZerosGradients(pl.Callback):
    def on_after_backward(self, trainer, model):
        model.net[0].weight.grad.zero_()


def torch_loaders():
    val = [DataLoader(TensorDataset(*points(31, seed)), 9) for seed in (1, 2)]
    train = DataLoader(TensorDataset(*points()), 20, shuffle=True)
    return {"train_dataloaders": train, "val_dataloaders": val}


def unsized_loaders():
    return loaders() | {"train_dataloaders": DataLoader(Rows(), 20)}


Lbfgs = model_with(Classifier, configure_optimizers=lambda self: torch.optim.LBFGS(self.parameters(), 0.1))
KeepsGradients = model_with(OneCycle, configure_optimizers=lambda self: Halves(self.parameters(), 0.1))
ChangesWeights = model_with(OneCycle, on_train_batch_end=lambda self, *_: self.net[0].bias.data.mul_(0.9))
RUNS = {  # model, options, data
    "metrics": (ManyMetrics, {}),
    "schedules": (Schedules, {"max_epochs": 4}),
    "plateau": (Plateau, {"max_epochs": 4}),
    "plateau of steps": (model_with(Plateau, interval="step"), {}),
    "lbfgs": (Lbfgs, {}),
    "logs": (Logs, {"log_every_n_steps": 2}),
    "changes weights": (ChangesWeights, {}),
    "clips": (OneCycle, {"gradient_clip_val": 0.1}),
    "clips values": (OneCycle, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    "bfloat16": (OneCycle, {"precision": "bf16-mixed"}),
    "validates inside": (OneCycle, {"val_check_interval": 2}),
    "validates by fraction": (OneCycle, {"val_check_interval": 0.4}),
    "validates across epochs": (OneCycle, {"check_val_every_n_epoch": None, "val_check_interval": 7}),
    "validates by time": (OneCycle, {"val_check_interval": "00:01:00:00"}),
    "validates every other epoch": (OneCycle, {"check_val_every_n_epoch": 2}),
    "validates never": (OneCycle, {"limit_val_batches": 0}),
    "few batches": (OneCycle, {"limit_train_batches": 3, "limit_val_batches": 2}),
    "max steps": (OneCycle, {"max_steps": 7, "max_epochs": -1}),
    "saves inside": (OneCycle, {"save_every_n_steps": 2}),
    "sanity check": (OneCycle, {"num_sanity_val_steps": 2}),
    "keeps gradients": (KeepsGradients, {}),
    "stops": (Stops, {}),
    "stops after min_epochs": (Stops, {"min_epochs": 3, "max_epochs": 4}),
    "overfits": (OneCycle, {"overfit_batches": 2}),
    "fast_dev_run": (OneCycle, {"fast_dev_run": 2}),
    "reloads": (OneCycle, {"reload_dataloaders_every_n_epochs": 1}, lambda: {"datamodule": Points()}),
    "several loaders": (OneCycle, {}, torch_loaders),
    "unsized": (Classifier, {"limit_train_batches": 4, "max_steps": 12}, unsized_loaders),
}
SLOW_RUNS = {  # with what keeps them from the fast path
    "accumulate_grad_batches=2": (OneCycle, {"accumulate_grad_batches": 2}),
    "Manual, which is not a LightModel with automatic optimization": (Manual, {}),
    "ZerosGradients.on_after_backward": (OneCycle, {"callbacks": [ZerosGradients()]}),
    "a profiler": (OneCycle, {"profiler": "simple"}),
    "precision 64-true": (OneCycle, {"precision": "64-true"}),
}
SLOW_HOOKS = {
    "backward": lambda self, loss: OneCycle.backward(self, loss * 2),
    "on_train_batch_start": lambda self, batch, batch_idx: -1 if batch_idx == 2 else None,
    "on_after_batch_transfer": lambda self, batch, dataloader_idx: (batch[0] * 2, batch[1]),
    "training_step": lambda self, batch, batch_idx: OneCycle.training_step(self, batch, batch_idx) * 0.5,
    "configure_gradient_clipping": lambda self, optimizer, **_: self.clip_gradients(optimizer, 0.01, "norm"),
}
SLOW_RUNS |= {f"Own.{name}": (model_with(OneCycle, **{name: hook}), {}) for name, hook in SLOW_HOOKS.items()}
ALL_RUNS = RUNS | SLOW_RUNS


class Recorder(pl.Callback, Logger):
    """Writes down calls of hooks with what they can see, and rows for loggers."""

    name, version = "recorder", "0"

    def __init__(self):
        self.calls, self.rows = [], []

    def record(self, owner, name, trainer, args):
        seen = {
            "hook": f"{owner} {name}",
            "at": (trainer.current_epoch, trainer.global_step, str(trainer.state.stage)),
            "loops": repr(trainer.fit_loop.state_dict()),
            "flags": (trainer.is_last_batch, trainer.should_stop, trainer.sanity_checking),
            "values": {key: value.item() for key, value in trainer.callback_metrics.items()},
            "args": [arg for arg in args if isinstance(arg, (int, str, dict)) and name not in SAVING],
        }
        if "batch" in name:
            seen["current hook"] = trainer.lightning_module._current_fx_name
        if name == "on_train_batch_end":
            seen["validates"] = lightning_internals.validation_follows(trainer)
            seen["by rule"] = lightning_internals._validation_is_due(trainer)
        self.calls.append(seen)

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def log_hyperparams(self, params):
        self.rows.append(params)


def _callback_hook(name):
    def hook(self, trainer, *args, **kwargs):
        self.record("callback", name, trainer, args)

    return hook


for hook_name in CALLBACK_HOOKS - set(fast_path.STEP_HOOKS):
    setattr(Recorder, hook_name, _callback_hook(hook_name))


def recorded(model_class, recorder):
    """A subclass whose hooks are recorded, with a name of its own, as ``load`` finds classes by their names."""

    def model_hook(name, inherited):
        def hook(self, *args, **kwargs):
            recorder.record("model", name, self.trainer, args)
            return inherited(self, *args, **kwargs)

        return hook

    hooks = {name: model_hook(name, getattr(model_class, name)) for name in MODEL_HOOKS}
    return type(f"Recorded{model_class.__name__}", (model_class,), hooks)


@functools.cache
def run(kind, loops="fast"):
    """A fit in the fast loops, in Lightning's, by a plain ``pl.Trainer``, or with steps per execution."""
    model_class, options, *data = ALL_RUNS[kind]
    pl.seed_everything(7, verbose=False)
    recorder = Recorder()
    model = recorded(model_class, recorder)()
    options = {"max_epochs": 3, "logger": recorder} | options
    options["callbacks"] = [recorder, *options.get("callbacks", [])]
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()) as output,
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        patch.setattr(best_and_last, "MIN_SECONDS_BETWEEN_SAVES", 0)  # so that speed does not matter
        if loops == "plain":
            options.pop("save_every_n_steps", None)
            parts = ("progress_bar", "model_summary", "checkpointing")
            options |= {f"enable_{part}": False for part in parts}
            trainer = pl.Trainer(accelerator="cpu", **options)
        else:
            if loops == "lightning":
                patch.setattr(lightning_internals, "missing", lambda trainer: ["a name"])
            options["steps_per_execution"] = 1 if loops in ("fast", "lightning") else loops
            trainer = Trainer(gpus=0, figures=False, run_dir=f"{folder}/run", **options)
        trainer.fit(model, **(data[0] if data else loaders)())
        paths = sorted(Path(folder).rglob("*.ckpt"))
        checkpoints = {path.name: torch.load(path, weights_only=True) for path in paths}
        for checkpoint in checkpoints.values():
            checkpoint["history"] = rows_of(checkpoint["history"])
    return {
        "trainer": trainer,
        "weights": model.state_dict(),
        "history": list(model.history),
        "rows": recorder.rows,
        "calls": recorder.calls,
        "checkpoints": checkpoints,
        "console": table(output.getvalue()),
    }


def table(text):
    """The epochs' lines without the seconds."""
    lines = [line.split() for line in text.splitlines() if line.split()]
    (header,) = [line for line in lines if line[0] == "epoch"] or [["seconds"]]
    return [line[: header.index("seconds")] for line in lines]


def leaves(value, path=""):
    """All numbers, tensors and texts in a value, exactly, with their paths."""
    if not isinstance(value, (dict, list, tuple)):
        yield path, repr((value.dtype, value.tolist()) if isinstance(value, torch.Tensor) else value)
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if key not in UNEQUAL:
            yield from leaves(part, f"{path}/{key}")


def assert_same(one, other, *parts):
    mine, theirs = (dict(leaves({part: run[part] for part in parts})) for run in (one, other))
    different = [path for path in {**mine, **theirs} if mine.get(path) != theirs.get(path)]
    assert not different, {path: (mine.get(path), theirs.get(path)) for path in different[:5]}


@pytest.mark.parametrize("kind", ALL_RUNS)
def test_the_fast_loops_do_what_lightnings_loops_do(kind):
    fast, lightning = run(kind), run(kind, "lightning")
    reason = fast["trainer"].fit_loop.epoch_loop.why_not
    assert (reason and reason.removeprefix("Recorded")) == (kind if kind in SLOW_RUNS else None)
    assert not hasattr(lightning["trainer"].fit_loop.epoch_loop, "why_not")
    assert_same(fast, lightning, "weights", "history", "rows", "calls", "checkpoints", "console")


@pytest.mark.parametrize("kind", ALL_RUNS)
def test_a_plain_trainer_does_the_same(kind):
    ours, plain = dict(run(kind)), run(kind, "plain")
    ours["calls"] = [call for call in ours["calls"] if not call["hook"].endswith(SAVING)]
    assert_same(ours, plain, "weights", "history", "rows", "calls")


@pytest.mark.parametrize("steps", [2, "auto"])
@pytest.mark.parametrize("kind", RUNS)
def test_several_steps_per_execution_end_in_the_same_state(kind, steps):
    single, several = run(kind), run(kind, steps)
    assert_same(single, several, "weights", "history", "rows", "checkpoints", "console")
    all_ends, ends = (
        [call for call in run["calls"] if call["hook"] == "callback on_train_batch_end"] for run in (single, several)
    )
    assert {call["loops"] for call in ends} <= {call["loops"] for call in all_ends}
    if (kind, steps) == ("metrics", 2):  # five batches an epoch
        assert [call["args"][-1] for call in ends] == [1, 3, 4] * 3


@pytest.mark.parametrize("kind", SLOW_RUNS)
def test_several_steps_per_execution_are_refused_off_the_fast_path(kind):
    with pytest.raises(ValueError, match=rf"steps_per_execution=4 is not supported with .*{re.escape(kind)}"):
        run(kind, 4)


@pytest.mark.parametrize("kind", [kind for kind in ALL_RUNS if kind != "validates by time"])
def test_a_validation_is_foreseen_at_the_batch_before_it(kind):
    hooks = ("on_train_batch_end", "on_validation_start", "on_train_batch_start", "on_train_epoch_end")
    calls = [call for call in run(kind)["calls"] if call["hook"] in [f"callback {name}" for name in hooks]]
    for call, following in pairwise(calls):
        if call["hook"] == "callback on_train_batch_end":
            assert call["validates"] == (following["hook"] == "callback on_validation_start")
            assert call["by rule"] == call["validates"]
