"""The short way through Lightning's loops: compared with Lightning's own way, bit by bit and call by call."""

import re
import sys

import pytest
import pytorch_lightning as pl
import torch
from helpers.models import Classifier, ManyMetrics, OneCycle, Points, points
from torch.utils.data import DataLoader, TensorDataset

from lightmodels import Trainer
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.loops import fast_path

CLOCKS = ("seconds", "samples_per_second")
HOOKS = [
    "on_train_batch_start", "on_train_batch_end", "on_validation_batch_start", "on_validation_batch_end",
    "on_train_epoch_start", "on_train_epoch_end", "on_validation_start", "on_validation_end",
]  # fmt: skip


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Plateau(Classifier):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=1.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}


class Lbfgs(Classifier):
    """An optimizer that asks for the loss several times a step."""

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=4)


class HalvesGradients(torch.optim.SGD):
    """Leaves half of each gradient to the next step, and asks for the loss where gradients are off."""

    @torch.no_grad()
    def step(self, closure):
        loss = closure()
        super().step()
        return loss

    def zero_grad(self, set_to_none=True):
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                parameter.grad.mul_(0.5)


class LeavesGradients(Classifier):
    def configure_optimizers(self):
        return HalvesGradients(self.parameters(), lr=0.1)


class Logs(OneCycle):
    """Logs a value of its own in each step."""

    def shared_step(self, batch):
        values = super().shared_step(batch)
        self.log("own", values["loss"].detach(), on_step=True, on_epoch=True)
        return values


class OwnEnd(OneCycle):
    """Has a hook of its own after each batch."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.net[0].bias.data.mul_(0.9 if batch_idx % 2 else 1.0)


class StopsItself(OneCycle):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.trainer.should_stop = self.global_step == 8


class Recorder(pl.Callback):
    """Writes down the calls of hooks with what they could see."""

    def __init__(self):
        self.calls = []


def _recorded(name):
    def hook(self, trainer, model, *args):
        numbers = [arg for arg in args if isinstance(arg, int)]
        progress = trainer.fit_loop.epoch_loop.batch_progress.state_dict()
        loss = args[0]["loss"].item() if name == "on_train_batch_end" else None
        self.calls.append((name, trainer.global_step, trainer.is_last_batch, numbers, str(progress), loss))

    return hook


for hook_name in HOOKS:
    setattr(Recorder, hook_name, _recorded(hook_name))

RUNS = {
    "metrics": (ManyMetrics, {}),
    "plateau": (Plateau, {"max_epochs": 4}),
    "lbfgs": (Lbfgs, {}),
    "logs": (Logs, {"log_every_n_steps": 2}),
    "own hook": (OwnEnd, {}),
    "clips": (OneCycle, {"gradient_clip_val": 0.1}),
    "clips values": (OneCycle, {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"}),
    "bfloat16": (OneCycle, {"precision": "bf16-mixed"}),
    "validates inside": (OneCycle, {"val_check_interval": 2}),
    "few batches": (OneCycle, {"limit_train_batches": 3, "limit_val_batches": 2}),
    "steps": (OneCycle, {"max_steps": 7, "max_epochs": -1}),
    "saves inside": (OneCycle, {"save_every_n_steps": 2}),
    "sanity": (OneCycle, {"num_sanity_val_steps": 2}),
    "no validation": (OneCycle, {"limit_val_batches": 0}),
    "validates over epochs": (OneCycle, {"check_val_every_n_epoch": None, "val_check_interval": 5}),
    "own zero_grad": (LeavesGradients, {}),
    "stops": (StopsItself, {"max_epochs": 2}),
}


def fitted(model_class, options, data, run_dir):
    pl.seed_everything(7, verbose=False)
    recorder, model = Recorder(), model_class()
    options = {"max_epochs": 3, "gpus": 0, "figures": False, "callbacks": [recorder]} | options
    trainer = Trainer(run_dir=run_dir, **options)
    trainer.fit(model, **data())
    return model, recorder.calls, torch.load(f"{run_dir}/checkpoints/last.ckpt", weights_only=True)


def loaders():
    return {
        "train_dataloaders": TensorLoader(*points(), batch_size=25, shuffle=True),
        "val_dataloaders": TensorLoader(*points(31, 1), batch_size=9),
    }


def same(one, other):
    """Whether two states hold the same to the bit, clocks and paths aside."""
    if isinstance(one, dict):
        skips = (*CLOCKS, "hparams_name", "dirpath")
        return one.keys() == other.keys() and all(
            same(one[name], other[name]) for name in one if name not in skips
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return torch.equal(one.nan_to_num(), other.nan_to_num()) and one.dtype == other.dtype
    return one == other or (one != one and other != other)


@pytest.mark.parametrize("kind", RUNS)
def test_it_is_lightnings_way_to_the_bit(kind, monkeypatch):
    model_class, options = RUNS[kind]
    short, short_calls, short_state = fitted(model_class, options, loaders, "short")
    assert short.trainer.fit_loop.epoch_loop.why_not is None
    monkeypatch.setattr(fast_path, "why_not", lambda *_: "a test")
    whole, calls, state = fitted(model_class, options, loaders, "whole")
    assert whole.trainer.fit_loop.epoch_loop.why_not == "a test"
    assert same(list(short.state_dict().values()), list(whole.state_dict().values()))
    assert short_calls == calls
    for name in state:
        assert same(short_state[name], state[name]), name


@pytest.mark.parametrize("kind", ["DataLoader", "datamodule"])
def test_with_other_data(kind, monkeypatch):
    def data():
        if kind == "datamodule":
            return {"datamodule": Points(batch_size=10)}
        return {"train_dataloaders": DataLoader(TensorDataset(*points()), 20, shuffle=True)}

    short, short_calls, _ = fitted(OneCycle, {}, data, "short")
    monkeypatch.setattr(fast_path, "why_not", lambda *_: "a test")
    whole, calls, _ = fitted(OneCycle, {}, data, "whole")
    assert same(list(short.state_dict().values()), list(whole.state_dict().values()))
    assert short_calls == calls


class Backward(OneCycle):
    def backward(self, loss):
        super().backward(loss * 2)


class Skips(OneCycle):
    def on_train_batch_start(self, batch, batch_idx):
        return -1 if batch_idx == 2 else None


class Transfers(OneCycle):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0] * 2, batch[1]


class Steps(OneCycle):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * 0.5


class Clips(OneCycle):
    """Clips in the hook, as Lightning's manual has it, and so with no option of the Trainer."""

    def configure_gradient_clipping(self, optimizer, gradient_clip_val, gradient_clip_algorithm):
        self.clip_gradients(optimizer, 0.01, "norm")


class Watches(pl.Callback):
    def on_after_backward(self, trainer, model):
        model.net[0].weight.grad.zero_()


@pytest.mark.parametrize(
    ("model_class", "options"),
    [
        (Backward, {}), (Skips, {}), (Transfers, {}), (Steps, {}), (Clips, {}),
        (OneCycle, {"callbacks": [Recorder(), Watches()]}),
        (OneCycle, {"accumulate_grad_batches": 2}), (OneCycle, {"profiler": "simple"}),
        (OneCycle, {"precision": "64-true"}),
    ],
)  # fmt: skip
def test_what_is_special_goes_lightnings_way(model_class, options, monkeypatch):
    short, _, _ = fitted(model_class, options, loaders, "short")
    assert short.trainer.fit_loop.epoch_loop.why_not is not None
    monkeypatch.setattr(fast_path, "why_not", lambda *_: "a test")
    whole, _, _ = fitted(model_class, options, loaders, "whole")
    assert same(list(short.state_dict().values()), list(whole.state_dict().values()))


@pytest.mark.parametrize("execution", [2, "auto"])
@pytest.mark.parametrize("kind", RUNS)
def test_many_steps_an_execution_end_in_the_same_bits(kind, execution):
    model_class, options = RUNS[kind]
    single, calls, state = fitted(model_class, options, loaders, "single")
    many, fewer_calls, other = fitted(
        model_class, options | {"steps_per_execution": execution}, loaders, "many"
    )
    assert same(list(single.state_dict().values()), list(many.state_dict().values()))
    for name in state:
        assert same(state[name], other[name]), name
    assert [call for call in calls if call in fewer_calls and call[0] != "on_train_batch_start"] == [
        call for call in fewer_calls if call[0] != "on_train_batch_start"
    ]
    ends = [call[3] for call in fewer_calls if call[0] == "on_train_batch_end"]
    if kind == "metrics" and execution == 2:  # five batches an epoch
        assert ends == [[1], [3], [4]] * 3


def test_a_run_that_is_stopped_between_executions_goes_on_with_others():
    class Stops(pl.Callback):
        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            if trainer.global_step == 8:
                raise RuntimeError("stopped")

    whole, _, _ = fitted(OneCycle, {"save_every_n_steps": 1}, loaders, "whole")
    options = {"save_every_n_steps": 1, "steps_per_execution": 3, "callbacks": [Recorder(), Stops()]}
    with pytest.raises(RuntimeError, match="stopped"):
        fitted(OneCycle, options, loaders, "run")
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 5
    resumed = OneCycle()
    trainer = Trainer(max_epochs=3, gpus=0, figures=False, steps_per_execution=2)
    trainer.fit(resumed, **loaders(), ckpt_path="run/checkpoints/last.ckpt")
    assert same(list(whole.state_dict().values()), list(resumed.state_dict().values()))


def test_a_loss_that_is_not_finite_is_told_at_its_step():
    x, y = points()
    x[60] = float("nan")
    trainer = Trainer(max_epochs=1, gpus=0, run_dir="run", steps_per_execution=5)
    with pytest.raises(
        FloatingPointError, match="epoch 1, step 3: the features of row 60 of the training set"
    ):
        trainer.fit(OneCycle(), TensorLoader(x, y, batch_size=25))


@pytest.mark.parametrize(
    ("model_class", "options", "reason"),
    [
        (OneCycle, {"accumulate_grad_batches": 2}, "accumulate_grad_batches=2"),
        (Backward, {}, "Backward.backward"),
        (OneCycle, {"callbacks": [Recorder(), Watches()]}, "Watches.on_after_backward"),
        (OneCycle, {"profiler": "simple"}, "a profiler"),
    ],
)
def test_many_steps_are_refused_where_something_is_due_in_between(model_class, options, reason):
    message = f"steps_per_execution=4 is not supported with {reason}"
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted(model_class, options | {"steps_per_execution": 4}, loaders, "run")


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "all", None])
def test_a_number_of_steps_that_is_none(steps):
    with pytest.raises(ValueError, match="steps_per_execution must be at least 1, or 'auto'"):
        Trainer(steps_per_execution=steps)


def test_validation_over_epochs_stays_where_it_was_when_an_epoch_is_cut_short(monkeypatch):
    class Validated(pl.Callback):
        def __init__(self):
            self.steps = []

        def on_validation_end(self, trainer, model):
            self.steps.append(trainer.global_step)

    def steps():
        validated = Validated()
        trainer = Trainer(
            max_steps=8, check_val_every_n_epoch=None, val_check_interval=5, gpus=0, callbacks=[validated],
            logger=False, enable_checkpointing=False,
        )  # fmt: skip
        trainer.fit(OneCycle(), **loaders())
        trainer.fit_loop.epoch_loop.max_steps = 18
        trainer.fit(trainer.lightning_module, **loaders())
        return validated.steps

    short = steps()
    monkeypatch.setattr(fast_path, "why_not", lambda *_: "a test")
    assert short == steps()
    assert len(short) > 1


def counted(work):
    """How many functions, Python's and C's, a piece of work calls."""
    count = 0

    def counts(frame, event, arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counts)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def fit_of(rows):
    """A ``fit`` with table, event files and checkpoints, over so many batches of ten rows."""
    model = OneCycle()
    train, val = (TensorLoader(*points(rows), batch_size=10) for _ in range(2))
    trainer = Trainer(max_epochs=1, gpus=0, run_dir=f"run-{rows}", figures=False)
    return lambda: trainer.fit(model, train, val)


def bare_loop_of(rows):
    """What must be done for the same: the steps, and sums of loss and accuracy."""
    model, (x, y) = OneCycle(), points(rows)
    optimizer = torch.optim.Adam(model.net.parameters())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)

    def batch(start):
        logits = model.net(x[start : start + 10])
        target = y[start : start + 10]
        return torch.nn.functional.cross_entropy(logits, target), (logits.argmax(1) == target).float().mean()

    def work():
        sums = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        for start in range(0, rows, 10):
            loss, acc = batch(start)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            sums[0].add_(torch.stack([loss, acc]).detach())
        with torch.no_grad():
            for start in range(0, rows, 10):
                sums[1].add_(torch.stack(batch(start)))

    return work


def test_a_step_costs_no_more_calls_than_its_budget():
    """Of a training and a validation step together; Lightning's way takes 2,600 more than a bare loop."""
    counted(fit_of(50))  # what happens once
    counted(bare_loop_of(50))
    ours, bare = ((counted(work(900)) - counted(work(300))) / 60 for work in (fit_of, bare_loop_of))
    assert ours - bare < 400, (ours, bare)
