"""What a model shows besides figures, its texts and embeddings: plain data first, then put in their place."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

from lightmodels import dashboard, projector

Texts = dict[str, str]
Files = dict[str, bytes]


def texts(model: Any, batch: Any, outputs: Any) -> Texts:
    """The Markdown of the model's ``texts``, by name."""
    return {str(name): str(text) for name, text in model.texts(batch, outputs).items()}


def embeddings(model: Any, batch: Any, outputs: Any) -> Files:
    """The files of the model's ``embeddings``, by path; none if there is no TensorBoard to read them."""
    given = model.embeddings(batch, outputs)
    return projector.files(given) if given and projector.is_installed() else {}


def log_texts(made: Texts, trainer: pl.Trainer, step: int) -> None:
    """Gives texts to TensorBoard, beside the figures of the same step."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            for name, text in made.items():
                logger.experiment.add_text(f"texts/{name}", text, step)


def write_embeddings(made: Files, trainer: pl.Trainer) -> None:
    """Writes the projector's files beside TensorBoard's event files, where it looks for them."""
    logger = dashboard.logger_of(trainer)
    if logger and "://" not in logger.log_dir:
        projector.write(made, Path(logger.log_dir))
