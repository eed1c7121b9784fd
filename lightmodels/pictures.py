"""Pictures: when a model's figures are drawn while it trains, and where they go."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, SingleDeviceStrategy
from pytorch_lightning.trainer.states import TrainerFn

from lightmodels import png, shown
from lightmodels.base import LightModel
from lightmodels.default_figures import Figures
from lightmodels.sample import Sample
from lightmodels.shown import Files, Texts
from lightmodels.step_model import StepModel
from lightmodels.untouched import untouched
from lightmodels.weights import weights_of

HOOKS = ("figures", "texts", "embeddings")  # of the model
SHARE = 0.05  # of the training time, that pictures may take


class Pictures(pl.Callback):
    """Draws the ``figures`` of a LightModel after epochs 1, 2, 4, 8, …, and of its best weights at the end.

    They are made of the first rows of the validation data, kept from its first pass, and go to
    ``figures/<name>.png`` of the run directory and to TensorBoard. The model's ``texts`` go to TensorBoard
    at the same times, its ``embeddings`` at the end, as files for the projector. The course of training is
    not touched by them, its seconds neither. After the first ones, those that would make pictures take more
    than a twentieth of the training's time are left out, but for the last.

    Attributes:
        directory: where the files go; nothing is drawn without.
        seconds: what all pictures have taken.
    """

    def __init__(self) -> None:
        self.directory: Path | None = None
        self.seconds = 0.0
        self._warned: set[str] = set()
        self._start(0.0)

    def _start(self, now: float) -> None:
        self._began, self._next_epoch = now, 1
        self._spent = self._latest = 0.0  # seconds of all pictures in training but the first; of the newest
        self._before, self._sample, self._draws = self.seconds, Sample(), False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start(perf_counter())
        draws = trainer.is_global_zero and isinstance(pl_module, LightModel) and _is_whole_here(trainer)
        self._draws = bool(draws and self.directory and trainer.enable_validation) and _has_matplotlib()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._draws and trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self._sample.add(batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._sample.batches and not trainer.sanity_checking:
            self._sample.complete = True  # of the first pass

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draws what the epoch before has reached: here the clock of no epoch runs."""
        epoch = trainer.current_epoch
        if self._sample.batches and epoch >= self._next_epoch:
            first, self._next_epoch = self._next_epoch == 1, 1 << epoch.bit_length()
            if first or self._affordable():
                self._draw(trainer, pl_module)
                self._spent += 0.0 if first else self._latest

    def _affordable(self) -> bool:
        trained = perf_counter() - self._began - (self.seconds - self._before)
        return self._spent + self._latest <= SHARE * trained

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._sample.batches:
            path = getattr(trainer.checkpoint_callback, "best_model_path", "")
            best = weights_of("best" if path else None, pl_module, trainer)
            with self._warns("the best weights"), best:
                self._draw(trainer, pl_module, last=True)
        self._sample = Sample()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._sample = Sample()

    def _draw(self, trainer: pl.Trainer, model: Any, last: bool = False) -> None:
        assert self.directory is not None
        start = perf_counter()
        figures, texts, files = self._made(trainer, model, last)
        for name, figure in figures.items():
            with self._warns(f"figure {name!r}"):
                content = png.rendered(figure)
                png.write(content, self.directory / f"{name}.png")
                png.log(content, f"figures/{name}", trainer.loggers, trainer.global_step)
        with self._warns("texts"):
            shown.log_texts(texts, trainer)
        with self._warns("embeddings"):
            shown.write_embeddings(files, trainer)
        self._latest = perf_counter() - start
        self.seconds += self._latest

    def _made(self, trainer: pl.Trainer, model: Any, last: bool) -> tuple[Figures, Texts, Files]:
        """What the model shows of the sample; of each kind nothing, with a warning, if it cannot."""
        figures: Figures = {}
        texts: Texts = {}
        files: Files = {}
        name = type(model).__name__
        mode = torch.inference_mode if trainer.fit_loop.epoch_loop.val_loop.inference_mode else torch.no_grad
        precision = trainer.precision_plugin.forward_context()
        with self._warns(f"{name}.figures"), untouched(model), mode(), precision:
            if (outputs := self._outputs(model)) is not None:
                batch = self._sample.joined()
                with self._warns(f"{name}.texts"):
                    texts = shown.texts(model, batch, outputs)
                with self._warns(f"{name}.embeddings"):
                    files = shown.embeddings(model, batch, outputs) if last else {}
                figures = dict(model.figures(batch, outputs))
        return figures, texts, files

    def _outputs(self, model: LightModel) -> Any:
        """What ``forward`` gives for the sample; nothing if it fails and nobody has asked for pictures."""
        try:
            return self._sample.mapped(lambda batch: StepModel.predict_step(model, batch, 0))
        except Exception:
            if any(getattr(type(model), hook) is not getattr(LightModel, hook) for hook in HOOKS):
                raise
            return None

    @contextmanager
    def _warns(self, what: str) -> Iterator[None]:
        """Turns an error into a warning, the first of its kind only: pictures never end a training."""
        try:
            yield
        except Exception as error:
            if what not in self._warned:
                self._warned.add(what)
                reason = " ".join(str(error).split()) or "no reason given"
                warnings.warn(
                    f"{what} could not be drawn: {type(error).__name__}: {reason}",
                    RuntimeWarning,
                    stacklevel=2,
                )


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
