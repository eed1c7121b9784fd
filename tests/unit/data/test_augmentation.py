"""Random changes of images, each its own, and the same after a resume."""

import torch

from lightmodels.data.augmentation import random_affine, random_flip
from lightmodels.data.tensor_loader import TensorLoader


def test_no_change_is_the_image_itself():
    images = torch.rand(4, 3, 9, 8)
    torch.testing.assert_close(random_affine(images, 0.0, 0.0, 0.0), images)


def test_a_quarter_turn_is_that_of_torch():
    images = torch.rand(64, 1, 8, 8)
    turned = random_affine(images, 180.0, 0.0, 0.0)
    torch.manual_seed(0)
    assert not torch.allclose(turned, images)  # each by an angle of its own
    square = torch.zeros(1, 1, 8, 8)
    square[..., 3:5, 3:5] = 1.0
    for _ in range(5):  # what is round stays in the middle
        middle = random_affine(square, 180.0, 0.0, 0.0)
        torch.testing.assert_close(middle.sum(), square.sum(), rtol=0.1, atol=0)


def test_shifts_are_shares_of_the_size():
    torch.manual_seed(0)
    image = torch.zeros(200, 1, 20, 20)
    image[..., 9:11, 9:11] = 1.0
    places = torch.arange(20.0)
    for axis in (2, 3):
        moved = random_affine(image, 0.0, 0.25, 0.0)
        mass = moved.sum(5 - axis)[:, 0]  # along the axis
        center = (mass * places).sum(1) / mass.sum(1) - 9.5
        assert 4.5 < center.abs().max() <= 5.001
        assert center.std() > 2


def test_half_of_the_images_are_mirrored():
    torch.manual_seed(0)
    images = torch.arange(4.0).expand(100, 1, 4, 4)
    flipped = (random_flip(images) != images).flatten(1).any(1)
    assert 35 < flipped.sum() < 65


def batches(loader):
    return [x for x, _ in loader]


def loader(**changes):
    made = TensorLoader(torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.arange(10),
                        **{"batch_size": 3, "shuffle": True} | changes)  # fmt: skip
    made.transform = random_affine
    return made


def test_a_resumed_loader_changes_images_as_it_would_have():
    whole = loader()
    expected = batches(whole) + batches(whole)
    first = loader()
    passing = iter(first)
    got = [next(passing)[0], next(passing)[0]]
    state = first.state_dict()
    next(passing)  # loaded ahead, and lost
    again = loader()
    again.load_state_dict(state)
    torch.manual_seed(123)
    got += batches(again) + batches(again)
    assert all(map(torch.equal, got, expected))
    assert not torch.equal(expected[0], expected[4])


def test_random_numbers_of_the_training_stay_as_they_are():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    batches(loader())
    assert torch.equal(torch.rand(3), expected)
    assert not any(map(torch.equal, batches(loader(seed=0)), batches(loader(seed=1))))
