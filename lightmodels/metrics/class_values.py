"""Loss and accuracy of a classifier's logits, whether it has one for two classes or one for each class."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from lightmodels.metrics.epoch_means import MetricValue
from lightmodels.metrics.weighted_loss import weighted_loss


def class_values(
    logits: Tensor, y: Tensor, weights: Sequence[Tensor] = (), label_smoothing: float = 0.0
) -> dict[str, MetricValue]:
    """``loss``, cross-entropy, and ``acc``, which weights do not change.

    Args:
        logits: ``(B, classes)``, or that of the second of two classes, ``(B, 1)``.
        y: classes, int64 ``(B,)``; with one logit also ``(B, 1)``, 0.0 or 1.0.
        weights: what follows the target in a batch: nothing, or one tensor ``(B,)``.
        label_smoothing: share of the target spread over all classes, where there is a logit for each.
    """
    reduction = "none" if weights else "mean"
    if logits.shape[1] == 1:
        y = y.reshape(-1, 1).to(logits.dtype)
        losses, hits = F.binary_cross_entropy_with_logits(logits, y, reduction=reduction), (logits > 0) == (y > 0.5)
    else:
        losses = F.cross_entropy(logits, y, reduction=reduction, label_smoothing=label_smoothing)
        hits = logits.argmax(dim=1) == y
    return {"loss": weighted_loss(losses, weights), "acc": (hits.sum(), len(y))}


def probability_of_second(logits: Tensor) -> Tensor:
    """The probability of the second of two classes, ``(B, 1)``, from logits as for ``class_values``.

    As probabilities, since a metric would take logits that happen to lie in 0..1 for some, batch by batch.
    """
    logits = logits.detach().float()
    return (logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]).sigmoid()
