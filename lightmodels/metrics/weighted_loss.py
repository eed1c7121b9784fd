"""The mean loss of rows that count differently."""

from collections.abc import Sequence

from torch import Tensor


def weighted_loss(losses: Tensor, weights: Sequence[Tensor] = ()) -> Tensor:
    """The mean of ``weight * loss`` over the rows, as in Keras; the plain mean without weights.

    A row of weight 2 counts as if it were there twice, and the sum is divided by the number of rows as they are: so a
    row's part in the gradient does not depend on the others of its batch, and an epoch's loss is the mean over all
    its rows.

    Args:
        losses: one a row, ``(B,)``, or ``(B, ...)``, of which the mean is a row's loss.
        weights: what follows the target in a batch: nothing, or one tensor ``(B,)``.

    Examples:
        >>> import torch
        >>> float(weighted_loss(torch.tensor([1.0, 4.0]), [torch.tensor([2.0, 0.5])]))
        2.0
    """
    if not weights:
        return losses.mean()
    return (losses.flatten(1).mean(1) if losses.dim() > 1 else losses).mul(weights[0].to(losses.dtype)).mean()
