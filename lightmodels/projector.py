"""The projector's page of TensorBoard: points of a model, with labels and images, as files of a run."""

import importlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightmodels import png
from lightmodels.plots.images import to_rgb

CONFIG = "projector_config.pbtxt"  # where TensorBoard looks for it
MOST_PIXELS = 8192  # of the sheet's side: TensorBoard shows no larger one
TILE = 64  # pixels of an image's longer side, at most: points are small


@dataclass(frozen=True, eq=False)
class Embedding:
    """Points of a space of many dimensions, which TensorBoard's projector shows in two or three.

    Args:
        vectors: the points, shape ``(N, D)``, finite.
        labels: a label for each point; or several columns of them, by name.
        images: an image for each point, shape ``(N, channels, height, width)``, of any range.

    Raises:
        ValueError: there is no point, or labels or images are not as many.

    Example:
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
            raise ValueError(f"images must have the shape (N, C, H, W), got {tuple(self.images.shape)}")
        parts = {"images": self.images, **{f"labels {name!r}": part for name, part in self.columns.items()}}
        for name, part in parts.items():
            if part is not None and len(part) != len(self.vectors):
                raise ValueError(f"{name} must be as many as the {len(self.vectors)} points, got {len(part)}")

    @property
    def columns(self) -> dict[str, list[str]]:
        """The labels by the name of their column; those of tensors as plain numbers."""
        named = self.labels if isinstance(self.labels, Mapping) else {"label": self.labels}
        plain = {
            name: values.tolist() if isinstance(values, Tensor) else values for name, values in named.items()
        }
        return {str(name): [str(value) for value in values] for name, values in plain.items()}


def is_installed() -> bool:
    """Whether there is a TensorBoard to read the files."""
    try:
        importlib.import_module("tensorboard.plugins.projector.projector_config_pb2")
    except ImportError:
        return False
    return True


def files(embeddings: Mapping[str, Embedding]) -> dict[str, bytes]:
    """All files that the projector needs, by their path in the run's directory; none for no embeddings.

    Raises:
        ValueError: two names that make the same file.
    """
    if not embeddings:
        return {}
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from tensorboard.plugins.projector.projector_config_pb2 import (  # type: ignore[import-untyped]
        ProjectorConfig,
    )

    config = ProjectorConfig()
    made: dict[str, bytes] = {}
    for given, embedding in embeddings.items():
        name = re.sub(r"[^\w .-]", "_", given)  # the page puts it in addresses as it is
        more = _files_of(name, embedding, config.embeddings.add())
        if made.keys() & more.keys():
            raise ValueError(f"{given!r} needs a file of the same name as another one: rename it")
        made.update(more)
    return made | {CONFIG: text_format.MessageToString(config).encode()}


def _files_of(name: str, embedding: Embedding, entry: Any) -> dict[str, bytes]:
    """The files of one embedding, and its entry in the configuration filled in."""
    entry.tensor_name, entry.tensor_path = name, f"projector/{name}.tsv"
    entry.tensor_shape.extend(embedding.vectors.shape)
    entry.metadata_path = f"projector/{name}-labels.tsv"
    made = {entry.tensor_path: _vectors(embedding.vectors), entry.metadata_path: _labels(embedding.columns)}
    if embedding.images is not None:
        sheet, height, width = _sheet(embedding.images)
        entry.sprite.image_path = f"projector/{name}-sprites.png"
        entry.sprite.single_image_dim.extend([width, height])
        made[entry.sprite.image_path] = _png(sheet)
    return made


def _vectors(vectors: Tensor) -> bytes:
    """A line for each point; nine digits give a float32 back to the bit."""
    rows = vectors.detach().float().cpu().tolist()
    return "".join("\t".join(f"{value:.9g}" for value in row) + "\n" for row in rows).encode()


def _labels(columns: Mapping[str, Sequence[str]]) -> bytes:
    """A line for each point, with a header above several columns only: this is TensorBoard's rule."""
    header = [list(columns)] if len(columns) > 1 else []
    rows = [*header, *zip(*columns.values(), strict=True)]
    return "".join("\t".join(map(_in_a_cell, row)) + "\n" for row in rows).encode(errors="replace")


def _in_a_cell(label: str) -> str:
    """A label without tabs and ends of lines; an empty one becomes a dash, as blank lines do not count."""
    return " ".join(label.split()) or "-"


def _sheet(images: Tensor) -> tuple[Tensor, int, int]:
    """The images in a square of equal rows and columns, uint8 ``(side, side, 3)``; their height and width.

    The page takes a point's row from the number of rows, so that there are as many of these as columns.
    """
    columns = math.isqrt(len(images) - 1) + 1
    height, width = images.shape[2:]
    scale = min(1.0, min(TILE, MOST_PIXELS // columns) / max(height, width))
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    small = images.detach().float().cpu()
    small = F.interpolate(small, (height, width), mode="area") if scale < 1 else small
    tiles = torch.zeros(columns**2, height, width, 3, dtype=torch.uint8)
    for place, image in enumerate(small):
        tiles[place] = (to_rgb(image) * 255).round().to(torch.uint8)
    grid = tiles.reshape(columns, columns, height, width, 3)
    grid = grid.transpose(1, 2)  # (rows, height, columns, width, 3)
    return grid.reshape(columns * height, columns * width, 3), height, width


def _png(picture: Tensor) -> bytes:
    """uint8 ``(height, width, 3)`` as the content of a PNG file."""
    from PIL import Image

    content = BytesIO()
    Image.fromarray(picture.numpy()).save(
        content, "PNG", compress_level=3
    )  # smaller and faster than by default
    return content.getvalue()


def write(made: Mapping[str, bytes], directory: Path) -> None:
    """Writes what ``files`` has made over what is there; what names the others, the configuration, last."""
    for path in sorted(made, key=lambda path: path == CONFIG):
        png.write(made[path], directory / path)
