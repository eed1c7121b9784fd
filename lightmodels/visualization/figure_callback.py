"""FigureLogger: when a model's figures are drawn during training."""

from pathlib import Path
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy

from lightmodels.core.light_model import LightModel
from lightmodels.visualization.render import Renderer

MAX_SHARE = 0.05  # of the training time


class FigureLogger(pl.Callback):
    """Draws a LightModel's ``figures`` after epochs 1, 2, 4, 8, … and, with the best weights, after training.

    The first process draws them, from the first rows of the validation data, and writes them to
    ``directory``, without which nothing is drawn, and TensorBoard. The training is not affected, and the history's
    ``seconds`` do not include it. While drawing has taken more than 5 % of the training time, epochs are skipped;
    the figures of the best weights and of the history are always drawn.
    """

    def __init__(self) -> None:
        self.directory: Path | None = None
        self._renderer: Renderer | None = None
        self._started = self._spent = 0.0  # seconds

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._renderer = None
        self._started, self._spent = perf_counter(), 0.0
        if trainer.is_global_zero and isinstance(pl_module, LightModel) and self.directory:
            self._renderer = Renderer(pl_module, trainer, self.directory)
            self._renderer.sample.complete = not _has_all_weights(trainer)

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        if self._renderer:
            self._renderer.sample.add(batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._renderer and self._renderer.sample.batches:
            self._renderer.sample.complete = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws the epoch that has ended; its row in the history is complete only now."""
        if self._renderer and self._renderer.sample.batches:
            start, epoch = perf_counter(), self._renderer.epoch
            in_budget = self._spent <= MAX_SHARE * (start - self._started - self._spent)
            if in_budget and epoch.bit_count() == 1:  # a power of two
                self._renderer.render(epoch, "current")
                self._spent += perf_counter() - start

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._renderer:
            if self._renderer.sample.batches:
                self._renderer.render_best()
            self._renderer.render_history()
        self._renderer = None


def _has_all_weights(trainer: pl.Trainer) -> bool:
    """Whether one process can run the model alone, which it cannot if the weights are sharded."""
    replicated = isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy))
    return replicated and not isinstance(trainer.strategy, DeepSpeedStrategy)
