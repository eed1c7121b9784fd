"""Rendering: a model's figures as PNG files, and its figures, texts and embeddings in TensorBoard."""

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn
from torchmetrics import Metric

from lightmodels.checkpointing import files as checkpoint_files
from lightmodels.checkpointing.weights import temporary_weights
from lightmodels.core.light_model import LightModel
from lightmodels.metrics.epoch_means import pop_metric_state, set_metric_state
from lightmodels.metrics.history import best_epoch
from lightmodels.utils.atomic_file import write_file
from lightmodels.utils.preserve import no_side_effects
from lightmodels.visualization.loggers import find_writer
from lightmodels.visualization.projector import add_embeddings
from lightmodels.visualization.validation_sample import ValidationSample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TAG = "visualization"  # TensorBoard sorts by it: figures come below ``train_…`` and ``val_…``
HOOKS = ("figures", "texts", "embeddings")


class Renderer:
    """Writes a model's figures to PNG files and TensorBoard, and its texts and embeddings to TensorBoard.

    A title above each figure names the epoch and the weights. Errors become warnings, one of each kind.
    The model is left as it was. PNG files go to ``directory``; the callback fills ``sample``, of which all is drawn.
    """

    def __init__(self, model: LightModel, trainer: pl.Trainer, directory: Path) -> None:
        self.sample = ValidationSample()
        self._model, self._trainer, self._directory = model, trainer, directory
        self._writer = find_writer(trainer)
        self._warned: set[str] = set()

    @property
    def epoch(self) -> int:
        """The last epoch of the history, counted from 1."""
        return self._model.history.next_epoch - 1

    def render(self, epoch: int, weights: str) -> None:
        """Draws what the model shows of the sample; ``weights`` are ``"current"`` or ``"best"``."""
        model, name = self._model, type(self._model).__name__
        overrides_hook = any(getattr(type(model), hook) is not getattr(LightModel, hook) for hook in HOOKS)
        attempt = self._attempt(f"{name}.figures") if overrides_hook else suppress(Exception)
        # Default figures are optional: where forward does not fit this batch, there are none.
        with attempt, _no_trace(model), self._trainer.precision_plugin.forward_context():
            batch, outputs = self.sample.predict(lambda batch: LightModel.predict_step(model, batch, 0))
            if self._writer:
                with self._attempt(f"{name}.texts"):
                    for key, text in model.texts(batch, outputs).items():
                        self._writer.add_text(f"texts/{key}", str(text), self.epoch)
            if self._writer and weights == "best":
                with self._attempt(f"{name}.embeddings"):
                    add_embeddings(self._writer, model.embeddings(batch, outputs), epoch)
            self._save(model.figures(batch, outputs), f"epoch {epoch}, {weights} weights")

    def render_best(self) -> None:
        """Draws the best checkpoint's weights; without a checkpoint, the current ones."""
        path = getattr(self._trainer.checkpoint_callback, "best_model_path", "")  # raises if saving failed
        if not path:
            self.render(self.epoch, "current")
            return
        with self._attempt("the best weights"):
            checkpoint = checkpoint_files.load_checkpoint(path)
            earlier = self.epoch - self._trainer.current_epoch  # epochs trained by other trainers
            with temporary_weights(checkpoint["state_dict"], self._model):
                self.render(earlier + checkpoint["epoch"] + 1, "best")

    def render_history(self) -> None:
        """Draws the history's curves."""
        history = self._model.history
        with self._attempt("the history"):
            figure = history.plot(best_epoch(self._trainer, history))
            self._save({"history": figure}, f"epoch {self.epoch}")

    def _save(self, figures: "Mapping[str, Figure]", title: str) -> None:
        for name, figure in figures.items():
            with self._attempt(f"figure {name!r}"):
                image, content = to_image(figure, title), BytesIO()
                image.save(content, "PNG")
                write_file(self._directory / f"{name}.png", content.getbuffer())
                if self._writer:
                    self._writer.add_image(f"{TAG}/{name}", np.asarray(image), self.epoch, dataformats="HWC")

    @contextmanager
    def _attempt(self, what: str) -> Iterator[None]:
        """Turns an error into a warning: drawing must never end a training."""
        try:
            yield
        except Exception as error:
            if what not in self._warned:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                warnings.warn(f"{what} could not be drawn: {reason}", RuntimeWarning, stacklevel=3)
            self._warned.add(what)


def to_image(figure: "Figure", title: str) -> Image.Image:
    """The figure as an RGB image, with a line of text in a strip above it."""
    content = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the font lacks a character, and a box is drawn
        figure.savefig(content, format="png")
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(figure)  # else pyplot keeps its figures, and notebooks show them
    drawn = Image.open(content).convert("RGB")
    size = max(12, drawn.width // 32)  # pixels
    font = ImageFont.load_default(size)
    width = max(drawn.width, size + round(font.getlength(title)))
    image = Image.new("RGB", (width, drawn.height + 2 * size), "white")
    image.paste(drawn, (0, 2 * size))
    ImageDraw.Draw(image).text((size // 2, size // 2), title, "black", font)
    return image


@contextmanager
def _no_trace(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; all state but the weights is put back afterwards."""
    gradients = {parameter: parameter.grad for parameter in model.parameters()}
    metrics = [(module, pop_metric_state(module)) for module in model.modules() if isinstance(module, Metric)]
    model.zero_grad()
    try:
        with no_side_effects(model), torch.no_grad():
            yield
    finally:
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        for metric, state in metrics:
            set_metric_state(metric, state)
