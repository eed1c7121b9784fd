"""Pictures: when a model's figures are drawn while it trains, and where they go."""

import importlib
import warnings
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
from pytorch_lightning.trainer.states import TrainerFn

from lightmodels import drawing, png, shown
from lightmodels.base import LightModel
from lightmodels.drawing import Drawn
from lightmodels.sample import Sample
from lightmodels.snapshot import Snapshot

SHARE = 0.05  # of the training time, that training may wait for pictures


class Pictures(pl.Callback):
    """Draws the ``figures`` of a LightModel after epochs 1, 2, 4, 8, …, and of its best weights at the end.

    They are made of the first rows of the validation data, kept from its first pass, and go to
    ``figures/<name>.png`` of the run directory and to TensorBoard, as the history's curves do at the end.
    The course of training is not touched by them, its seconds neither: a ``Snapshot`` draws them while
    the training goes on. After the first ones, those are left out that would make training wait for
    pictures for more than a twentieth of its time, or that are due while others are still being drawn;
    the last ones never are.

    Attributes:
        directory: where the files go; nothing is drawn without.
        waits: whether ``fit`` ends only when all are there; else ``finish`` is still to be called.
        seconds: what training has waited for pictures.
    """

    def __init__(self) -> None:
        self.directory: Path | None = None
        self.waits = True
        self.seconds = 0.0
        self._warned: set[str] = set()
        self._pending: list[tuple[int, Snapshot[Drawn]]] = []  # each with its optimizer step
        self._start(0.0)

    def _start(self, now: float) -> None:
        self._began, self._next_epoch = now, 1
        self._spent = self._latest = 0.0  # seconds for all pictures in training but the first; for the newest
        self._before, self._sample = self.seconds, Sample()
        self._draws = self._samples = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.finish(trainer)
        self._start(perf_counter())
        draws = trainer.is_global_zero and isinstance(pl_module, LightModel) and self.directory
        self._draws = bool(draws) and _has_matplotlib()
        self._samples = self._draws and _is_whole_here(trainer)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not self._samples or self._sample.complete:
            return
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._sample.add(batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._sample.batches and not trainer.sanity_checking:
            self._sample.complete = True  # of the first pass

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws what the epoch before has reached: here the clock of no epoch runs."""
        self._collect(trainer)
        epoch = trainer.current_epoch
        if self._sample.batches and epoch >= self._next_epoch and not self._pending:
            first, self._next_epoch = self._next_epoch == 1, 1 << epoch.bit_length()
            if first or self._affordable():
                self._draw(trainer, pl_module)
                self._spent += 0.0 if first else self._latest

    def _affordable(self) -> bool:
        trained = perf_counter() - self._began - (self.seconds - self._before)
        return self._spent + self._latest <= SHARE * trained

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._draws:
            self._draw(trainer, pl_module, final=True)
        self._sample = Sample()
        if self.waits:
            self.finish(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._sample = Sample()
        for _, snapshot in self._pending:
            snapshot.cancel()
        self._pending.clear()

    def finish(self, trainer: pl.Trainer) -> None:
        """Waits for the pictures that are still being drawn."""
        self._collect(trainer, wait=True)

    def _draw(self, trainer: pl.Trainer, model: Any, final: bool = False) -> None:
        """Starts to draw the model as it is now, or its best weights and the history."""
        start = perf_counter()
        best = final and bool(getattr(trainer.checkpoint_callback, "best_model_path", ""))
        work = partial(drawing.of, model, self._sample, trainer, final, best)
        self._pending.append((trainer.global_step, Snapshot(work)))
        self._latest = perf_counter() - start
        self.seconds += self._latest

    def _collect(self, trainer: pl.Trainer, wait: bool = False) -> None:
        """Writes what has been drawn; an error is a warning, the first of its kind only."""
        start = perf_counter()
        while self._pending and (wait or self._pending[0][1].ready()):
            step, snapshot = self._pending.pop(0)
            try:
                drawn = snapshot.result()
                self._write(drawn, trainer, step)
            except (RuntimeError, OSError) as error:
                drawn = Drawn(problems={"figures": str(error)})
            for what, reason in drawn.problems.items():
                self._warn(what, reason)
        self.seconds += perf_counter() - start

    def _write(self, drawn: Drawn, trainer: pl.Trainer, step: int) -> None:
        assert self.directory is not None
        for name, content in drawn.figures.items():
            png.write(content, self.directory / f"{name}.png")
            png.log(content, f"figures/{name}", trainer.loggers, step)
        shown.log_texts(drawn.texts, trainer, step)
        shown.write_embeddings(drawn.files, trainer)

    def _warn(self, what: str, reason: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            warnings.warn(f"{what} could not be drawn: {reason}", RuntimeWarning, stacklevel=2)


def _is_whole_here(trainer: pl.Trainer) -> bool:
    """Whether one process alone can ask the model: strategies that share out weights need all of them."""
    strategy = trainer.strategy
    alone = isinstance(strategy, (SingleDeviceStrategy, DDPStrategy))
    return alone and not isinstance(strategy, DeepSpeedStrategy)


def _has_matplotlib() -> bool:
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        print("no pictures: matplotlib is not installed", flush=True)
        return False
    return True
