"""Flags of train from the constructors of the models, without PyTorch; written by make flags."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(kw_only=True)
class LinearRegressionFlags:
    """
    Args:
        num_features: inputs of a row.
        lr: Adam's peak learning rate; it rises, then falls to zero.
    """

    max_epochs: ClassVar = 40
    num_features: int = 2
    lr: float = 0.1


@dataclass(kw_only=True)
class RingDNNFlags:
    """
    Args:
        num_features: inputs of a row.
        lr: Adam's peak learning rate; it rises, then falls to zero.
    """

    max_epochs: ClassVar = 30
    num_features: int = 2
    lr: float = 0.03


@dataclass(kw_only=True)
class MNISTCNNFlags:
    """
    Args:
        num_classes: classes.
        lr: AdamW's peak learning rate; it rises, then falls to zero.
        weight_decay: AdamW's decoupled weight decay.
        dropout: probability of dropping a channel after the second pooling during training.
    """

    max_epochs: ClassVar = 10
    num_classes: int = 10
    lr: float = 0.01
    weight_decay: float = 0.01
    dropout: float = 0.1


@dataclass(kw_only=True)
class ImageCNNFlags:
    """
    Args:
        num_classes: classes.
        channels: 1 for grey images, 3 for color.
        width: channels after the first convolution, a multiple of 8; each further block doubles them.
        blocks: number of residual blocks; images are halved between them.
        lr: AdamW's peak learning rate; it rises, then falls to zero.
        weight_decay: AdamW's decoupled weight decay.
        dropout: probability of dropping an input of the dense layer during training.
        label_smoothing: share of the target that is spread over all classes during training.
        backbone: a net of ``torchvision.models`` to use instead, such as ``resnet18``.
        weights: file of the backbone's weights, a ``state_dict``.
        freeze: whether to train only the new dense layer.
    """

    max_epochs: ClassVar = 30
    num_classes: int = 10
    channels: int = 1
    width: int = 16
    blocks: int = 3
    lr: float = 0.005
    weight_decay: float = 0.01
    dropout: float = 0.1
    label_smoothing: float = 0.0
    backbone: str | None = None
    weights: str | None = None
    freeze: bool = False


@dataclass(kw_only=True)
class ReutersConv1DFlags:
    """
    Args:
        num_words: size of the vocabulary.
        num_classes: topics.
        length: words of a news item.
        lr: NAdam's peak learning rate; it rises, then falls to zero.
        weight_decay: NAdam's decoupled weight decay.
        masking: probability that a word is replaced by "unknown" during training.
        label_smoothing: share of the target that is spread over all topics during training.
    """

    max_epochs: ClassVar = 10
    num_words: int = 30982
    num_classes: int = 46
    length: int = 300
    lr: float = 0.012
    weight_decay: float = 0.4
    masking: float = 0.5
    label_smoothing: float = 0.1


@dataclass(kw_only=True)
class TextCNNFlags:
    """
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
    """

    max_epochs: ClassVar = 10
    num_words: int = 30982
    num_classes: int = 46
    length: int = 300
    embedding: int = 64
    filters: int = 128
    lr: float = 0.003
    weight_decay: float = 0.05
    masking: float = 0.3
    dropout: float = 0.5
    label_smoothing: float = 0.1


@dataclass(kw_only=True)
class MLPFlags:
    """
    Args:
        num_features: values of a row.
        num_classes: classes; 0 for a regression.
        hidden: units of each hidden layer.
        activation: ``relu``, ``elu``, ``gelu``, ``silu`` or ``tanh``.
        dropout: probability of dropping a hidden unit during training.
        l2: factor of the sum of squared weights in the loss.
        initializer: initializer of the weights, such as ``he_normal``.
        optimizer: ``adam`` or ``nadam``.
        lr: learning rate; its peak with ``one_cycle``.
        schedule: ``constant`` or ``one_cycle``.
        feature_mean: subtracted from each feature; nothing by default.
        feature_std: each feature is divided by it; features that do not vary are not.
        target_scale: unit of y in which mse and mae are reported, and in which ``target_mean`` and ``target_std`` are.
        target_mean: a regression's net computes differences from it.
        target_std: a regression's net computes in this unit.
        cardinalities: the last values of a row are categories, whole numbers below these; each gets an embedding.
    """

    max_epochs: ClassVar = 30
    num_features: int = 784
    num_classes: int = 10
    hidden: Sequence[int] | str = (256, 128)
    activation: Literal["relu", "elu", "gelu", "silu", "tanh"] = "relu"
    dropout: float = 0.1
    l2: float = 0.0
    initializer: Literal["torch", "he_normal", "he_uniform", "glorot_uniform"] = "torch"
    optimizer: Literal["adam", "nadam"] = "adam"
    lr: float = 0.001
    schedule: Literal["constant", "one_cycle"] = "one_cycle"
    feature_mean: Sequence[float] | None = None
    feature_std: Sequence[float] | None = None
    target_scale: float = 1.0
    target_mean: float = 0.0
    target_std: float = 1.0
    cardinalities: Sequence[int] | None = None


@dataclass(kw_only=True)
class TextResNetFlags:
    """
    Args:
        num_words: size of the vocabulary.
        length: words of a review.
        lr: NAdam's learning rate; its peak with ``one_cycle``.
        dropout: probability of dropping a number of an embedding, or an input of the dense layer, in training.
        masking: probability that a word is replaced by "unknown" during training.
        schedule: ``constant``, or ``one_cycle``, which rises, then falls to zero.
        num_classes: logits; 1 is for two classes too.
        embedding: size of a word's embedding, and channels of what each block returns.
    """

    max_epochs: ClassVar = 3
    num_words: int = 10000
    length: int = 200
    lr: float = 0.001
    dropout: float = 0.0
    masking: float = 0.0
    schedule: Literal["constant", "one_cycle"] = "constant"
    num_classes: int = 1
    embedding: int = 7


@dataclass(kw_only=True)
class TextSeparableCNNFlags:
    """
    Args:
        num_words: size of the vocabulary.
        length: words of a review.
        lr: NAdam's learning rate; its peak with ``one_cycle``.
        dropout: probability of dropping a number of an embedding, or an input of the dense layer, in training.
        masking: probability that a word is replaced by "unknown" during training.
        schedule: ``constant``, or ``one_cycle``, which rises, then falls to zero.
        num_classes: logits; 1 is for two classes too.
        embedding: size of a word's embedding.
    """

    max_epochs: ClassVar = 3
    num_words: int = 10000
    length: int = 200
    lr: float = 0.001
    dropout: float = 0.0
    masking: float = 0.0
    schedule: Literal["constant", "one_cycle"] = "constant"
    num_classes: int = 1
    embedding: int = 7
