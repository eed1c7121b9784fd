"""Embedding: points of a model for TensorBoard's projector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Embedding:
    """Points in a space of many dimensions, which TensorBoard's projector shows in two or three.

    Args:
        vectors: the points, shape ``(N, D)``, finite.
        labels: a label for each point; or several columns of labels, by name.
        images: an image for each point, shape ``(N, C, H, W)``, with values in any range.

    Raises:
        ValueError: there are no points, or the numbers of labels or images differ from that of the points.

    Examples:
        >>> import torch
        >>> Embedding(torch.eye(2), {"word": ["up", "down"], "kind": ["adverb", "adverb"]}).columns["word"]
        ['up', 'down']
    """

    vectors: Tensor
    labels: Sequence[Any] | Tensor | Mapping[str, Sequence[Any] | Tensor]
    images: Tensor | None = None

    def __post_init__(self) -> None:
        if self.vectors.dim() != 2 or not self.vectors.numel():
            raise ValueError(f"vectors must be points of shape (N, D), got {tuple(self.vectors.shape)}")
        if not self.vectors.isfinite().all():
            raise ValueError("vectors must be finite")
        if not self.columns:
            raise ValueError("labels must have a column")
        if self.images is not None and self.images.dim() != 4:
            raise ValueError(f"images must have shape (N, C, H, W), got {tuple(self.images.shape)}")
        parts = {"images": self.images, **{f"labels {name!r}": part for name, part in self.columns.items()}}
        for name, part in parts.items():
            if part is not None and len(part) != len(self.vectors):
                raise ValueError(f"expected {len(self.vectors)} {name}, one for each point, got {len(part)}")

    @property
    def columns(self) -> dict[str, list[str]]:
        """The labels as text, by the name of their column (``"label"`` if there is only one)."""
        named = self.labels if isinstance(self.labels, Mapping) else {"label": self.labels}
        plain = {name: values.tolist() if isinstance(values, Tensor) else values for name, values in named.items()}
        return {str(name): [str(value) for value in values] for name, values in plain.items()}
