"""Turns pictures of single digits into images like those of MNIST.

As MNIST was made (LeCun, Cortes and Burges, "The MNIST database"): the ink is scaled to fit a box of
20 x 20 pixels, aspect ratio kept, and placed in 28 x 28 pixels with its center of mass in the middle.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lightmodels.inputs.base import Inputs, Source, named
from lightmodels.utils.data_error import DataError, one_line

Floats = np.ndarray[Any, np.dtype[np.float64]]
SIDE, BOX = 28, 20  # pixels of an image, and of the box that the ink fills
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")  # decoders of rare formats have had the most security holes
MIN_CONTRAST = 1 / 16  # between paper and ink, of the whole range
MIN_INK = 0.15  # of the darkest ink; less is the paper's grain or a JPEG artifact
MAX_GRAIN = 6.0  # times the median deviation of the border from its median is still paper
WHITE = (1.0, 2.0**8 - 1, 2.0**16 - 1, 2.0**32 - 1, math.inf)  # possible maxima of wide pixel formats


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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as file:
                image = ImageOps.exif_transpose(file)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"cannot be read: {one_line(error)}") from error
    except UnidentifiedImageError as error:
        raise DataError("is not an image that can be read (PNG, JPEG, BMP, GIF or WebP)") from error
    except Exception as error:  # damaged bytes can raise anything
        raise DataError(f"is not an image that can be read ({one_line(error)})") from error
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
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        both: Floats = np.asarray(image.convert("RGBA").convert("LA"), dtype=np.float64) / 255
        return both[..., 0], both[..., 1]
    is_wide = image.mode.startswith(("I", "F"))  # 16 bits and more, which convert("L") would cut off
    grey: Floats = np.asarray(image if is_wide else image.convert("L"), dtype=np.float64)
    if not np.isfinite(grey).all():
        raise DataError("is not an image that can be read (it has pixels that are not numbers)")
    white = next(maximum for maximum in WHITE if grey.max() <= maximum) if is_wide else 255.0
    return grey / white, np.ones_like(grey)


def _offset(mass: Floats) -> int:
    """Where to place a row of masses so that its center is in the middle of an image, and all is inside."""
    center = float((mass * np.arange(len(mass))).sum() / mass.sum())
    return min(max(round(SIDE / 2 - center), 0), SIDE - len(mass))
