"""A net of separable one-dimensional convolutions for the sentiment of reviews, or other classes; 78,938 parameters."""

from collections.abc import Sequence
from typing import Literal

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics.classification import BinaryAUROC

from lightmodels.core.embedding import Embedding
from lightmodels.core.light_model import LightModel
from lightmodels.core.vocabulary import mask_words, token_words, word_embeddings, worst_texts
from lightmodels.metrics.class_values import class_values, is_multi_label, probability_of_second
from lightmodels.metrics.epoch_means import MetricValue
from lightmodels.optim.fused import nadam_class
from lightmodels.optim.lr_schedules import one_cycle
from lightmodels.utils import argument_checks
from lightmodels.utils.conv1d_layers import Conv1dAsConv2d, ToChannelsFirst2d, initialize_like_keras

KERNEL_SIZES = (3, 5, 7)  # of the branches
MIN_LENGTH = 55  # leaves seven numbers for the second convolution of kernel 7: (55 - 6) // 7


class TextSeparableCNN(LightModel):
    """Word embeddings, three branches of convolutions and a dense layer; binary cross-entropy, accuracy, AUROC.

    A batch is ``(x, y)`` or ``(x, y, weights)``: x of shape ``(B, length)`` with word numbers below ``num_words``.
    By default y, of shape ``(B, 1)``, is 0.0 or 1.0, and ``forward`` gives the logit of class 1, of shape ``(B, 1)``.
    With ``num_classes`` above 1, y, of shape ``(B,)``, has the classes, ``forward`` gives logits of shape
    ``(B, num_classes)``, and the loss is cross-entropy; of more than two classes there is no AUROC. If texts can be of
    several classes, y is 0 and 1, ``(B, num_classes)``, and the loss binary cross-entropy. Weights start as
    Keras starts them. The best of three epochs on IMDB had a test accuracy of 0.856 and an AUROC of 0.934.

    Args:
        num_words: size of the vocabulary.
        length: words of a review.
        lr: NAdam's learning rate; its peak with ``one_cycle``.
        dropout: probability of dropping a number of an embedding, or an input of the dense layer, in training.
        masking: probability that a word is replaced by "unknown" during training.
        schedule: ``constant``, or ``one_cycle``, which rises, then falls to zero.
        num_classes: logits; 1 is for two classes too.
        embedding: size of a word's embedding.

    Raises:
        ValueError: a size below 1, a length below 55, or a rate or probability out of range.
    """

    max_epochs = 3

    def __init__(
        self,
        num_words: int = 10_000,
        length: int = 200,
        lr: float = 1e-3,
        dropout: float = 0.0,
        masking: float = 0.0,
        schedule: Literal["constant", "one_cycle"] = "constant",
        num_classes: int = 1,
        embedding: int = 7,
    ) -> None:
        argument_checks.positive(num_words=num_words, lr=lr, num_classes=num_classes, embedding=embedding)
        argument_checks.at_least(MIN_LENGTH, length=length)
        argument_checks.probability(dropout=dropout, masking=masking)
        super().__init__(
            nn.Sequential(
                nn.Embedding(num_words, embedding),  # (B, length, embedding)
                nn.Dropout(dropout),
                ToChannelsFirst2d(),  # (B, embedding, 1, length), of height 1: the faster layout on CPUs
                Branches([Branch(embedding, kernel_size) for kernel_size in KERNEL_SIZES]),  # (B, 96)
                nn.Dropout(dropout),
                nn.Linear(32 * len(KERNEL_SIZES), num_classes),  # (B, num_classes)
            )
        )
        # Its checks would wait for the device in each step.
        self.auroc = BinaryAUROC(validate_args=False) if num_classes <= 2 else None
        self.apply(initialize_like_keras)
        self.save_hyperparameters()

    def shared_step(self, batch: Sequence[Tensor]) -> dict[str, MetricValue]:
        x, y, *weights = batch
        logits = self(mask_words(x, self.hparams["masking"]) if self.training else x)
        values = class_values(logits, y, weights)
        if self.auroc is None or is_multi_label(y):
            return values
        self.auroc.update(probability_of_second(logits), y.reshape(-1, 1))
        return values | {"auroc": self.auroc}

    def texts(self, batch: Sequence[Tensor], outputs: Tensor) -> dict[str, str]:
        """The most confidently misclassified texts; none if the vocabulary is unknown."""
        return worst_texts(self, batch, outputs)

    def embeddings(self, batch: Sequence[Tensor], outputs: Tensor) -> dict[str, Embedding]:
        """The most common words except numbers."""
        words = token_words(self.data_info, self.hparams["num_words"])
        return word_embeddings(words, self.get_parameter("net.0.weight"))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = nadam_class(self)(self.parameters(), lr=self.hparams["lr"])
        return one_cycle(self, optimizer) if self.hparams["schedule"] == "one_cycle" else optimizer


class Branches(nn.ModuleList):
    """Modules that take the same input and give ``(B, N)`` each, side by side."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], dim=1)


class Branch(nn.Sequential):
    """Two separable convolutions of ``(B, channels, 1, length)`` with pooling in between: ``(B, 32)``.

    Pooling comes before the ReLU, on fewer values: the result is bit-identical to the ReLU first.

    Args:
        channels: of the input.
        kernel_size: of both convolutions and the first pooling.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(
            SeparableConv1d(channels, 64, kernel_size),  # (B, 64, 1, length - kernel_size + 1)
            nn.MaxPool2d((1, kernel_size)),
            nn.ReLU(),
            SeparableConv1d(64, 32, kernel_size),
            nn.AdaptiveMaxPool2d(1),  # (B, 32, 1, 1)
            nn.ReLU(),
            nn.Flatten(),  # (B, 32)
        )


class SeparableConv1d(nn.Sequential):
    """A convolution of each channel by itself without bias, then one of kernel 1 over all channels with bias.

    Takes ``(B, in_channels, 1, length)``, gives ``(B, out_channels, 1, length - kernel_size + 1)``.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(
            Conv1dAsConv2d(in_channels, in_channels, kernel_size, groups=in_channels, bias=False),
            Conv1dAsConv2d(in_channels, out_channels, kernel_size=1),
        )
