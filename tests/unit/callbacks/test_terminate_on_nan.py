"""TerminateOnNaN on an accelerator, where losses are checked at the end of the epoch."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from lightmodels import History
from lightmodels.callbacks.terminate_on_nan import TerminateOnNaN


class OnGPU(torch.Tensor):
    """A tensor in memory that says it is on a GPU."""

    @property
    def device(self):
        return torch.device("cuda")


def run_epoch(callback, losses):
    trainer = SimpleNamespace(train_dataloader=None, current_epoch=0)
    model = pl.LightningModule()
    callback.on_train_epoch_start(trainer, model)
    for index, loss in enumerate(losses):
        outputs = {"loss": torch.tensor(loss).as_subclass(OnGPU)}
        callback.on_train_batch_end(trainer, None, outputs, None, index)
    callback.on_train_epoch_end(trainer, model)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_step_of_an_epoch_with_a_bad_loss_is_named(bad):
    callback = TerminateOnNaN(History([{"epoch": 1, "train_loss": 0.5}]))
    run_epoch(callback, [0.5, 0.25])
    with pytest.raises(FloatingPointError, match=r"^loss is not finite in epoch 2, step 3$"):
        run_epoch(callback, [0.5, 0.25, bad, 0.1, bad])
    run_epoch(callback, [0.5])
