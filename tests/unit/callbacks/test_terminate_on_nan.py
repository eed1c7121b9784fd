"""TerminateOnNaN on an accelerator, where losses are checked before validation and at the end of the epoch."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn

from lightmodels import History
from lightmodels.callbacks.terminate_on_nan import TerminateOnNaN
from lightmodels.data.tensor_loader import TensorLoader


class OnGPU(torch.Tensor):
    """A tensor in memory that says it is on a GPU."""

    @property
    def device(self):
        return torch.device("cuda")


def trainer_in(function, loader=None, sanity_checking=False):
    state = SimpleNamespace(fn=function)
    return SimpleNamespace(train_dataloader=loader, current_epoch=0, state=state, sanity_checking=sanity_checking)


def run_epoch(callback, losses, loader=None, last_hook="on_train_epoch_end"):
    trainer, model = trainer_in(TrainerFn.FITTING, loader), pl.LightningModule()
    callback.on_train_epoch_start(trainer, model)
    for index, loss in enumerate(losses):
        outputs = {"loss": torch.tensor(loss).as_subclass(OnGPU)}
        callback.on_train_batch_end(trainer, None, outputs, None, index)
    getattr(callback, last_hook)(trainer, model)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_first_step_of_an_epoch_with_a_bad_loss_is_named(bad):
    callback = TerminateOnNaN(History([{"epoch": 1, "train_loss": 0.5}]))
    run_epoch(callback, [0.5, 0.25])
    with pytest.raises(FloatingPointError, match=r"^loss is not finite in epoch 2, step 3$"):
        run_epoch(callback, [0.5, 0.25, bad, 0.1, bad])
    run_epoch(callback, [0.5])


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_bad_row_of_that_step_is_named_before_the_validation_loss(shuffle):
    x, nan = torch.arange(12.0).reshape(6, 2), float("nan")
    loader = TensorLoader(x, batch_size=2, shuffle=shuffle)
    row = int(list(loader)[1][0][1, 0]) // 2  # the last one of the second batch
    x[row] = nan
    loader = TensorLoader(x, batch_size=2, shuffle=shuffle)
    named = rf"^loss is not finite in epoch 1, step 2: the features of row {row} of the data are not finite$"
    with pytest.raises(FloatingPointError, match=named):
        run_epoch(TerminateOnNaN(History()), [0.5, nan, nan], loader, "on_validation_start")


def test_a_training_that_failed_does_not_fail_later_validations():
    callback, model = TerminateOnNaN(History()), pl.LightningModule()
    with pytest.raises(FloatingPointError):
        run_epoch(callback, [float("nan")])
    callback.on_validation_start(trainer_in(TrainerFn.VALIDATING), model)
    callback.on_validation_start(trainer_in(TrainerFn.FITTING, sanity_checking=True), model)  # of the next training
