"""Folders and tables of picture files: their list, their headers, and their pixels, decoded by threads."""

import os
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightmodels.inputs.base import class_name, named
from lightmodels.inputs.pictures import no_huge_pictures, read_header, read_picture
from lightmodels.inputs.table_files import read_frame
from lightmodels.utils.data_error import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")  # some are refused
CHUNK = 64  # pictures that a thread takes at a time
MAX_THREADS = 16


class Listing(NamedTuple):
    """Picture files with their classes."""

    paths: list[str]
    classes: list[Any]  # a name, or a number or boolean, of each picture
    where: str  # that the classes are from, for messages

    def without(self, left_out: Container[str]) -> "Listing":
        """The listing without some paths."""
        kept = [row for row, path in enumerate(self.paths) if path not in left_out]
        return Listing([self.paths[row] for row in kept], [self.classes[row] for row in kept], self.where)

    def labels(self, names: Sequence[str]) -> Tensor:
        """The number of each picture's class among the classes' names; DataError for one that is not among them."""
        number = {name: index for index, name in enumerate(names)}
        found = [class_name(each) for each in self.classes]
        if unknown := sorted(set(found) - set(names)):
            raise DataError(f"{self.where}: class {unknown[0]!r} has no training pictures")
        return torch.tensor([number[name] for name in found])


def list_folder(path: str | Path) -> Listing:
    """The pictures in a folder per class, and in the folders within; sorted, by torchvision's ``ImageFolder`` rules.

    Hidden files, and files with other suffixes, do not count. Raises DataError for a missing folder, one without
    folders, and a class without pictures.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder" if root.exists() else f"{root}: no such folder or table")
    folders = sorted(each.name for each in root.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not folders:
        raise DataError(f"{root} has no folder per class, such as {root / 'cat'}")
    listing = Listing([], [], str(root))
    for name in folders:
        found = sorted(_pictures_in(root / name))
        if not found:
            raise DataError(f"{root / name} has no pictures ({', '.join(SUFFIXES)}): add some, or remove the folder")
        listing.paths.extend(found)
        listing.classes.extend([name] * len(found))
    return listing


def _pictures_in(folder: Path) -> Iterable[str]:
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield str(Path(place, name))


def list_table(path: str | Path, image: str, target: str) -> Listing:
    """The pictures that a table names in a column; relative paths start at the table's folder.

    Raises DataError for a table that cannot be read or lacks a column, and for missing paths, classes and files.
    """
    frame = read_frame(path)
    for name in (image, target):
        if name not in frame.columns:
            raise DataError(f"{path} has no column {name!r}, only {', '.join(map(repr, frame.columns))}")
        if (missing := frame[name].isna()).any():
            raise DataError(f"{path} row {int(missing.argmax()) + 1}: column {name!r} is empty ({missing.sum()} are)")
    paths = [str(Path(path).parent / str(each)) for each in frame[image]]
    if lost := [row for row, each in enumerate(paths, 1) if not Path(each).is_file()]:
        line = f"{path} row {lost[0]}: there is no file {paths[lost[0] - 1]}"
        raise DataError(f"{line} ({len(lost):,} of {len(paths):,} files are missing)")
    return Listing(paths, frame[target].tolist(), f"{path} column {target!r}")


class PictureFiles:
    """Picture files in place of a tensor of their images, uint8 ``(N, channels, side, side)``; indexing decodes."""

    def __init__(self, paths: Sequence[str], channels: int, side: int) -> None:
        self.paths, self.channels, self.side = list(paths), channels, side

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """The images of some rows; raises DataError, with the path, for a file that cannot be read."""
        numbers = torch.arange(len(self))[rows].tolist()
        images = torch.empty((len(numbers), self.channels, self.side, self.side), dtype=torch.uint8)
        with no_huge_pictures():
            for image, path in zip(images, [self.paths[number] for number in numbers], strict=True):
                image.copy_(named(path, read_picture, path, self.channels, self.side))
        return images

    def take(self, rows: Tensor) -> "PictureFiles":
        """The files of some rows."""
        return PictureFiles([self.paths[row] for row in rows.tolist()], self.channels, self.side)

    def check(self, threads: int) -> list[DataError | None]:
        """What is wrong with each file, if anything: each is decoded once."""
        return read_all(lambda path: _drop(read_picture(path, self.channels, self.side)), self.paths, threads)

    def decode(self, threads: int) -> tuple[Tensor, list[DataError | None]]:
        """The images of all files, and what is wrong with each, if anything."""
        images = torch.zeros((len(self), self.channels, self.side, self.side), dtype=torch.uint8)

        def decode_one(job: tuple[int, str]) -> None:
            images[job[0]] = read_picture(job[1], self.channels, self.side)

        return images, read_all(decode_one, list(enumerate(self.paths)), threads)


def read_headers(paths: Sequence[str], threads: int) -> list[Any]:
    """The shorter side of each picture, and whether it is grey; or else the DataError that says what is wrong."""
    return read_all(read_header, paths, threads)


def read_all(read: Callable[[Any], Any], jobs: Sequence[Any], threads: int) -> list[Any]:
    """What ``read`` returns for each job, or the DataError that it raises."""

    def read_chunk(start: int) -> list[Any]:
        return [_result_or_error(read, job) for job in jobs[start : start + CHUNK]]

    with no_huge_pictures(), ThreadPoolExecutor(min(threads, MAX_THREADS)) as pool:  # PIL decodes in parallel
        return [result for part in pool.map(read_chunk, range(0, len(jobs), CHUNK)) for result in part]


def _result_or_error(read: Callable[[Any], Any], job: Any) -> Any:
    try:
        return read(job)
    except DataError as error:
        return error


def _drop(_: Tensor) -> None:
    """Keeps nothing of an image that could be decoded."""
