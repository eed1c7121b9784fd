"""Training on the fast path: resuming, errors at their step, and the calls that a step costs."""

import sys

import pytest
import pytorch_lightning as pl
import torch
from helpers.fits import assert_equal, fitted, loaders
from helpers.models import OneCycle, points

from lightmodels import Trainer
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.utils import lightning_internals

pytestmark = pytest.mark.filterwarnings("ignore:training in Lightning", "ignore:Be aware that when using")


def test_a_run_interrupted_between_executions_resumes_with_other_ones():
    class Interrupts(pl.Callback):
        runs_every_step = False

        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            if trainer.global_step == 8:
                raise RuntimeError("interrupted")

    whole = fitted(OneCycle)
    with pytest.raises(RuntimeError, match="interrupted"):
        fitted(OneCycle, run_dir="run", save_every_n_steps=1, steps_per_execution=3, callbacks=[Interrupts()])
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 5
    resumed = fitted(OneCycle, ckpt_path="run/checkpoints/last.ckpt", steps_per_execution=2)
    assert_equal(resumed, whole)


@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2}])
def test_a_run_resumed_after_any_step_validates_as_in_lightnings_loops(options, monkeypatch):
    """Lightning's ModelCheckpoint, unlike ours, also saves right before a validation."""
    saves = pl.callbacks.ModelCheckpoint("all", "{step}", save_top_k=-1, every_n_train_steps=1)
    fitted(OneCycle, run_dir="run", callbacks=[saves], **options)
    runs = []
    for missing in ([], ["a name"]):
        monkeypatch.setattr(lightning_internals, "missing", lambda trainer, missing=missing: missing)
        runs.append([fitted(OneCycle, ckpt_path=f"all/step={step}.ckpt", **options) for step in (4, 5, 6, 7)])
    for fast, slow in zip(*runs, strict=True):
        assert_equal(fast, slow)
        assert [row["val_loss"] for row in fast.history] == [row["val_loss"] for row in slow.history]


@pytest.mark.parametrize("options", [{"steps_per_execution": 5}, {"compile": True}])
def test_a_loss_that_is_not_finite_is_reported_at_its_step(options, eager_backend):
    x, y = points()
    x[60] = float("nan")
    trainer = Trainer(max_epochs=1, gpus=0, run_dir="run", **options)
    message = "epoch 1, step 3: the features of row 60 of the data"
    with pytest.raises(FloatingPointError, match=message):
        trainer.fit(OneCycle(), TensorLoader(x, y, batch_size=25))


def test_validation_across_epochs_goes_on_after_an_epoch_that_was_cut_short(monkeypatch):
    class Steps(pl.Callback):
        def on_validation_end(self, trainer, model):
            steps[-1].append(trainer.global_step)

    steps = []
    for missing in ([], ["a name"]):
        steps.append([])
        monkeypatch.setattr(lightning_internals, "missing", lambda trainer, missing=missing: missing)
        options = {"check_val_every_n_epoch": None, "val_check_interval": 5, "max_steps": 8}
        trainer = fitted(OneCycle, max_epochs=-1, callbacks=[Steps()], **options).trainer
        trainer.fit_loop.epoch_loop.max_steps = 18
        trainer.fit(trainer.lightning_module, **loaders())
    assert steps[0] == steps[1]
    assert len(steps[0]) > 1


def count_calls(work):
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
    """A ``fit`` with table, event files and checkpoints, in batches of ten rows."""
    model = OneCycle()
    train, val = (TensorLoader(*points(rows), batch_size=10) for _ in range(2))
    trainer = Trainer(max_epochs=1, gpus=0, run_dir=f"run-{rows}", figures=False)
    return lambda: trainer.fit(model, train, val)


def bare_loop_of(rows):
    """The steps alone, with sums of loss and accuracy."""
    model, (x, y) = OneCycle(), points(rows)
    optimizer = torch.optim.Adam(model.net.parameters())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    batches = [(x[start : start + 10], y[start : start + 10]) for start in range(0, rows, 10)]

    def values(x, y):
        logits = model.net(x)
        return torch.nn.functional.cross_entropy(logits, y), (logits.argmax(1) == y).float().mean()

    def work():
        sums = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        for batch in batches:
            loss, acc = values(*batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            sums[0].add_(torch.stack([loss, acc]).detach())
        with torch.no_grad():
            for batch in batches:
                sums[1].add_(torch.stack(values(*batch)))

    return work


def test_a_step_costs_no_more_calls_than_its_budget():
    """A training and a validation step together; Lightning's loops take 2,600 calls more than a bare loop."""
    count_calls(fit_of(50))  # what happens once
    count_calls(bare_loop_of(50))
    ours, bare = ((count_calls(work(900)) - count_calls(work(300))) / 60 for work in (fit_of, bare_loop_of))
    assert ours - bare < 400, (ours, bare)
