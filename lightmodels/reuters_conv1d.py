"""A one-dimensional convolutional net for the topics of newswires; 332,856 parameters."""

from typing import TYPE_CHECKING

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from lightmodels import default_figures, figures, hyperparameters, optimizers, sample_texts
from lightmodels.base import LightModel
from lightmodels.core.embedding import Embedding
from lightmodels.epoch_means import MetricValue
from lightmodels.schedules import one_cycle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNKNOWN = 2  # the token of words outside the vocabulary
COMMONEST = 1_000  # words in the projector


class ReutersConv1D(LightModel):
    """Word embeddings, two convolutions and a dense layer; cross-entropy, accuracy, top-5 accuracy.

    A batch is ``(x, y)``: x of shape ``(B, length)`` with word numbers below ``num_words``, y of
    shape ``(B,)`` with the topics. ``forward`` gives logits of shape ``(B, num_classes)``.

    Weights start as Keras starts them. While training, words are replaced by "unknown" at random:
    the net learns not to lean on single words, and what to make of words that it never saw.

    Args:
        num_words: size of the vocabulary.
        num_classes: topics.
        length: words of a wire.
        lr: NAdam's peak learning rate; it rises, then falls to zero.
        weight_decay: NAdam's, decoupled.
        masking: probability of a word's being replaced while training.
        label_smoothing: share of the target spread over all topics while training.

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
        hyperparameters.positive(num_words=num_words, num_classes=num_classes, lr=lr)
        hyperparameters.not_negative(weight_decay=weight_decay)
        hyperparameters.probability(masking=masking, label_smoothing=label_smoothing)
        pooled = ((length - 4) // 2 - 2) // 2
        if pooled < 1:
            raise ValueError(f"length must be at least 12 for two convolutions and poolings, got {length}")
        super().__init__(
            nn.Sequential(
                nn.Embedding(num_words, 7),  # (B, length, 7)
                AsImages(),  # (B, 7, 1, length), of height 1: the quicker layout on CPUs
                WideConv1d(7, 64, kernel_size=5),  # (B, 64, 1, length - 4)
                nn.MaxPool2d((1, 2)),  # (B, 64, 1, 148) for a length of 300
                nn.ReLU(),  # after pooling, of half as many values: the same bits as before it
                WideConv1d(64, 32, kernel_size=3),  # (B, 32, 1, 146)
                nn.MaxPool2d((1, 2)),  # (B, 32, 1, 73)
                nn.ReLU(),
                nn.Flatten(),  # (B, 2336)
                nn.Linear(32 * pooled, num_classes),  # (B, num_classes)
            )
        )
        self.apply(initialize_like_keras)
        self.save_hyperparameters()

    def shared_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, MetricValue]:
        x, y = batch
        if self.training:
            masked = torch.rand(x.shape, device=x.device) < self.hparams["masking"]
            x = x.masked_fill(masked & (x > UNKNOWN), UNKNOWN)  # padding and start stay
        logits = self(x)
        smoothing = self.hparams["label_smoothing"] if self.training else 0.0
        hits = logits.topk(min(5, logits.shape[1]), dim=1).indices == y[:, None]  # (B, 5), best first
        return {
            "loss": F.cross_entropy(logits, y, label_smoothing=smoothing),
            "acc": (hits[:, 0].sum(), len(x)),
            "top5_acc": (hits.sum(), len(x)),
        }

    def figures(self, batch: tuple[Tensor, Tensor], outputs: Tensor) -> "dict[str, Figure]":
        """The confusion matrix of the commonest topics, and the accuracy of each."""
        names = default_figures.class_names(self, outputs.shape[1])
        accuracy = figures.class_accuracy(batch[1], outputs.argmax(1), names)
        return super().figures(batch, outputs) | {"topic_accuracy": accuracy}

    def texts(self, batch: tuple[Tensor, Tensor], outputs: Tensor) -> dict[str, str]:
        """Some wires, right and wrong ones, with the five likeliest topics; none of an unknown vocabulary."""
        if not (words := self._words()):
            return {}
        names = default_figures.class_names(self, outputs.shape[1])
        x, y, likely = batch[0].cpu(), batch[1].cpu(), outputs.float().softmax(1).cpu()
        return {"wires": sample_texts.report(x, y, likely, names, words | {UNKNOWN: "?"})}

    def embeddings(self, batch: tuple[Tensor, Tensor], outputs: Tensor) -> dict[str, Embedding]:
        """The commonest words but for numbers, which the projector would show without leading zeros."""
        words = {token: word for token, word in self._words().items() if not word.isdecimal()}
        tokens = sorted(words)[:COMMONEST]
        vectors = self.get_parameter("net.0.weight")[tokens]  # (N, 7)
        return {"words": Embedding(vectors, [words[token] for token in tokens])} if tokens else {}

    def _words(self) -> dict[int, str]:
        """The words of the tokens, by what the data say of themselves; tokens rise as words get rarer."""
        info = self.data_info
        if "word_index" not in info or "tokens" not in info:
            return {}
        offset, limit = info["tokens"]["offset"], self.hparams["num_words"]
        return {rank + offset: word for word, rank in info["word_index"].items() if rank + offset < limit}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = optimizers.nadam(self)(
            self.parameters(),
            lr=self.hparams["lr"],
            weight_decay=self.hparams["weight_decay"],
            decoupled_weight_decay=True,
        )
        return one_cycle(self, optimizer)


class AsImages(nn.Module):
    """``(B, length, channels)`` to ``(B, channels, 1, length)``, in channels-last layout without a copy."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).unsqueeze(2)


class WideConv1d(nn.Conv1d):
    """A ``Conv1d`` over images of height 1; parameters, and so checkpoints, are those of ``Conv1d``."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.unsqueeze(2), self.bias)  # (B, channels, 1, length - kernel + 1)


def initialize_like_keras(layer: nn.Module) -> None:
    """Embeddings uniform in ±0.05, weights Glorot-uniform, biases zero."""
    if isinstance(layer, nn.Embedding):
        nn.init.uniform_(layer.weight, -0.05, 0.05)
    elif isinstance(layer, (nn.Conv1d, nn.Linear)):
        nn.init.xavier_uniform_(layer.weight)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
