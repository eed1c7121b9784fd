"""EpochTable: prints one aligned row per epoch, marks the best ones, and tells why training stopped early."""

from collections.abc import Callable

import pytorch_lightning as pl
from pytorch_lightning.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm, TQDMProgressBar

from lightmodels.callbacks.progress import ProgressLine
from lightmodels.metrics.history import History, Row, best_epoch
from lightmodels.utils.console import current_verbosity, styled

HIDDEN = ("samples_per_second",)
BEST = " *"
WIDTH = 9  # of a number: a sign and eight characters


class EpochTable(pl.Callback):
    """Prints one aligned row per epoch, the same in a terminal and in a log file.

    A row that was the best so far ends with ``*``. Below the table, an epoch of more than two seconds shows
    its progress, unless the trainer has a progress bar of its own.

    Args:
        history: holds the rows; rows that are there before training are not printed.
        running_loss: returns the mean training loss so far, if known, without waiting for the device.
    """

    def __init__(self, history: History, running_loss: Callable[[], float | None]) -> None:
        self.history = history
        self._running_loss = running_loss
        self._shown = len(history)
        self._columns: list[str] = []
        self._stops: list[tuple[int, int]] = []
        self._progress: ProgressLine | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._shown, self._stops = len(self.history), [_state(stop) for stop in early_stops(trainer)]
        if self._may_print(trainer) and trainer.progress_bar_callback is None:
            self._progress = ProgressLine(trainer, self._running_loss)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._show_rows(trainer)
        if self._progress:
            self._progress.start_epoch(self.history.next_epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_progress()
        self._show_rows(trainer)
        for stop, before in zip(early_stops(trainer), self._stops, strict=True):
            if _state(stop) != before and self._may_print(trainer):  # not one of an earlier fit
                _print(reason_of(stop, trainer, self.history), trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop_progress()
        self._show_rows(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._stop_progress()  # a Tuner ends its search with this hook alone

    def _stop_progress(self) -> None:
        if self._progress:
            self._progress.stop()
        self._progress = None

    def _may_print(self, trainer: pl.Trainer) -> bool:
        return trainer.is_global_zero and current_verbosity() != "quiet"

    def _show_rows(self, trainer: pl.Trainer) -> None:
        """Prints what has been added since; a row is complete only when the next epoch starts."""
        rows, self._shown = self.history[self._shown :], len(self.history)
        if not self._may_print(trainer):
            return
        if self._progress:
            self._progress.clear()
        best = best_epoch(trainer, self.history)
        for row in rows:
            if not set(row) <= {*self._columns, *HIDDEN}:
                self._columns = columns_of(row, trainer.enable_validation)
                _print(styled(heading(self._columns), "bold"), trainer)
            mark = styled(BEST, "green") if row["epoch"] == best else ""
            _print(line(row, self._columns) + mark, trainer)


def _print(text: str, trainer: pl.Trainer) -> None:
    """Prints a line, above the bars of tqdm if there are any."""
    if isinstance(trainer.progress_bar_callback, TQDMProgressBar):
        Tqdm.write(text)
    else:
        print(text, flush=True)


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

    Examples:
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
