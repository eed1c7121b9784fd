"""Embeddings in TensorBoard's projector."""

import math
import re
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightmodels.core.embedding import Embedding
from lightmodels.plots.images import to_rgb

MAX_SHEET_SIDE = 8192  # pixels of the image that holds all images; TensorBoard shows no larger one
MAX_IMAGE_SIDE = 64  # pixels


def add_embeddings(writer: Any, embeddings: Mapping[str, Embedding], epoch: int) -> None:
    """Writes embeddings with a ``SummaryWriter``, in place of earlier ones with the same names.

    The projector shows the epoch of the weights after the name.

    Raises:
        ValueError: names that differ only in characters that the projector cannot show.
    """
    named = {re.sub(r"[^\w .-]", "_", name): embedding for name, embedding in embeddings.items()}
    if len(named) < len(embeddings):
        raise ValueError(f"embeddings need names that differ in letters or digits, got {list(embeddings)}")
    if config := getattr(writer, "_projector_config", None):  # to which add_embedding can only append
        others = [entry for entry in config.embeddings if entry.tensor_name.rpartition(":")[0] not in named]
        del config.embeddings[:]
        config.embeddings.extend(others)
    for name, embedding in named.items():
        header = [_one_line(column) for column in embedding.columns]
        rows = [[_one_line(label) for label in row] for row in zip(*embedding.columns.values(), strict=True)]
        with redirect_stdout(None):  # where it prints that the directory exists, as after a resume
            writer.add_embedding(
                embedding.vectors.detach().float(),
                metadata=rows if len(header) > 1 else [label for (label,) in rows],
                metadata_header=header if len(header) > 1 else None,  # TensorBoard's rule
                label_img=None if embedding.images is None else _thumbnails(embedding.images),
                global_step=epoch,
                tag=name,
            )


def _one_line(label: str) -> str:
    """A label as TensorBoard's tables can hold it: valid UTF-8 without tabs or line ends, and not empty."""
    return " ".join(label.encode(errors="replace").decode().split()) or "-"


def _thumbnails(images: Tensor) -> Tensor:
    """Square RGB images in 0..1, shape ``(N, 3, side, side)``, as TensorBoard needs them."""
    height, width = images.shape[2:]
    columns = math.isqrt(len(images) - 1) + 1
    side = min(max(height, width), MAX_IMAGE_SIDE, MAX_SHEET_SIDE // columns)
    scale = side / max(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    small = F.interpolate(images.detach().float().cpu(), (height, width), mode="area")
    rgb = torch.stack([to_rgb(image) for image in small]).permute(0, 3, 1, 2)
    return F.pad(rgb, (0, side - width, 0, side - height))
