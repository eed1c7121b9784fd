"""Turns pictures of single digits into images like those of MNIST.

As MNIST was made (LeCun, Cortes and Burges, "The MNIST database"): the ink is scaled to fit a box of
20 x 20 pixels, aspect ratio kept, and placed in 28 x 28 pixels with its center of mass in the middle.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lightmodels.inputs.base import Inputs, Source, named
from lightmodels.inputs.pictures import Floats, grey_levels, has_alpha, no_huge_pictures, opened
from lightmodels.utils.data_error import DataError

SIDE, BOX = 28, 20  # pixels of an image, and of the box that the ink fills
MIN_CONTRAST = 1 / 16  # between paper and ink, of the whole range
MIN_INK = 0.15  # of the darkest ink; less is the paper's grain or a JPEG artifact
MAX_GRAIN = 6.0  # times the median deviation of the border from its median is still paper


class Digits(Inputs):
    """Raw: light ink on a dark ground, uint8 ``(N, 28, 28)``, in 0..``scale``."""

    required: ClassVar[Mapping[str, type]] = {"classes": list, "input_shape": list, "scale": int}

    @classmethod
    def is_valid(cls, info: Mapping[str, Any]) -> bool:
        """Whether images have the shape that pictures are turned into."""
        return list(info["input_shape"]) == [1, SIDE, SIDE] and info["scale"] > 0

    def read(self, arguments: Sequence[str]) -> tuple[list[Source], Tensor]:
        """Each argument is a picture of a digit."""
        sources = [Source(path) for path in arguments]
        return sources, torch.stack([named(source, read_digit, source.argument) for source in sources])

    def preprocess(self, raw: Tensor) -> Tensor:
        """Pixels in 0..1, float32 ``(N, 1, 28, 28)``."""
        return torch.div(raw.unsqueeze(1), self.info["scale"])

    def restore(self, x: Tensor) -> Tensor:
        """Pixels as they are in files."""
        return torch.mul(x.squeeze(1), self.info["scale"]).round().to(torch.uint8)

    def random(self, count: int) -> Tensor:
        """Random pixels."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(256, (count, SIDE, SIDE), generator=generator).to(torch.uint8)


def read_digit(path: str | Path) -> Tensor:
    """The digit in a picture of any size, dark on light or light on dark, uint8 ``(28, 28)``.

    Raises DataError if the file is missing, not a picture, or shows no digit.
    """
    with no_huge_pictures(), opened(path) as file:
        image = ImageOps.exif_transpose(file)
    return to_mnist(extract_ink(image))


def extract_ink(image: Image.Image) -> Floats:
    """The amount of ink in each pixel, ``(height, width)`` in 0..1 with a maximum of 1.

    An alpha channel that varies is the ink. Otherwise the border shows the color of the paper, and
    ink is what differs from it, in the direction of the greatest difference. Raises DataError for a
    picture of one color, or with a border as noisy as the rest.
    """
    grey, alpha = _channels(image)
    has_alpha = alpha.max() - alpha.min() >= MIN_CONTRAST
    if not has_alpha and alpha.max() < MIN_CONTRAST:
        raise DataError("shows no digit: it is completely transparent")
    picture = alpha if has_alpha else grey
    border: Floats = np.concatenate([picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]])
    paper = 0.0 if has_alpha else float(np.median(border))
    grain = MAX_GRAIN * float(np.median(np.abs(border - paper)))
    is_darker = paper - picture.min() > picture.max() - paper
    ink: Floats = np.clip(paper - picture if is_darker else picture - paper, 0, None)
    if ink.max() < max(MIN_CONTRAST, grain):
        raise DataError("shows no digit: nothing stands out from its border")
    ink[ink < max(MIN_INK * ink.max(), grain)] = 0
    return ink / float(ink.max())


def to_mnist(ink: Floats) -> Tensor:
    """Scales and centers ink of shape ``(height, width)``: uint8 ``(28, 28)``."""
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = BOX / max(cropped.shape)
    height, width = (max(1, round(scale * size)) for size in cropped.shape)
    resampling = Image.Resampling.BOX if scale <= 1 else Image.Resampling.BICUBIC
    scaled = Image.fromarray(cropped.astype(np.float32)).resize((width, height), resampling)
    small = np.clip(np.asarray(scaled, dtype=np.float64), 0, None)
    image = np.zeros((SIDE, SIDE))
    top, left = (_offset(small.sum(axis=axis)) for axis in (1, 0))
    image[top : top + height, left : left + width] = small / small.max()  # MNIST has full ink somewhere
    return torch.from_numpy(np.rint(255 * image).astype(np.uint8))


def _channels(image: Image.Image) -> tuple[Floats, Floats]:
    """Grey and alpha, each ``(height, width)`` in 0..1; alpha is 1 for pictures without one."""
    if has_alpha(image):
        both: Floats = np.asarray(image.convert("RGBA").convert("LA"), dtype=np.float64) / 255
        return both[..., 0], both[..., 1]
    grey = grey_levels(image)
    return grey, np.ones_like(grey)


def _offset(mass: Floats) -> int:
    """Where to place a row of masses so that its center is in the middle of an image, and all is inside."""
    center = float((mass * np.arange(len(mass))).sum() / mass.sum())
    return min(max(round(SIDE / 2 - center), 0), SIDE - len(mass))
