"""Drawing: a model's figures of a sample, as files' contents."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from lightmodels import png, shown
from lightmodels.checkpointing.weights import checkpoint_weights, temporary_weights
from lightmodels.core.light_model import LightModel
from lightmodels.kept_weights import Kept
from lightmodels.metrics.history import best_epoch
from lightmodels.sample import Sample
from lightmodels.utils.preserve import no_side_effects

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Drawn:
    """What was drawn, as plain data.

    Attributes:
        step: the optimizer steps that had led to it.
        figures: PNG files' contents, by name.
        texts: Markdown, by name.
        files: contents of the projector's files, by path.
        problems: what could not be drawn, and why.
    """

    step: int
    figures: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def tries(self, what: str) -> Iterator[None]:
        """Notes an error: pictures never end a training."""
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or "no reason given"
            self.problems[what] = f"{type(error).__name__}: {reason}"

    def render(self, figures: "Mapping[str, Figure]") -> None:
        """Adds figures, each that can be."""
        for name, figure in figures.items():
            with self.tries(f"figure {name!r}"):
                self.figures[name] = png.rendered(figure)


@dataclass(frozen=True)
class Drawing:
    """Draws what a model shows of a sample, in evaluation mode; nothing in the model is changed.

    Attributes:
        model: the model.
        sample: of validation data; nothing is drawn of an empty one.
        trainer: whose precision and optimizer steps count.
        figures: whether figures are drawn, or only texts and embeddings are made.
    """

    model: LightModel
    sample: Sample
    trainer: pl.Trainer
    figures: bool = True

    def now(self) -> Drawn:
        """The model as it is."""
        drawn = Drawn(self.trainer.global_step)
        self._show(drawn)
        return drawn

    def of_kept(self, kept: Kept) -> Drawn:
        """The model with these weights."""
        drawn = Drawn(kept.step)
        with drawn.tries("the weights of an earlier epoch"), temporary_weights(kept.weights, self.model):
            self._show(drawn)
        return drawn

    def at_the_end(self, best: bool) -> Drawn:
        """The model as it is at the end of training, and the history.

        Args:
            best: whether with the trainer's best weights, which it must have kept.
        """
        drawn, which = Drawn(self.trainer.global_step), "best" if best else None
        with drawn.tries("the best weights"), checkpoint_weights(which, self.model, self.trainer):
            self._show(drawn, embeddings=True)
        if self.figures:
            with drawn.tries("the history"):
                history = self.model.history
                drawn.render({"history": history.plot(best_epoch(self.trainer, history))})
        return drawn

    def _show(self, drawn: Drawn, embeddings: bool = False) -> None:
        """Asks the model for all that it shows of the sample."""
        if not self.sample.batches:
            return
        model, name = self.model, type(self.model).__name__
        loop, precision = self.trainer.fit_loop.epoch_loop.val_loop, self.trainer.precision_plugin
        mode = torch.inference_mode if loop.inference_mode else torch.no_grad
        with drawn.tries(f"{name}.figures"), no_side_effects(model), mode(), precision.forward_context():
            if (outputs := _outputs(model, self.sample)) is not None:
                batch = self.sample.joined()
                with drawn.tries(f"{name}.texts"):
                    drawn.texts = shown.texts(model, batch, outputs)
                with drawn.tries(f"{name}.embeddings"):
                    drawn.files = shown.embeddings(model, batch, outputs) if embeddings else {}
                drawn.render(model.figures(batch, outputs) if self.figures else {})


def asks_for(model: LightModel, *hooks: str) -> bool:
    """Whether the model's class has hooks of its own."""
    return any(getattr(type(model), hook) is not getattr(LightModel, hook) for hook in hooks)


def _outputs(model: LightModel, sample: Sample) -> Any:
    """What ``forward`` gives for the sample; nothing if it fails and nobody has asked for pictures."""
    try:
        return sample.mapped(lambda batch: LightModel.predict_step(model, batch, 0))
    except Exception:
        if asks_for(model, "figures", "texts", "embeddings"):
            raise
        return None
