"""TerminateOnNaN: ends training with an error as soon as the loss or the weights are not finite."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor, nn

from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.metrics.history import History


class TerminateOnNaN(pl.Callback):
    """Raises FloatingPointError, with epoch and step, when the loss, a monitored metric or a weight is not finite.

    The training loss is checked after every step on the CPU, and before validation and at the end of the epoch on
    other devices, so that no step waits for the device. The first row of the batch that is not finite, if any, is
    named (on other devices, if the batch came from a ``TensorLoader``). Weights and buffers are checked at the end of
    each epoch.

    Raises:
        ValueError: no step of an epoch has returned a loss, or there is no validation batch.
    """

    runs_every_step = True  # also inside an execution of several steps, to name the step
    runs_between_compiled_steps = True  # it needs no more than a step's loss

    def __init__(self, history: History) -> None:
        self._history = history
        self._first_bad_batch = torch.tensor(math.inf)  # its index in this epoch
        self._has_loss = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.enable_validation and trainer.val_dataloaders is not None and not sum(trainer.num_val_batches):
            raise ValueError("the validation dataloader is empty; leave it out to train without validation")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._first_bad_batch = torch.tensor(math.inf)
        self._has_loss = not pl_module.automatic_optimization  # where steps need not return it

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):
            return
        self._has_loss = True
        if loss.device.type != "cpu":
            bad_batch = torch.where(loss.isfinite(), math.inf, batch_idx)
            self._first_bad_batch = torch.minimum(self._first_bad_batch, bad_batch)
        elif not math.isfinite(loss.item()):
            self._fail_at_step(trainer, f"loss is {loss.item()}", batch_idx, batch)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._check_losses(trainer)  # before the validation loss, which is that of later weights

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        monitored = {getattr(callback, "monitor", None) for callback in trainer.callbacks}  # type: ignore[attr-defined]
        for name, value in trainer.callback_metrics.items():
            is_loss = name.partition("/")[0] == "val_loss"  # each of several loaders has one
            if (is_loss or name in monitored) and not math.isfinite(value):
                loader = CombinedLoader(trainer.val_dataloaders).flattened[int(name.partition("_idx_")[2] or 0)]
                where = ""
                if isinstance(loader, TensorLoader):
                    rows = range(loader.num_rows) if loader.source_rows is None else loader.source_rows
                    where = _describe_bad_row(loader.tensors, rows)
                self._fail(f"{name} is {float(value)}", where)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._check_losses(trainer)
        if not self._has_loss:
            name = type(pl_module).__name__
            raise ValueError(f"no training_step of {name} has returned a loss in epoch {self._history.next_epoch}")
        require_finite_weights(pl_module)

    def _check_losses(self, trainer: pl.Trainer) -> None:
        """Checks the training losses of an epoch on a device that steps do not wait for."""
        if self._first_bad_batch.isfinite():
            self._fail_at_step(trainer, "loss is not finite", int(self._first_bad_batch))

    def _fail_at_step(self, trainer: pl.Trainer, what: str, batch_idx: int, batch: Any = None) -> None:
        loader, numbers = trainer.train_dataloader, None
        if isinstance(loader, TensorLoader):
            numbers = loader.row_numbers(trainer.current_epoch, batch_idx)
            batch = loader.batch_at(trainer.current_epoch, batch_idx) if batch is None else batch
        self._fail(what, f", step {batch_idx + 1}{_describe_bad_row(batch, numbers)}")

    def _fail(self, what: str, where: str = "") -> None:
        raise FloatingPointError(f"{what} in epoch {self._history.next_epoch}{where}")


def require_finite_weights(model: nn.Module) -> None:
    """Raises FloatingPointError, with the first parameter or buffer that is not finite, if there is one.

    Of buffers other than batch normalization's, infinity is accepted, as in masks.
    """
    tensors = [each.detach() for each in (*model.parameters(), *model.buffers())]
    if not tensors or torch.stack([tensor.sum() for tensor in tensors]).isfinite().all():  # the usual case, sooner
        return
    finite = {name: parameter.detach().isfinite().all() for name, parameter in model.named_parameters()}
    for name, buffer in model.named_buffers():
        is_running = name.endswith(("running_mean", "running_var"))
        finite[name] = buffer.isfinite().all() if is_running else ~buffer.isnan().any()
    if bad := [name for name, is_finite in finite.items() if not is_finite]:
        raise FloatingPointError(f"weight {bad[0]} is not finite; the last checkpoint was kept")


def _describe_bad_row(batch: Any, numbers: Tensor | Sequence[int] | None) -> str:
    """The first row of features or labels that is not finite, by the rows' numbers in the data, if they are known."""
    parts = batch.values() if isinstance(batch, Mapping) else batch
    parts = list(parts) if isinstance(parts, Iterable) and not isinstance(parts, Tensor) else [parts]
    for index, part in enumerate(parts):
        if not isinstance(part, Tensor) or not part.dim() or part.isfinite().all():
            continue
        row, place = int((~part.isfinite()).nonzero()[0, 0]), "batch"
        if numbers is not None:
            row, place = int(numbers[row]), "data"
        what = "labels" if index and index == len(parts) - 1 else "features"
        return f": the {what} of row {row} of the {place} are not finite"
    return ""
