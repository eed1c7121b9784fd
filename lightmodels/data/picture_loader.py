"""PictureLoader: batches of pictures that worker processes decode."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightmodels.data.picture_files import PictureFiles
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.utils.data_error import DataError


class PictureLoader(TensorLoader):
    """A TensorLoader, with the same batches in the same order, whose images are decoded batch by batch.

    The workers know only numbers of rows; order, position and random changes stay in this process, so that a resumed
    pass goes on as exactly as with images in memory.

    Args:
        files: the pictures.
        targets: one or more tensors, each of shape ``(N, ...)``, that follow the images in a batch.
        num_workers: processes that decode; 0 for this one.
        options: ``batch_size``, ``shuffle`` and ``seed``, as of a TensorLoader.
    """

    def __init__(self, files: PictureFiles, *targets: Tensor, num_workers: int, **options: Any) -> None:
        super().__init__(torch.arange(len(files)), *targets, **options)
        self.files, self.num_workers = files, num_workers

    def _slices(self, epoch: int, first: int) -> Iterator[tuple[Tensor, ...]]:
        parts = list(super()._slices(epoch, first))  # row numbers, then targets
        numbers = [rows.cpu() for rows, *_ in parts]
        # With a generator of its own, it draws nothing from the global one, which dropout uses.
        options: dict[str, Any] = {"num_workers": self.num_workers, "generator": torch.Generator()}
        decoded = DataLoader(_Batches(self.files), batch_size=None, sampler=numbers, **options)
        for images, (rows, *targets) in zip(decoded, parts, strict=True):
            if isinstance(images, DataError):
                raise images
            yield images.to(rows.device), *targets


class _Batches(Dataset[Tensor | DataError]):
    """Whole batches by row numbers; errors are returned, as DataLoader would put a traceback into their messages."""

    def __init__(self, files: PictureFiles) -> None:
        self.files = files

    def __getitem__(self, rows: Tensor) -> Tensor | DataError:
        try:
            return self.files[rows]
        except DataError as error:
            return error
