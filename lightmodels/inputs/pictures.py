"""Picture files of any size as images of one size; and the one place where picture files are opened."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lightmodels.inputs.base import Inputs, Source, named
from lightmodels.utils.data_error import DataError, one_line

Floats = np.ndarray[Any, np.dtype[np.float64]]
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")  # decoders of rare formats have had the most security holes
WHITE = (1.0, 2.0**8 - 1, 2.0**16 - 1, 2.0**32 - 1, math.inf)  # possible maxima of wide pixel formats
MAX_SIDE = 4096  # pixels of an image


class Pictures(Inputs):
    """Raw: images as ``read_picture`` makes them, uint8 ``(N, channels, side, side)``; models take them as they are."""

    required: ClassVar[Mapping[str, type]] = {"classes": list, "input_shape": list}

    @classmethod
    def is_valid(cls, info: Mapping[str, Any]) -> bool:
        """Whether images are grey or in color, square, and of a size that fits into memory."""
        shape = info["input_shape"]
        is_whole = len(shape) == 3 and all(type(size) is int for size in shape)
        return is_whole and shape[0] in (1, 3) and 0 < shape[1] == shape[2] <= MAX_SIDE

    def read(self, arguments: Sequence[str]) -> tuple[list[Source], Tensor]:
        """Each argument is a picture file."""
        channels, side, _ = self.info["input_shape"]
        sources = [Source(path) for path in arguments]
        with no_huge_pictures():
            images = [named(source, read_picture, source.argument, channels, side) for source in sources]
        return sources, torch.stack(images)

    def random(self, count: int) -> Tensor:
        """Random pixels."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(256, (count, *self.info["input_shape"]), generator=generator).to(torch.uint8)


def read_picture(path: str | Path, channels: int, side: int) -> Tensor:
    """A picture as an image of ``side`` x ``side`` pixels, uint8 ``(channels, side, side)``.

    Turned upright as its EXIF data say, the shorter side is scaled to ``side`` pixels and the middle of the longer one
    is kept. What is transparent becomes white. Raises DataError, without the path, for a file that is no picture, or a
    damaged one.

    Args:
        path: the file.
        channels: 1 for grey, 3 for color.
        side: height and width in pixels.
    """
    with opened(path) as file:
        file.draft(None, (2 * side, 2 * side))  # large JPEGs are decoded at a half, quarter or eighth of their size
        image = _opaque(ImageOps.exif_transpose(file), "L" if channels == 1 else "RGB")
    if image.size != (side, side):
        short = min(image.size)
        left, top = ((length - short) / 2 for length in image.size)
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=(left, top, left + short, top + short))
    return torch.from_numpy(np.array(image)).reshape(side, side, channels).permute(2, 0, 1)


def read_header(path: str | Path) -> tuple[int, bool]:
    """The shorter side in pixels of a picture that is not decoded, and whether it is grey; DataError as above."""
    with opened(path) as file:
        return min(file.size), file.mode in ("1", "L", "LA", "La") or is_wide(file)


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """A picture file whose header has been read; what goes wrong within is raised as a DataError, without the path."""
    try:
        with Image.open(path, formats=FORMATS) as file:
            yield file
    except DataError:
        raise
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise DataError(f"cannot be read: {one_line(error)}") from error
    except UnidentifiedImageError as error:
        raise DataError("is not an image that can be read (PNG, JPEG, BMP, GIF or WebP)") from error
    except Exception as error:  # too many pixels; and damaged bytes can raise anything
        raise DataError(f"is not an image that can be read ({one_line(error)})") from error


@contextmanager
def no_huge_pictures() -> Iterator[None]:
    """Refuses pictures of more than 89 million pixels by their headers, in all threads: around, never in, threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def is_wide(image: Image.Image) -> bool:
    """Whether pixels have 16 bits and more, of which PIL's conversions would cut some off."""
    return image.mode.startswith(("I", "F"))


def has_alpha(image: Image.Image) -> bool:
    """Whether pixels can be transparent."""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def grey_levels(image: Image.Image) -> Floats:
    """The grey of each pixel, ``(height, width)`` in 0..1, whatever its number of bits."""
    grey: Floats = np.asarray(image if is_wide(image) else image.convert("L"), dtype=np.float64)
    if not np.isfinite(grey).all():
        raise DataError("is not an image that can be read (it has pixels that are not numbers)")
    white = next(maximum for maximum in WHITE if grey.max() <= maximum) if is_wide(image) else 255.0
    return grey / white


def _opaque(image: Image.Image, mode: str) -> Image.Image:
    """The picture in grey or color, on white where it is transparent."""
    if is_wide(image):
        image = Image.fromarray(np.rint(255 * grey_levels(image).clip(0, 1)).astype(np.uint8))
    elif has_alpha(image):
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return image.convert(mode)
