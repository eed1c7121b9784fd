"""Figures of images: those that a classifier gets wrong, and weights as images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightmodels.plots.style import new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 5
MAX_IMAGES = 20


def worst_images(images: Tensor, true: Tensor, probabilities: Tensor, names: Sequence[str]) -> "Figure":
    """The misclassified images of highest confidence; without any, the images of lowest confidence.

    Images of any range have shape ``(N, channels, height, width)``, true classes ``(N,)``, probabilities
    ``(N, classes)``; ``names`` has one name for each class.
    """
    confidence, predicted = probabilities.float().cpu().max(1)
    wrong = predicted != true.cpu()
    count = int(wrong.sum())
    worst = torch.where(wrong, confidence, -confidence).argsort(descending=True, stable=True)
    shown = worst[: min(MAX_IMAGES, count or MAX_IMAGES)].tolist()
    order = "most confident first" if count else "least confident first"
    title = f"{count:,} of {len(true):,} images misclassified, {order}"
    height = 0.5 + 1.3 * min(1.2, images.shape[2] / images.shape[3])
    figure, grid = new_figure(title, (8.0, 0.6 + height * -(-len(shown) // COLUMNS)), len(shown), COLUMNS)
    for axes, i in zip(grid, shown, strict=True):
        labels = [shorten(names[int(classes[i])], 8) for classes in (true, predicted)]
        axes.imshow(to_rgb(images[i]).numpy())
        axes.set(anchor="N")  # no gap under the caption, which constrained layout would take for its room
        axes.set_axis_off()
        axes.set_title(f"true {labels[0]}\npredicted {labels[1]} ({float(confidence[i]):.2f})", fontsize=8)
    return figure


def image_grid(images: Tensor, title: str) -> "Figure":
    """Up to 20 images of any range, shape ``(N, channels, height, width)``, without captions."""
    shown = images[:MAX_IMAGES]
    figure, grid = new_figure(title, (6.0, 0.6 + 1.2 * -(-len(shown) // COLUMNS)), len(shown), COLUMNS)
    for axes, image in zip(grid, shown, strict=True):
        axes.imshow(to_rgb(image).numpy())
        axes.set_axis_off()
    return figure


def to_rgb(image: Tensor) -> Tensor:
    """An image of any range as ``(height, width, 3)`` in 0..1; other than RGB, its channels' mean in grey."""
    image = image.detach().float().cpu()
    image = image if len(image) == 3 else image.mean(0, keepdim=True).expand(3, -1, -1)
    low, high = image.min(), image.max()
    return ((image - low) / (high - low).clamp_min(1e-12)).permute(1, 2, 0)
