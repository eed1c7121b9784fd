"""A one-dimensional convolutional net for the topics of news items; 332,856 parameters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lightmodels.core.embedding import Embedding
from lightmodels.core.light_model import LightModel
from lightmodels.core.vocabulary import UNKNOWN, mask_words, token_words, word_embeddings
from lightmodels.metrics.class_values import class_values, is_multi_label
from lightmodels.metrics.epoch_means import MetricValue
from lightmodels.optim import fused as fused_optimizers
from lightmodels.optim.lr_schedules import one_cycle
from lightmodels.plots import classification, defaults, text_samples
from lightmodels.utils import argument_checks
from lightmodels.utils.conv1d_layers import Conv1dAsConv2d, ToChannelsFirst2d, initialize_like_keras

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ReutersConv1D(LightModel):
    """Word embeddings, two convolutions and a dense layer; cross-entropy, accuracy, top-5 accuracy.

    A batch is ``(x, y)`` or ``(x, y, weights)``: x of shape ``(B, length)`` with word numbers below ``num_words``, y of
    shape ``(B,)`` with the topics, or, if a text can be of several, ``(B, num_classes)`` with 0 and 1. ``forward``
    gives logits of shape ``(B, num_classes)``.

    Weights start as Keras starts them. While training, words are replaced by "unknown" at random:
    the net learns not to lean on single words, and what to make of words that it never saw.

    Args:
        num_words: size of the vocabulary.
        num_classes: topics.
        length: words of a news item.
        lr: NAdam's peak learning rate; it rises, then falls to zero.
        weight_decay: NAdam's decoupled weight decay.
        masking: probability that a word is replaced by "unknown" during training.
        label_smoothing: share of the target that is spread over all topics during training.

    Raises:
        ValueError: a size below 1, or a rate, weight decay or probability out of range.
    """

    max_epochs = 10

    def __init__(
        self,
        num_words: int = 30_982,
        num_classes: int = 46,
        length: int = 300,
        lr: float = 0.012,
        weight_decay: float = 0.4,
        masking: float = 0.5,
        label_smoothing: float = 0.1,
    ) -> None:
        argument_checks.positive(num_words=num_words, num_classes=num_classes, lr=lr)
        argument_checks.not_negative(weight_decay=weight_decay)
        argument_checks.probability(masking=masking, label_smoothing=label_smoothing)
        pooled = ((length - 4) // 2 - 2) // 2
        if pooled < 1:
            raise ValueError(f"length must be at least 12 for two convolutions and poolings, got {length}")
        super().__init__(
            nn.Sequential(
                nn.Embedding(num_words, 7),  # (B, length, 7)
                ToChannelsFirst2d(),  # (B, 7, 1, length), of height 1: the faster layout on CPUs
                Conv1dAsConv2d(7, 64, kernel_size=5),  # (B, 64, 1, length - 4)
                nn.MaxPool2d((1, 2)),  # (B, 64, 1, 148) for a length of 300
                nn.ReLU(),  # after pooling, on half as many values: bit-identical to before it
                Conv1dAsConv2d(64, 32, kernel_size=3),  # (B, 32, 1, 146)
                nn.MaxPool2d((1, 2)),  # (B, 32, 1, 73)
                nn.ReLU(),
                nn.Flatten(),  # (B, 2336)
                nn.Linear(32 * pooled, num_classes),  # (B, num_classes)
            )
        )
        self.apply(initialize_like_keras)
        self.save_hyperparameters()

    def shared_step(self, batch: Sequence[Tensor]) -> dict[str, MetricValue]:
        x, y, *weights = batch
        logits = self(mask_words(x, self.hparams["masking"]) if self.training else x)
        smoothing = self.hparams["label_smoothing"] if self.training else 0.0
        values = class_values(logits, y, weights, smoothing)
        if is_multi_label(y):
            return values
        hits = logits.topk(min(5, logits.shape[1]), dim=1).indices == y[:, None]  # (B, 5), best first
        return values | {"top5_acc": (hits.sum(), len(x))}

    def figures(self, batch: Sequence[Tensor], outputs: Tensor) -> "dict[str, Figure]":
        """The confusion matrix of the most common topics, and the accuracy of each."""
        if is_multi_label(batch[1]):
            return {}
        names = defaults.class_names(self, outputs.shape[1])
        accuracy = classification.class_accuracy(batch[1], outputs.argmax(1), names)
        return super().figures(batch, outputs) | {"topic_accuracy": accuracy}

    def texts(self, batch: Sequence[Tensor], outputs: Tensor) -> dict[str, str]:
        """Some news items with the five most probable topics; none if the vocabulary is unknown."""
        if is_multi_label(batch[1]) or not (words := self._words()):
            return {}
        names = defaults.class_names(self, outputs.shape[1])
        x, y, probabilities = batch[0].cpu(), batch[1].cpu(), outputs.float().softmax(1).cpu()
        report = text_samples.sample_report(x, y, probabilities, names, words | {UNKNOWN: "?"})
        return {"news_items": report}

    def embeddings(self, batch: Sequence[Tensor], outputs: Tensor) -> dict[str, Embedding]:
        """The most common words except numbers, which the projector would show without leading zeros."""
        return word_embeddings(self._words(), self.get_parameter("net.0.weight"))

    def _words(self) -> dict[int, str]:
        return token_words(self.data_info, self.hparams["num_words"])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = fused_optimizers.nadam_class(self)(
            self.parameters(),
            lr=self.hparams["lr"],
            weight_decay=self.hparams["weight_decay"],
            decoupled_weight_decay=True,
        )
        return one_cycle(self, optimizer)
