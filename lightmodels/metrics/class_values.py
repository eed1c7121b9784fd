"""Loss and accuracy of a classifier's logits: one for two classes, one for each class, or one for each label."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from lightmodels.metrics.epoch_means import MetricValue
from lightmodels.metrics.weighted_loss import weighted_loss


def class_values(
    logits: Tensor, y: Tensor, weights: Sequence[Tensor] = (), label_smoothing: float = 0.0
) -> dict[str, MetricValue]:
    """``loss``, cross-entropy, and ``acc``, which weights do not change.

    If rows can be of several classes, ``acc`` is the share of rows of which all classes are right, and ``label_acc``
    the share of right ones among all yes-or-no answers.

    Args:
        logits: ``(B, classes)``, or that of the second of two classes, ``(B, 1)``.
        y: classes, int64 ``(B,)``; with one logit also ``(B, 1)``, 0.0 or 1.0. If rows can be of several classes, or of
            none, 0.0 and 1.0, ``(B, classes)``.
        weights: what follows the target in a batch: nothing, or one tensor ``(B,)``.
        label_smoothing: share of the target spread over all classes, where each row is of one.
    """
    reduction = "none" if weights else "mean"
    if logits.shape[1] == 1:
        y = y.reshape(-1, 1)
    if y.dim() == 1:
        losses = F.cross_entropy(logits, y, reduction=reduction, label_smoothing=label_smoothing)
        return {"loss": weighted_loss(losses, weights), "acc": ((logits.argmax(dim=1) == y).sum(), len(y))}
    losses = F.binary_cross_entropy_with_logits(logits, y.to(logits.dtype), reduction=reduction)
    hits = (logits > 0) == (y > 0.5)  # (B, classes)
    values: dict[str, MetricValue] = {"loss": weighted_loss(losses, weights), "acc": (hits.all(1).sum(), len(y))}
    return values | {"label_acc": (hits.sum(), hits.numel())} if is_multi_label(y) else values


def is_multi_label(y: Tensor) -> bool:
    """Whether targets say of several classes each whether a row is of it."""
    return y.dim() == 2 and y.shape[1] > 1


def probability_of_second(logits: Tensor) -> Tensor:
    """The probability of the second of two classes, ``(B, 1)``, from logits as for ``class_values``.

    As probabilities, since a metric would take logits that happen to lie in 0..1 for some, batch by batch.
    """
    logits = logits.detach().float()
    return (logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]).sigmoid()
