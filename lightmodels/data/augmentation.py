"""Random changes of training images, each image's own, on whole batches."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def random_affine(
    images: Tensor, degrees: float = 10.0, shift: float = 0.1, scale: float = 0.1, outside: str = "zeros"
) -> Tensor:
    """Rotates, shifts and scales each image ``(B, C, H, W)`` at random.

    Args:
        images: float images.
        degrees: largest rotation, in either direction.
        shift: largest shift, as a share of the height and width.
        scale: largest relative change of the size.
        outside: what comes in from outside: ``zeros``, ``border`` pixels, or a ``reflection``.
    """
    count = len(images)
    angle = _uniform(count, degrees * math.pi / 180)
    size = 1 + _uniform(count, scale)
    cos, sin = size * angle.cos(), size * angle.sin()
    x, y = 2 * _uniform(count, shift), 2 * _uniform(count, shift)  # coordinates are in -1..1
    matrix = torch.stack([cos, -sin, x, sin, cos, y], dim=1).reshape(count, 2, 3).to(images)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode=outside, align_corners=False)


def random_flip(images: Tensor) -> Tensor:
    """Mirrors half of the images ``(B, C, H, W)``, left to right, at random."""
    return torch.where(torch.rand(len(images))[:, None, None, None].to(images.device) < 0.5, images.flip(-1), images)


def _uniform(count: int, limit: float) -> Tensor:
    """Numbers between -limit and limit, drawn on the CPU so that all devices get the same ones."""
    return (2 * torch.rand(count) - 1) * limit
