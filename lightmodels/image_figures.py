"""Figures of images: those that a classifier gets wrong, and the filters of its first layer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightmodels import layout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, ROWS = 6, 4
CAPTION = 0.45  # height of the two lines under an image, as a share of the image's height
MOST_FILTERS = 64


def worst_images(images: Tensor, true: Tensor, probabilities: Tensor, names: Sequence[str]) -> "Figure":
    """The images that are wrong with most confidence, with both labels; if none is, the least sure.

    Args:
        images: shape ``(N, channels, height, width)``, of any range.
        true: classes, shape ``(N,)``.
        probabilities: of the classes, shape ``(N, classes)``.
        names: of the classes.
    """
    true, probabilities = true.cpu(), probabilities.float().cpu()
    sure, predicted = probabilities.max(1)
    wrong = predicted != true
    count = int(wrong.sum())
    worst = torch.where(wrong, sure + 1, -sure).argsort(descending=True, stable=True)
    shown = worst[: min(COLUMNS * ROWS, count or COLUMNS * ROWS)].tolist()
    captions = [
        f"true {_brief(names[int(true[i])])}\nsaid {_brief(names[int(predicted[i])])}, p {float(sure[i]):.2f}"
        for i in shown
    ]
    which = "the most confident first" if count else "here the least confident"
    title = f"{count:,} of {len(true):,} images are wrong, {which}"
    return _captioned(torch.stack([as_picture(images[i]) for i in shown]), captions, title)


def _captioned(pictures: Tensor, captions: Sequence[str], title: str) -> "Figure":
    """Pictures of shape ``(N, height, width, 3)``, each with the text that belongs under it."""
    from matplotlib.figure import Figure

    height, width = pictures.shape[1:3]
    down, across = round((1 + CAPTION) * height), width + max(1, width // 6)
    rows = -(-len(pictures) // COLUMNS)
    figure = Figure(figsize=(7.2, 0.6 + 7.0 * rows * down / (COLUMNS * across)))
    axes = figure.add_subplot()
    axes.imshow(mosaic(pictures, COLUMNS, down, across, fill=1.0)[:, : -max(1, width // 6)].numpy())
    for place, caption in enumerate(captions):
        row, column = divmod(place, COLUMNS)
        middle = column * across + (width - 1) / 2
        axes.text(middle, row * down + height, caption, ha="center", va="top", fontsize=8)
    axes.set_axis_off()
    axes.set_title(title)
    longest = max(len(line) for caption in captions for line in caption.split("\n"))
    pictured = 7.2 * width / (COLUMNS * across)  # inches, of which a letter takes two thirds of its height
    layout.fit(figure, sides=max(0.0, longest * 0.66 * 8 / 72 - pictured) / 2)
    return figure


def _brief(name: str) -> str:
    return (name if len(name) <= 8 else f"{name[:7]}…").replace("$", r"\$")


def as_picture(image: Tensor) -> Tensor:
    """An image of any range as ``(height, width, 3)`` in 0..1; other than RGB, its channels' mean in grey."""
    image = image.detach().float().cpu()
    image = image if len(image) == 3 else image.mean(0, keepdim=True).expand(3, -1, -1)
    low, high = image.min(), image.max()
    return ((image - low) / (high - low).clamp_min(1e-12)).permute(1, 2, 0)


def mosaic(tiles: Tensor, columns: int, pitch: int, width: int, fill: float) -> Tensor:
    """Tiles of shape ``(N, height, width, …)`` on one sheet, as one image is drawn faster than many.

    Args:
        tiles: the tiles.
        columns: tiles in a row.
        pitch: from the top of a tile to that of the next below, in pixels.
        width: from the left of a tile to that of the next, in pixels.
        fill: value between them.
    """
    rows = -(-len(tiles) // columns)
    sheet = torch.full((rows * pitch, columns * width, *tiles.shape[3:]), fill)
    for place, tile in enumerate(tiles):
        top, left = place // columns * pitch, place % columns * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def first_filters(weight: Tensor) -> "Figure":
    """The kernels of a convolution, negative weights in orange, positive ones in purple.

    Args:
        weight: shape ``(filters, channels, height, width)``; of several channels, their mean is drawn.
    """
    from matplotlib.figure import Figure

    kernels = weight.detach().float().cpu()[:MOST_FILTERS].mean(1)
    columns = min(8, len(kernels))
    sheet = mosaic(kernels, columns, kernels.shape[1] + 1, kernels.shape[2] + 1, fill=float("nan"))[:-1, :-1]
    figure = Figure(figsize=(7.0, 1.0 + 5.4 * sheet.shape[0] / sheet.shape[1]))
    axes = figure.add_subplot()
    limit = float(kernels.abs().max()) or 1.0
    image = axes.imshow(sheet.numpy(), cmap="PuOr", vmin=-limit, vmax=limit)
    layout.colour_bar(axes, image, "weight")
    axes.set_axis_off()
    axes.set_title(f"The {len(kernels)} filters of the first layer")
    layout.fit(figure)
    return figure
