"""A one-dimensional convolutional net for texts, with global max pooling; 2,050,094 parameters on Reuters."""

from collections.abc import Sequence

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lightmodels.core.embedding import Embedding
from lightmodels.core.light_model import LightModel
from lightmodels.core.vocabulary import mask_words, token_words, word_embeddings, worst_texts
from lightmodels.metrics.class_values import class_values
from lightmodels.metrics.epoch_means import MetricValue
from lightmodels.optim.fused import fused_kwargs
from lightmodels.optim.lr_schedules import one_cycle
from lightmodels.utils import argument_checks
from lightmodels.utils.conv1d_layers import Conv1dAsConv2d, ToChannelsFirst2d

KERNELS = (1, 2, 3)  # words that a filter sees


class TextCNN(LightModel):
    """Word embeddings, filters of one, two and three words with their maxima over the text, and a dense layer.

    After Kim, "Convolutional Neural Networks for Sentence Classification" (2014). Cross-entropy and accuracy.

    A batch is ``(x, y)`` or ``(x, y, weights)``: x of shape ``(B, length)`` with word numbers below ``num_words``, of
    which those up to 2 are padding, start and unknown; y of shape ``(B,)`` with the classes, or, if a text can be of
    several, ``(B, num_classes)`` with 0 and 1. ``forward`` gives logits of shape ``(B, num_classes)``, and takes texts
    of any length of at least three words.

    Args:
        num_words: size of the vocabulary.
        num_classes: classes.
        length: words of a text.
        embedding: size of the word embeddings.
        filters: number of filters of each of the three widths.
        lr: AdamW's peak learning rate; it rises, then falls to zero.
        weight_decay: AdamW's decoupled weight decay.
        masking: probability that a word is replaced by "unknown" during training.
        dropout: probability of leaving out an input of the dense layer while training; half as high for embeddings.
        label_smoothing: share of the target that is spread over all classes during training.

    Raises:
        ValueError: a size below 1, a length below 3, or a rate or probability out of range.
    """

    max_epochs = 10

    def __init__(  # noqa: PLR0913 (each is a flag of train.py)
        self,
        num_words: int = 30_982,
        num_classes: int = 46,
        length: int = 300,
        *,
        embedding: int = 64,
        filters: int = 128,
        lr: float = 0.003,
        weight_decay: float = 0.05,
        masking: float = 0.3,
        dropout: float = 0.5,
        label_smoothing: float = 0.1,
    ) -> None:
        argument_checks.positive(
            num_words=num_words, num_classes=num_classes, embedding=embedding, filters=filters, lr=lr
        )
        argument_checks.at_least(max(KERNELS), length=length)
        argument_checks.not_negative(weight_decay=weight_decay)
        argument_checks.probability(masking=masking, dropout=dropout, label_smoothing=label_smoothing)
        super().__init__()
        self.words = nn.Embedding(num_words, embedding)
        nn.init.normal_(self.words.weight, std=embedding**-0.5)
        self.to_channels = nn.Sequential(nn.Dropout(dropout / 2), ToChannelsFirst2d())
        self.filters = nn.ModuleList(Conv1dAsConv2d(embedding, filters, kernel) for kernel in KERNELS)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(len(KERNELS) * filters, num_classes))
        self.save_hyperparameters()

    def forward(self, x: Tensor) -> Tensor:
        words = self.to_channels(self.words(x))  # (B, embedding, 1, length)
        found = [each(words).amax(dim=(2, 3)).relu() for each in self.filters]  # (B, filters) each
        logits: Tensor = self.classifier(torch.cat(found, dim=1))  # (B, num_classes)
        return logits

    def shared_step(self, batch: Sequence[Tensor]) -> dict[str, MetricValue]:
        x, y, *weights = batch
        logits = self(mask_words(x, self.hparams["masking"]) if self.training else x)
        smoothing = self.hparams["label_smoothing"] if self.training else 0.0
        return class_values(logits, y, weights, smoothing)

    def texts(self, batch: Sequence[Tensor], outputs: Tensor) -> dict[str, str]:
        """The most confidently misclassified texts; none if the vocabulary is unknown."""
        return worst_texts(self, batch, outputs)

    def embeddings(self, batch: Sequence[Tensor], outputs: Tensor) -> dict[str, Embedding]:
        """The most common words except numbers."""
        return word_embeddings(token_words(self.data_info, self.hparams["num_words"]), self.words.weight)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        hparams = self.hparams
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=hparams["lr"], weight_decay=hparams["weight_decay"], **fused_kwargs(self)
        )
        return one_cycle(self, optimizer)
