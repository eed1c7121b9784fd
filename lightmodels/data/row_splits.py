"""Random splits of row numbers: plain, with the same share of each class, or with groups kept together."""

import torch
from torch import Tensor


def split_rows(
    rows: Tensor,
    fraction: float,
    seed: int,
    labels: Tensor | None = None,
    groups: Tensor | None = None,
    argument: str = "val_fraction",
) -> tuple[Tensor, Tensor]:
    """Splits row numbers ``(N,)`` at random into ``(kept, held_out)``, about ``fraction * N`` of them held out.

    Args:
        rows: row numbers, in any order.
        fraction: share to hold out, between 0 and 1.
        seed: decides the split, together with ``rows``.
        labels: the class of each row of the whole data, int64 ``(all rows,)``: every class is split by ``fraction``,
            and one of at least two rows has some on either side.
        groups: the group of each row of the whole data, int64 ``(all rows,)``: no group is on both sides.
        argument: name of the argument that has the fraction, with which an error begins.

    Raises:
        ValueError: a fraction that leaves either part without rows, or fewer than two groups.
    """
    order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
    if groups is not None:
        held = _of_groups(groups[order], fraction)
    elif labels is not None:
        held = _of_classes(labels[order], fraction)
    else:
        held = torch.arange(len(order)) >= len(order) - round(fraction * len(order))
    if held.all() or not held.any():
        raise ValueError(f"{argument} must leave rows for both parts, got {fraction} of {len(rows)} rows")
    return order[~held], order[held]


def _of_classes(labels: Tensor, fraction: float) -> Tensor:
    """Whether each row is held out: the last ones of each class, rounded so that the total fits too."""
    held = torch.zeros(len(labels), dtype=torch.bool)
    owed = 0.0  # rows that rounding has left out so far
    for label in labels.unique().tolist():  # type: ignore[no-untyped-call]
        places = (labels == label).nonzero().flatten()
        wanted = fraction * len(places) + owed
        count = min(max(round(wanted), int(len(places) > 1)), max(len(places) - 1, 0))
        owed = wanted - count
        held[places[len(places) - count :]] = True
    return held


def _of_groups(groups: Tensor, fraction: float) -> Tensor:
    """Whether each row is held out: whole groups, in the order of their first rows, until there are enough."""
    found, numbers = groups.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    if len(found) < 2:
        raise ValueError("group: all rows are of one group, which cannot be split")
    first = torch.full((len(found),), len(groups)).scatter_reduce(0, numbers, torch.arange(len(groups)), "amin")
    order = first.argsort()  # random, as the rows are
    sizes = torch.bincount(numbers)[order]
    wanted = fraction * len(groups)
    before = sizes.cumsum(0) - sizes
    chosen = before + sizes / 2 < wanted
    chosen[0], chosen[-1] = True, False
    return torch.isin(numbers, order[chosen])
