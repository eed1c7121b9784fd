"""TerminateOnNaN: a run whose loss or weights are no numbers any more ends at once, as a failure."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightmodels.metrics.history import History


class TerminateOnNaN(pl.Callback):
    """Raises FloatingPointError, with epoch and step, when the loss is not finite.

    In training, on a CPU at the step itself; elsewhere at the end of the epoch, so that no step waits for the
    device. If the batch has features or labels that are not finite, the first such row is named.

    Args:
        history: says which epoch is under way.
    """

    runs_every_step = True  # also inside an execution of several steps, to name the step
    runs_between_compiled_steps = True  # it needs no more than a step's loss

    def __init__(self, history: History) -> None:
        self._history = history
        self._good_steps: Tensor | None = None  # of this epoch, before the first bad one
        self._all_good: Tensor | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._good_steps = self._all_good = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):
            return
        finite = loss.isfinite()
        if loss.device.type == "cpu":
            if not finite:
                where = describe_bad_row(batch, trainer.train_dataloader, trainer.current_epoch, batch_idx)
                self._fail(f"loss is {loss.item()}", batch_idx + 1, where)
            return
        self._all_good = finite if self._all_good is None else self._all_good & finite
        self._good_steps = self._all_good + (0 if self._good_steps is None else self._good_steps)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics.get("val_loss", 0.0))
        if not math.isfinite(loss) and not trainer.sanity_checking:
            raise FloatingPointError(f"val_loss is {loss} in epoch {self._history.next_epoch}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._all_good is not None and self._good_steps is not None and not self._all_good:
            self._fail("loss is not finite", int(self._good_steps) + 1, "")

    def _fail(self, what: str, step: int, where: str) -> None:
        raise FloatingPointError(f"{what} in epoch {self._history.next_epoch}, step {step}{where}")


def require_finite_weights(model: nn.Module) -> None:
    """Raises FloatingPointError that names the first parameter with a value that is not finite."""
    parameters = dict(model.named_parameters())
    if not parameters:
        return
    finite = torch.stack([value.detach().isfinite().all() for value in parameters.values()]).tolist()
    for name, is_finite in zip(parameters, finite, strict=True):
        if not is_finite:
            raise FloatingPointError(
                f"weight {name} is not finite: nothing was saved, the last checkpoint stays"
            )


def describe_bad_row(batch: Any, loader: Any, epoch: int, batch_idx: int) -> str:
    """Says which row of the features or labels is not finite; nothing if all are.

    The row is that of the data set if the loader knows its order, else that of the batch.
    """
    values = batch.values() if isinstance(batch, Mapping) else batch
    parts = list(values) if isinstance(values, Iterable) and not isinstance(values, Tensor) else [values]
    for index, part in enumerate(parts):
        row = _first_bad(part)
        if row is not None:
            what = "labels" if index and index == len(parts) - 1 else "features"
            return f": the {what} of {_place(row, loader, epoch, batch_idx)} are not finite"
    return ""


def _first_bad(part: Any) -> int | None:
    if not isinstance(part, Tensor) or not part.is_floating_point() or not part.dim():
        return None
    bad = (~part.isfinite()).reshape(len(part), -1).any(dim=1)
    return int(bad.nonzero()[0]) if bad.any() else None


def _place(row: int, loader: Any, epoch: int, batch_idx: int) -> str:
    if hasattr(loader, "row_numbers"):
        return f"row {int(loader.row_numbers(epoch, batch_idx)[row])} of the training set"
    return f"row {row} of the batch"
