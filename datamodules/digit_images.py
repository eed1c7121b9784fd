"""Pictures of single digits, made into images as MNIST's are; pure, but for reading the file.

The way of MNIST's makers (LeCun, Cortes and Burges, "The MNIST database"): the ink is scaled to fit a
box of 20 x 20, aspect ratio kept, and placed in 28 x 28 with its centre of mass in the middle.
"""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lightmodels.data.remote_files import DataError, reason

Floats = np.ndarray[Any, np.dtype[np.float64]]
SIDE, BOX = 28, 20  # pixels of an image and of the box that the ink fills
LEAST_CONTRAST = 1 / 16  # between paper and ink, of the whole range; less is an even colour
LEAST_INK = 0.15  # of the darkest ink; below it is the paper's grain or a JPEG's ripple
FULL = (1.0, 2.0**8 - 1, 2.0**16 - 1, 2.0**32 - 1, math.inf)  # what white may be in pictures of wide numbers
GRAIN = 6.0  # times the median deviation of the border is still paper


def read_digit(path: str | Path) -> Tensor:
    """The digit in a picture of any size, dark on light or light on dark, uint8 ``(28, 28)``.

    Raises:
        DataError: no such file, not a picture, or one without a digit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                ink = ink_of(ImageOps.exif_transpose(image))
    except DataError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"cannot be read: {reason(error)}") from error
    except UnidentifiedImageError as error:
        raise DataError("is not an image") from error
    except Exception as error:  # bytes that are not what they should be can raise anything
        raise DataError(f"is not an image that can be read ({reason(error)})") from error
    return as_mnist(ink)


def ink_of(image: Image.Image) -> Floats:
    """How much ink is where, ``(height, width)`` in 0..1 with 1 at the most.

    An alpha channel that varies is the ink. Without one, the border tells the colour of the paper,
    and ink is what differs from it, to the side on which the greatest difference is.

    Raises:
        DataError: the picture has one colour, or a border as restless as the rest.
    """
    grey, alpha = _channels(image)
    drawn_on_nothing = alpha.max() - alpha.min() >= LEAST_CONTRAST
    if not drawn_on_nothing and alpha.max() < LEAST_CONTRAST:
        raise DataError("shows no digit: it is transparent all over")
    picture = alpha if drawn_on_nothing else grey
    edges = [picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]]
    border: Floats = np.concatenate(edges)
    paper = 0.0 if drawn_on_nothing else float(np.median(border))
    grain = GRAIN * float(np.median(np.abs(border - paper)))
    darker = paper - picture.min() > picture.max() - paper
    ink: Floats = np.clip(paper - picture if darker else picture - paper, 0, None)
    if ink.max() < max(LEAST_CONTRAST, grain):
        raise DataError("shows no digit: nothing stands out from its border")
    ink[ink < max(LEAST_INK * ink.max(), grain)] = 0
    return ink / float(ink.max())


def as_mnist(ink: Floats) -> Tensor:
    """Ink of shape ``(height, width)`` as an image of MNIST's kind, uint8 ``(28, 28)``."""
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = BOX / max(cropped.shape)
    height, width = (max(1, round(scale * size)) for size in cropped.shape)
    filter_ = Image.Resampling.BOX if scale <= 1 else Image.Resampling.BICUBIC
    scaled = Image.fromarray(cropped.astype(np.float32)).resize((width, height), filter_)
    small = np.clip(np.asarray(scaled, dtype=np.float64), 0, None)
    image = np.zeros((SIDE, SIDE))
    top, left = (_offset(small.sum(axis=axis)) for axis in (1, 0))
    image[top : top + height, left : left + width] = small / small.max()  # MNIST's ink is full somewhere
    return torch.from_numpy(np.rint(255 * image).astype(np.uint8))


def _channels(image: Image.Image) -> tuple[Floats, Floats]:
    """Grey and alpha, each ``(height, width)`` in 0..1; alpha is 1 where a picture has none."""
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        both: Floats = np.asarray(image.convert("RGBA").convert("LA"), dtype=np.float64) / 255
        return both[..., 0], both[..., 1]
    wide = image.mode.startswith(("I", "F"))  # 16 bits and more, which convert("L") would cut off
    grey: Floats = np.asarray(image if wide else image.convert("L"), dtype=np.float64)
    if not np.isfinite(grey).all():
        raise DataError("is not an image that can be read (it has pixels that are not numbers)")
    full = next(top for top in FULL if grey.max() <= top) if wide else 255.0
    return grey / full, np.ones_like(grey)


def _offset(mass: Floats) -> int:
    """Where a row of masses begins so that its centre is in the middle of an image, and all is inside."""
    centre = float((mass * np.arange(len(mass))).sum() / mass.sum())
    return min(max(round(SIDE / 2 - centre), 0), SIDE - len(mass))
