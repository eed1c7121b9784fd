"""EpochTable: one aligned row an epoch, the best ones marked, and why training stopped early."""

from collections.abc import Callable

import pytorch_lightning as pl
from pytorch_lightning.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
from pytorch_lightning.trainer.states import TrainerFn

from lightmodels import messages
from lightmodels.history import History, Row, best_epoch
from lightmodels.terminal import ProgressLine, styled

HIDDEN = ("samples_per_second",)
BEST = " *"
WIDTH = 9  # of a number: a sign and eight characters


class EpochTable(pl.Callback):
    """Prints one aligned row an epoch, the same in a terminal and in a log file.

    A row that was the best so far ends with ``*``. In a terminal a line below the table says how far an
    epoch of more than two seconds is.

    Args:
        history: where the rows come from; rows that are there before training are not shown.
        running_loss: gives the mean loss of the epoch so far, which may wait for the device.
    """

    def __init__(self, history: History, running_loss: Callable[[], float | None] | None = None) -> None:
        self.history = history
        self._running_loss = running_loss
        self._shown = len(history)
        self._columns: list[str] = []
        self._stops: list[tuple[int, int]] = []
        self._progress = ProgressLine()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._shown, self._stops = len(self.history), [_state(stop) for stop in early_stops(trainer)]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._show_rows(trainer)
        self._progress.start()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        self._progress.counts(batch_idx)
        if self._progress.due() and self._may_print(trainer):
            loss = self._running_loss() if self._running_loss else None
            self._progress.show(self.history.next_epoch, batch_idx + 1, trainer.num_training_batches, loss)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self._progress.due():
            return
        training = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if training and self._may_print(trainer):
            self._progress.write(f"epoch {self.history.next_epoch}  validation step {batch_idx + 1}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._show_rows(trainer)
        for stop, before in zip(early_stops(trainer), self._stops, strict=True):
            if _state(stop) != before and self._may_print(trainer):  # not one of an earlier fit
                print(reason_of(stop, trainer, self.history), flush=True)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._show_rows(trainer)

    def _may_print(self, trainer: pl.Trainer) -> bool:
        return trainer.is_global_zero and messages.level() != "quiet"

    def _show_rows(self, trainer: pl.Trainer) -> None:
        """Prints what has been added since; a row is complete only when the next epoch starts."""
        rows, self._shown = self.history[self._shown :], len(self.history)
        if not self._may_print(trainer):
            return
        self._progress.clear()
        best = best_epoch(trainer, self.history)
        for row in rows:
            if not set(row) <= {*self._columns, *HIDDEN}:
                self._columns = columns_of(row, trainer.enable_validation)
                print(styled(heading(self._columns), "bold"))
            mark = styled(BEST, "green") if row["epoch"] == best else ""
            print(line(row, self._columns) + mark, flush=True)


def columns_of(row: Row, validates: bool) -> list[str]:
    """The columns for rows like this one; with places for validation values that only later epochs have."""
    names = [name for name in row if name not in HIDDEN]
    if not validates or any(name.startswith("val_") for name in names):
        return names
    trained = [name for name in names if name.startswith("train_")]
    position = 1 + max((names.index(name) for name in trained), default=0)
    return [*names[:position], *(f"val_{name[6:]}" for name in trained), *names[position:]]


def heading(columns: list[str]) -> str:
    """The line of column names."""
    return "  ".join(name.rjust(_width(name)) for name in columns)


def line(row: Row, columns: list[str]) -> str:
    """A row of the table; ``-`` stands for a value that the epoch does not have."""
    return "  ".join((cell(name, row[name]) if name in row else "-").rjust(_width(name)) for name in columns)


def cell(name: str, value: float) -> str:
    """A value in at most nine characters, so that columns stay aligned.

    Example:
        >>> cell("train_loss", 0.123456), cell("train_loss", -123456.0), cell("lr", 1.25e-05)
        ('0.1235', '-1.23e+05', '1.25e-05')
    """
    if name == "epoch":
        return f"{value:.0f}"
    if name == "seconds":
        return f"{value:.2f}"
    if name == "lr":
        return f"{value:.4g}"
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e3 else f"{value:.2e}"


def _width(name: str) -> int:
    return max(len(name), 5 if name == "epoch" else WIDTH)


def early_stops(trainer: pl.Trainer) -> list[EarlyStopping]:
    """The early stoppings among a trainer's callbacks."""
    return [callback for callback in trainer.callbacks if isinstance(callback, EarlyStopping)]  # type: ignore[attr-defined]


def _state(stop: EarlyStopping) -> tuple[int, int]:
    return stop.stopped_epoch, stop.stopping_reason.value


def reason_of(stop: EarlyStopping, trainer: pl.Trainer, history: History) -> str:
    """One line that says where and why an early stopping has ended training, and which epoch is the best."""
    epoch, best = history[-1]["epoch"], best_epoch(trainer, history)
    reason = str(stop.stopping_reason_message).removesuffix(" Signaling Trainer to stop.").rstrip(".")
    if stop.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
        reason = f"no better {stop.monitor} for {_times(stop.wait_count, trainer)}"
    values = {row["epoch"]: row for row in history}.get(best, {})
    value = f": {stop.monitor} {cell(stop.monitor, values[stop.monitor])}" if stop.monitor in values else ""
    return f"stopped at epoch {epoch:.0f}: {reason}" + (f"; best epoch {best}{value}" if best else "")


def _times(count: int, trainer: pl.Trainer) -> str:
    each_epoch = trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1.0
    unit = "epoch" if each_epoch or not trainer.enable_validation else "validation"
    return f"{count} {unit}{'' if count == 1 else 's'}"
