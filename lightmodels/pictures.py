"""Pictures: when a model's figures are drawn while it trains, and where they go."""

import importlib
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
from pytorch_lightning.trainer.states import TrainerFn

from lightmodels import kept_weights, png, shown
from lightmodels.budget import Budget
from lightmodels.core.light_model import LightModel
from lightmodels.drawing import Drawing, Drawn, asks_for
from lightmodels.kept_weights import Kept
from lightmodels.sample import Sample
from lightmodels.snapshot import Snapshot

SHARE = 0.02  # of the training time, that pictures may cost


class Pictures(pl.Callback):
    """Draws the ``figures`` of a LightModel after epochs 1, 2, 4, 8, …, and of its best weights at the end.

    They are made of the first rows of the validation data, kept from its first pass, and go to
    ``figures/<name>.png`` of the run directory and to TensorBoard, as the history's curves do at the end.
    The course of training is not touched by them, its seconds neither: a ``Snapshot`` draws them while
    the training goes on. All of them together may cost a fiftieth of the training's time. What is due
    before there is time for it is drawn later, in its turn: a copy of the weights is kept, if they are
    small, and what is still left after training is drawn then, each at the optimizer step of its weights.
    So ``figures`` finds the weights that were due, but the epoch number, the history and so on of the
    moment when it is called. Of large weights, the picture waits for the time.

    Attributes:
        directory: where the files go; nothing is drawn without.
        waits: whether ``fit`` ends only when all are there; else ``finish`` is still to be called.
    """

    def __init__(self) -> None:
        self.directory: Path | None = None
        self.waits = True
        self._warned: set[str] = set()
        self._pending: list[Snapshot[Drawn]] = []
        self._start()

    def _start(self) -> None:
        self._budget, self._next_epoch, self._sample = Budget(), 1, Sample()
        self._kept: list[Kept] = []  # what was due and is not drawn yet
        self._draws = self._figures = self._samples = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.finish(trainer)
        self._start()
        if trainer.is_global_zero and isinstance(pl_module, LightModel) and self.directory:
            self._figures = _has_matplotlib()
            self._draws = self._figures or asks_for(pl_module, "texts", "embeddings")
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
        """Draws what the epoch before has reached, or what is left from earlier ones."""
        if self._sample.batches:
            with self._budget.waiting():
                self._collect(trainer)
                self._draw_or_keep(trainer, pl_module)

    def _draw_or_keep(self, trainer: pl.Trainer, model: Any) -> None:
        """In the order of their steps, as TensorBoard drops what comes before an earlier step."""
        free = not self._pending and self._budget.affords(SHARE)
        if trainer.current_epoch >= self._next_epoch:
            at_once = free and not self._kept
            if at_once:
                self._begin(self._drawing(trainer, model).now)
            if at_once or kept_weights.keep(self._kept, model, trainer.global_step):
                self._next_epoch = 1 << trainer.current_epoch.bit_length()
        if free and self._kept:
            self._begin(partial(self._drawing(trainer, model).of_kept, self._kept.pop(0)))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._draws:
            best = bool(getattr(trainer.checkpoint_callback, "best_model_path", ""))
            drawing = self._drawing(trainer, pl_module)
            for kept in self._kept:
                self._begin(partial(drawing.of_kept, kept))
            self._begin(partial(drawing.at_the_end, best))
        self._sample, self._kept = Sample(), []
        if self.waits:
            self.finish(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._sample, self._kept = Sample(), []
        for snapshot in self._pending:
            snapshot.cancel()
        self._pending.clear()

    def finish(self, trainer: pl.Trainer) -> None:
        """Waits for the pictures that are still being drawn."""
        self._collect(trainer, wait=True)

    def _drawing(self, trainer: pl.Trainer, model: Any) -> Drawing:
        return Drawing(model, self._sample, trainer, self._figures)

    def _begin(self, work: Callable[[], Drawn]) -> None:
        try:
            self._pending.append(Snapshot(work))
            self._budget.drawn += 1
        except OSError as error:  # no more processes, or memory, may be had
            self._warn("figures", str(error))

    def _collect(self, trainer: pl.Trainer, wait: bool = False) -> None:
        """Writes what has been drawn; an error is a warning, the first of its kind only."""
        while self._pending and (wait or self._pending[0].ready()):
            snapshot = self._pending.pop(0)
            try:
                drawn = snapshot.result()
                self._budget.beside += snapshot.seconds
                self._write(drawn, trainer)
            except (RuntimeError, OSError) as error:
                self._warn("figures", str(error))

    def _write(self, drawn: Drawn, trainer: pl.Trainer) -> None:
        assert self.directory is not None
        for what, reason in drawn.problems.items():
            self._warn(what, reason)
        for name, content in drawn.figures.items():
            png.write(content, self.directory / f"{name}.png")
            png.log(content, f"figures/{name}", trainer.loggers, drawn.step)
        shown.log_texts(drawn.texts, trainer, drawn.step)
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
