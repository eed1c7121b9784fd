"""On a GPU: the curve of the CPU, no wait for the device inside an epoch, and graphs of whole steps."""

import json
import signal

import pytest
import pytorch_lightning as pl
import torch
from helpers.commands import command, read_metrics
from helpers.models import Classifier, points

from datamodules.ring import RingDataModule
from lightmodels import RingDNN, Trainer
from lightmodels.data.tensor_loader import TensorLoader

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]


class Interrupts(pl.Callback):
    """Presses Ctrl-C after some step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            signal.raise_signal(signal.SIGINT)


def fitted(gpus, epochs=4, ckpt_path=None, **options):
    pl.seed_everything(0, verbose=False)
    model = RingDNN()
    trainer = Trainer(gpus=gpus, max_epochs=epochs, figures=False, logger=False, **options)
    trainer.fit(model, RingDataModule(), ckpt_path=ckpt_path)
    return model


@pytest.mark.parametrize("options", [{}, {"compile": True}, {"compile": True, "steps_per_execution": "auto"}])
def test_the_curve_is_that_of_the_cpu(options):
    expected, model = fitted(0), fitted(1, **options)
    for row, of_cpu in zip(model.history, expected.history, strict=True):
        assert row["train_loss"] == pytest.approx(of_cpu["train_loss"], rel=1e-3)
        assert row["val_loss"] == pytest.approx(of_cpu["val_loss"], rel=1e-3)
    for mine, theirs in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine.detach().cpu(), theirs.detach(), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("compile_steps", [False, True])
def test_no_step_waits_for_the_device(compile_steps):
    class Watch(pl.Callback):
        """From the second epoch on, what waits for the device inside an epoch is an error."""

        runs_every_step = True

        def on_train_batch_start(self, trainer, model, batch, batch_idx):
            if trainer.current_epoch:
                torch.cuda.set_sync_debug_mode("error")

        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            if trainer.is_last_batch:
                torch.cuda.set_sync_debug_mode("default")

    try:
        fitted(1, compile=compile_steps, callbacks=[Watch()])
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit():
    whole = fitted(1)
    fitted(1, callbacks=[Interrupts(40)], run_dir="run")
    resumed = fitted(1, run_dir="run", ckpt_path="last")
    assert all(map(torch.equal, resumed.state_dict().values(), whole.state_dict().values()))


@pytest.mark.real_data
@pytest.mark.parametrize("options", [[], ["--precision", "bf16-mixed"]], ids=["fp32", "bf16"])
@pytest.mark.parametrize("task", ["linear", "ring", "mnist", "reuters", "mnist_mlp", "housing"])
def test_what_is_trained_on_a_gpu_is_tested_there_and_on_the_cpu(task, options, data_dir, capfd):
    flags = ["--task", task, "--gpus", 1, "--data_dir", data_dir, "--max_epochs", 2, "--run_dir", "run", *options]
    assert command(capfd, "train", *flags).code == 0
    best, tested = "run/checkpoints/best.ckpt", read_metrics("run")
    for gpus in (1, 0):
        ended = command(capfd, "evaluate", "--ckpt", best, "--gpus", gpus, "--data_dir", data_dir)
        assert ended.code == 0, ended
        for name, value in json.loads(ended.out).items():
            assert value == pytest.approx(tested[name], rel=1e-2 if options else 1e-3, abs=1e-3), name


def test_a_resumed_run_with_graphs_ends_where_the_whole_one_ends():
    def train(epochs, path=None):
        pl.seed_everything(7, verbose=False)
        model = Classifier(dropout=0.3)
        loader = TensorLoader(*(t.cuda() for t in points(120)), batch_size=25, shuffle=True)
        trainer = Trainer(gpus=1, max_epochs=epochs, figures=False, logger=False, compile=True)
        trainer.fit(model, loader, ckpt_path=path)
        return model, trainer.checkpoint_callback.last_model_path

    whole, _ = train(4)
    _, path = train(2)
    resumed, _ = train(4, path)
    for mine, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_tf32_is_what_products_are_made_in_while_it_trains():
    seen = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
            seen.append(torch.get_float32_matmul_precision())

    before = torch.get_float32_matmul_precision()
    fitted(1, epochs=1, tf32=True, callbacks=[Watch()])
    assert set(seen) == {"high"}
    assert torch.get_float32_matmul_precision() == before
