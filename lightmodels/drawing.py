"""Drawing: a model's figures of a sample, as files' contents."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from lightmodels import png, shown
from lightmodels.base import LightModel
from lightmodels.epoch_table import best_epoch
from lightmodels.sample import Sample
from lightmodels.step_model import StepModel
from lightmodels.untouched import untouched
from lightmodels.weights import weights_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


HOOKS = ("figures", "texts", "embeddings")


@dataclass
class Drawn:
    """What was drawn, as plain data.

    Attributes:
        figures: PNG files' contents, by name.
        texts: Markdown, by name.
        files: contents of the projector's files, by path.
        problems: what could not be drawn, and why.
    """

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


def of(model: LightModel, sample: Sample, trainer: pl.Trainer, final: bool, best: bool) -> Drawn:
    """What the model draws of the sample, in evaluation mode; nothing in it is changed.

    Args:
        model: with the weights that it has now.
        sample: of validation data; nothing is drawn of an empty one.
        trainer: whose precision counts.
        final: whether training is over: then the history's curves are drawn too.
        best: whether the trainer's best weights are to be drawn, which it must have kept.
    """
    drawn = Drawn()
    with drawn.tries("the best weights"), weights_of("best" if best else None, model, trainer):
        if sample.batches:
            _show(model, sample, trainer, drawn, final)
    if final:
        with drawn.tries("the history"):
            drawn.render({"history": model.history.plot(best_epoch(trainer, model.history))})
    return drawn


def _show(model: LightModel, sample: Sample, trainer: pl.Trainer, drawn: Drawn, final: bool) -> None:
    """Asks the model for all that it shows of the sample."""
    mode = torch.inference_mode if trainer.fit_loop.epoch_loop.val_loop.inference_mode else torch.no_grad
    precision, name = trainer.precision_plugin.forward_context(), type(model).__name__
    with drawn.tries(f"{name}.figures"), untouched(model), mode(), precision:
        if (outputs := _outputs(model, sample)) is not None:
            batch = sample.joined()
            with drawn.tries(f"{name}.texts"):
                drawn.texts = shown.texts(model, batch, outputs)
            with drawn.tries(f"{name}.embeddings"):
                drawn.files = shown.embeddings(model, batch, outputs) if final else {}
            drawn.render(model.figures(batch, outputs))


def _outputs(model: LightModel, sample: Sample) -> Any:
    """What ``forward`` gives for the sample; nothing if it fails and nobody has asked for pictures."""
    try:
        return sample.mapped(lambda batch: StepModel.predict_step(model, batch, 0))
    except Exception:
        if any(getattr(type(model), hook) is not getattr(LightModel, hook) for hook in HOOKS):
            raise
        return None
