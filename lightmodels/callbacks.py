"""EpochTable shows a run; CarryOn lets a second fit train on; ConfiguredOptimizer changes a resumed one."""

import sys
import time
from typing import Any

import pytorch_lightning as pl

from lightmodels.history import History, Row

HIDDEN = ("samples_per_second",)
LONG_EPOCH = 2.0  # seconds after which an epoch shows how far it is


class EpochTable(pl.Callback):
    """Prints one aligned row an epoch, the same in a terminal and in a log file.

    In a terminal a line below the table says how far an epoch of more than two seconds is.

    Args:
        history: where the rows come from; rows that are there before training are not shown.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._shown = len(history)
        self._columns: list[str] = []
        self._epoch_started = self._refreshed = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._shown = len(self.history)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._show_rows(trainer)
        self._epoch_started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        if now - self._epoch_started > LONG_EPOCH and now - self._refreshed > 0.2:
            self._refreshed = now
            self._show_progress(trainer, batch_idx + 1, now - self._epoch_started)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._show_rows(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._show_rows(trainer)

    def _show_rows(self, trainer: pl.Trainer) -> None:
        """Prints what has been added since; a row is complete only when the next epoch starts."""
        rows, self._shown = self.history[self._shown :], len(self.history)
        if not trainer.is_global_zero:
            return
        if sys.stdout.isatty():
            print("\r\033[K", end="")
        for row in rows:
            columns = [name for name in row if name not in HIDDEN]
            if not set(columns) <= set(self._columns):
                self._columns = columns
                print("  ".join(name.rjust(_width(name)) for name in columns))
            print("  ".join(_cell(name, row).rjust(_width(name)) for name in self._columns), flush=True)

    def _show_progress(self, trainer: pl.Trainer, done: int, seconds: float) -> None:
        if trainer.is_global_zero and sys.stdout.isatty():
            total = trainer.num_training_batches
            left = f", {seconds / done * (total - done):.0f} s left" if total != float("inf") else ""
            print(f"\r\033[Kepoch {len(self.history) + 1}: step {done}/{total}{left}", end="", flush=True)


def _width(name: str) -> int:
    return max(len(name), 5 if name == "epoch" else 8)


def _cell(name: str, row: Row) -> str:
    if name not in row:
        return "-"
    if name == "epoch":
        return f"{row[name]:.0f}"
    return (
        f"{row[name]:.2f}"
        if name == "seconds"
        else f"{row[name]:.4g}"
        if name == "lr"
        else f"{row[name]:.4f}"
    )


class CarryOn(pl.Callback):
    """Hands optimizers and schedulers from one ``fit`` of a model to the next, so that it trains on."""

    def __init__(self) -> None:
        self._model: pl.LightningModule | None = None
        self._states: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if pl_module is self._model:
            for part, state in zip(_optimization(trainer), self._states, strict=True):
                part.load_state_dict(state)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._model = pl_module
        self._states = [part.state_dict() for part in _optimization(trainer)]


class ConfiguredOptimizer(pl.Callback):
    """Keeps the options that ``configure_optimizers`` gave, where a resumed checkpoint has others.

    A schedule goes on where it was, with its rates in proportion to the new one. Add it to the
    callbacks to resume with another rate, weight decay and so on: without it the checkpoint's win.
    """

    def __init__(self) -> None:
        self._configured: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._configured = [
            {name: value for name, value in group.items() if name != "params"} for group in _groups(trainer)
        ]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for group, configured in zip(_groups(trainer), self._configured, strict=True):
            new = configured.get("initial_lr", configured["lr"])
            scheduled = group["lr"] / group["initial_lr"] if group.get("initial_lr") else 1.0
            group.update(configured | {"lr": new * scheduled})
        for config in trainer.lr_scheduler_configs:
            scheduler = config.scheduler
            if hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]


def _groups(trainer: pl.Trainer) -> list[dict[str, Any]]:
    return [group for optimizer in trainer.optimizers for group in optimizer.param_groups]


def _optimization(trainer: pl.Trainer) -> list[Any]:
    return [*trainer.optimizers, *(config.scheduler for config in trainer.lr_scheduler_configs)]
