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

    A row that was the best so far ends with ``*``. Below the table, an epoch of more than two seconds shows its
    progress, unless the trainer has a progress bar of its own.

    Args:
        history: holds the rows; rows that are there before training are not printed.
        running_loss: returns the mean training loss so far, if known, without waiting for the device.
    """

    def __init__(self, history: History, running_loss: Callable[[], float | None]) -> None:
        self.history, self._running_loss = history, running_loss
        self._shown = len(history)
        self._columns: list[str] = []
        self._early_stops: list[tuple[EarlyStopping, tuple[int, int]]] = []  # with their states before training
        self._progress: ProgressLine | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._shown = len(self.history)
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        self._early_stops = [(stop, _state(stop)) for stop in callbacks if isinstance(stop, EarlyStopping)]
        if self._may_print(trainer) and trainer.progress_bar_callback is None:
            self._progress = ProgressLine(trainer, self._running_loss)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._show_rows(trainer)
        if self._progress:
            self._progress.start_epoch(self.history.next_epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop_progress()
        self._show_rows(trainer)
        for stop, before in self._early_stops:
            if _state(stop) != before and self._may_print(trainer):  # not one of an earlier fit
                _print(_reason(stop, trainer, self.history), trainer)

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
                self._columns = _columns(row, trainer.enable_validation)
                _print(styled(_line({name: name for name in self._columns}), "bold"), trainer)
            mark = styled(BEST, "green") if row["epoch"] == best else ""
            cells = {name: cell(name, row[name]) if name in row else "-" for name in self._columns}
            _print(_line(cells) + mark, trainer)


def _print(text: str, trainer: pl.Trainer) -> None:
    """Prints a line, above the bars of tqdm if there are any."""
    if isinstance(trainer.progress_bar_callback, TQDMProgressBar):
        Tqdm.write(text)
    else:
        print(text, flush=True)


def _columns(row: Row, validates: bool) -> list[str]:
    """The columns for rows like this one; with places for validation values that only later epochs have."""
    names = [name for name in row if name not in HIDDEN]
    if not validates or any(name.startswith("val_") for name in names):
        return names
    trained = [name for name in names if name.startswith("train_")]
    position = 1 + max((names.index(name) for name in trained), default=0)
    return [*names[:position], *(f"val_{name[6:]}" for name in trained), *names[position:]]


def _line(cells: dict[str, str]) -> str:
    """One line of the table, from the text in each column."""
    return "  ".join(text.rjust(max(len(name), 5 if name == "epoch" else WIDTH)) for name, text in cells.items())


def cell(name: str, value: float) -> str:
    """A value in at most nine characters, so that columns stay aligned.

    Examples:
        >>> cell("train_loss", 0.123456), cell("train_loss", -123456.0), cell("lr", 1.25e-05)
        ('0.1235', '-1.23e+05', '1.25e-05')
    """
    metric = ".4f" if value == 0 or 1e-3 <= abs(value) < 1e3 else ".2e"
    return format(value, {"epoch": ".0f", "seconds": ".2f", "lr": ".4g"}.get(name, metric))


def _state(stop: EarlyStopping) -> tuple[int, int]:
    return stop.stopped_epoch, stop.stopping_reason.value


def _reason(stop: EarlyStopping, trainer: pl.Trainer, history: History) -> str:
    """One line that says where and why an early stopping has ended training, and which epoch is the best."""
    epoch, best = history[-1]["epoch"], best_epoch(trainer, history)
    reason = str(stop.stopping_reason_message).removesuffix(" Signaling Trainer to stop.").rstrip(".")
    if stop.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED:
        each_epoch = trainer.check_val_every_n_epoch == 1 and trainer.val_check_interval == 1.0
        unit = "epoch" if each_epoch or not trainer.enable_validation else "validation"
        reason = f"no better {stop.monitor} for {stop.wait_count} {unit}{'' if stop.wait_count == 1 else 's'}"
    values = {row["epoch"]: row for row in history}.get(best, {})
    value = f": {stop.monitor} {cell(stop.monitor, values[stop.monitor])}" if stop.monitor in values else ""
    return f"stopped at epoch {epoch:.0f}: {reason}" + (f"; best epoch {best}{value}" if best else "")
