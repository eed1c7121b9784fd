"""Folders and tables of picture files: their list, their headers, and their pixels, decoded by threads."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightmodels.data.targets import folder_columns
from lightmodels.inputs.base import named
from lightmodels.inputs.pictures import no_huge_pictures, read_header, read_picture
from lightmodels.inputs.table_files import Names, choose_columns, read_frame
from lightmodels.utils.data_error import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")  # some are refused
CHUNK = 64  # pictures that a thread takes at a time
MAX_THREADS = 16


class Listing(NamedTuple):
    """Picture files, and what else is known of each."""

    paths: list[str]
    columns: Any  # a DataFrame, or of a folder what ``folder_columns`` returns
    where: str  # the file or folder, for messages


def list_folder(path: str | Path, target: Names, others: Mapping[str, Names]) -> Listing:
    """The pictures in a folder per class, and in the folders within; sorted, by torchvision's ``ImageFolder`` rules.

    Hidden files, and files with other suffixes, do not count. Raises DataError for a missing folder, one without
    folders, a class without pictures, and for a column that ``others`` names.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder" if root.exists() else f"{root}: no such folder or table")
    folders = sorted(each.name for each in root.iterdir() if each.is_dir() and not each.name.startswith("."))
    if not folders:
        raise DataError(f"{root} has no folder per class, such as {root / 'cat'}")
    paths, classes = list[str](), list[str]()
    for name in folders:
        found = sorted(_pictures_in(root / name))
        if not found:
            raise DataError(f"{root / name} has no pictures ({', '.join(SUFFIXES)}): add some, or remove the folder")
        paths.extend(found)
        classes.extend([name] * len(found))
    return Listing(paths, folder_columns(classes, target, others, root), str(root))


def _pictures_in(folder: Path) -> Iterable[str]:
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield str(Path(place, name))


def list_table(path: str | Path, image: str, target: Names, others: Mapping[str, Names]) -> Listing:
    """The pictures that a table names in a column; relative paths start at the table's folder.

    Raises DataError for a table that cannot be read or lacks a column, and for missing paths and files.
    """
    frame = read_frame(path)
    for argument, names in {"image": image, "target": target, **others}.items():
        choose_columns(frame, names, argument, path)
    if (missing := frame[image].isna()).any():
        raise DataError(f"{path} row {int(missing.argmax()) + 1}: column {image!r} is empty ({missing.sum()} are)")
    paths = [str(Path(path).parent / str(each)) for each in frame[image]]
    if lost := [row for row, each in enumerate(paths, 1) if not Path(each).is_file()]:
        line = f"{path} row {lost[0]}: there is no file {paths[lost[0] - 1]}"
        raise DataError(f"{line} ({len(lost):,} of {len(paths):,} files are missing)")
    return Listing(paths, frame, str(path))


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
