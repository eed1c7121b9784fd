"""PictureLoader: the batches of a TensorLoader over the same images, decoded by workers, and resumed exactly."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightmodels.data.augmentation import random_flip
from lightmodels.data.picture_files import PictureFiles
from lightmodels.data.picture_loader import PictureLoader
from lightmodels.data.tensor_loader import TensorLoader
from lightmodels.utils.data_error import DataError

ROWS = 23
IMAGES = np.random.default_rng(0).integers(0, 256, (ROWS, 4, 4), dtype=np.uint8)


@pytest.fixture
def files():
    for number, image in enumerate(IMAGES):
        Image.fromarray(image).save(f"{number}.png")
    return PictureFiles([f"{number}.png" for number in range(ROWS)], 1, 4)


def loaders(files, num_workers=0, **options):
    """A PictureLoader, and a TensorLoader of the same images."""
    targets = torch.arange(ROWS), torch.rand(ROWS, generator=torch.Generator().manual_seed(0))
    options = {"batch_size": 5, "shuffle": True, "seed": 7} | options
    in_memory = TensorLoader(torch.from_numpy(IMAGES)[:, None], *targets, **options)
    return PictureLoader(files, *targets, num_workers=num_workers, **options), in_memory


def same(ours, theirs):
    ours, theirs = list(ours), list(theirs)
    assert len(ours) == len(theirs) > 0
    return all(torch.equal(a, b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
def test_batches_are_those_of_images_in_memory(files, num_workers, shuffle):
    ours, theirs = loaders(files, num_workers, shuffle=shuffle)
    for _ in range(2):
        assert same(ours, theirs)
    assert torch.equal(ours.row_numbers(1, 2), theirs.row_numbers(1, 2))


@pytest.mark.parametrize(("done", "num_workers"), [(0, 0), (1, 0), (1, 2), (3, 2), (4, 0), (5, 0), (7, 2)])
def test_a_stopped_loader_is_continued_in_the_middle_with_the_same_random_changes(files, done, num_workers):
    ours, whole = loaders(files, num_workers)
    whole.transform = ours.transform = random_flip
    expected = [*whole, *whole]
    seen = [*islice(ours, min(done, 5)), *islice(ours, max(done - 5, 0))]
    again, _ = loaders(files, num_workers)
    again.transform = random_flip
    again.load_state_dict(ours.state_dict())
    assert same([*seen, *again], expected[: 5 if done < 5 else 10])


def test_ranks_share_each_batch(files):
    ranks = [loaders(files)[0] for _ in range(3)]
    for rank, loader in enumerate(ranks):
        loader.shard(rank, 3)
    shares = [[*loader] for loader in ranks]
    joined = [tuple(map(torch.cat, zip(*parts, strict=True))) for parts in zip(*shares, strict=True)]
    assert same(joined, loaders(files)[1])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_pass_draws_no_random_numbers(files, num_workers):
    before = torch.get_rng_state()
    assert len(list(loaders(files, num_workers)[0])) == 5
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_picture_that_is_lost_meanwhile_is_named_in_one_line(files, num_workers):
    Path("3.png").unlink()
    with pytest.raises(DataError, match=r"^3\.png cannot be read: No such file or directory$"):
        list(loaders(files, num_workers)[0])
