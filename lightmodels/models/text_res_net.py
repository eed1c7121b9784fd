"""A residual one-dimensional convolutional net for the sentiment of reviews, or other classes; 103,197 parameters."""

from collections.abc import Sequence
from typing import Literal

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


class TextResNet(LightModel):
    """Word embeddings, two residual blocks and a dense layer; binary cross-entropy, accuracy, AUROC.

    A batch is ``(x, y)`` or ``(x, y, weights)``: x of shape ``(B, length)`` with word numbers below ``num_words``.
    By default y, of shape ``(B, 1)``, is 0.0 or 1.0, and ``forward`` gives the logit of class 1, of shape ``(B, 1)``.
    With ``num_classes`` above 1, y, of shape ``(B,)``, has the classes, ``forward`` gives logits of shape
    ``(B, num_classes)``, and the loss is cross-entropy; of more than two classes there is no AUROC. If texts can be of
    several classes, y is 0 and 1, ``(B, num_classes)``, and the loss binary cross-entropy. Weights start as
    Keras starts them. The best of three epochs on IMDB had a test accuracy of 0.878 and an AUROC of 0.952.

    Args:
        num_words: size of the vocabulary.
        length: words of a review.
        lr: NAdam's learning rate; its peak with ``one_cycle``.
        dropout: probability of dropping a number of an embedding, or an input of the dense layer, in training.
        masking: probability that a word is replaced by "unknown" during training.
        schedule: ``constant``, or ``one_cycle``, which rises, then falls to zero.
        num_classes: logits; 1 is for two classes too.
        embedding: size of a word's embedding, and channels of what each block returns.

    Raises:
        ValueError: a size below 1, a length below 4, or a rate or probability out of range.
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
        argument_checks.at_least(4, length=length)  # for two poolings
        argument_checks.probability(dropout=dropout, masking=masking)
        super().__init__(
            nn.Sequential(
                nn.Embedding(num_words, embedding),  # (B, length, embedding)
                nn.Dropout(dropout),
                ToChannelsFirst2d(),  # (B, embedding, 1, length), of height 1: the faster layout on CPUs
                ResidualBlock(embedding, kernel_size=7),
                nn.MaxPool2d((1, 2)),  # (B, embedding, 1, 100) for a length of 200
                ResidualBlock(embedding, kernel_size=5),
                nn.MaxPool2d((1, 2)),  # (B, embedding, 1, 50)
                nn.Flatten(),  # (B, 350)
                nn.Dropout(dropout),
                nn.Linear(embedding * (length // 2 // 2), num_classes),  # (B, num_classes)
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


class ResidualBlock(nn.Module):
    """Adds to its input ``(B, channels, 1, length)`` three convolutions of it: to 64, to 32, and back.

    Each has a bias and a ReLU, and zeros as padding, so that the length stays.

    Args:
        channels: of the input and the output.
        kernel_size: an odd number.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.layers = nn.Sequential(
            Conv1dAsConv2d(channels, 64, kernel_size, padding=padding),  # (B, 64, 1, length)
            nn.ReLU(),
            Conv1dAsConv2d(64, 32, kernel_size, padding=padding),  # (B, 32, 1, length)
            nn.ReLU(),
            Conv1dAsConv2d(32, channels, kernel_size, padding=padding),  # (B, channels, 1, length)
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.layers(x)
        return result
