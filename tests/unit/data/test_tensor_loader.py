"""TensorLoader against DataLoader, and its order as a pure function of seed and epoch."""

from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightmodels.data.tensor_loader import TensorLoader

ROWS = torch.arange(103)


def rows(loader):
    return torch.cat([x for x, *_ in loader]).tolist()


def test_unshuffled_batches_are_those_of_a_data_loader():
    x, y = torch.randn(103, 4), torch.arange(103)
    ours = list(TensorLoader(x, y, batch_size=25))
    theirs = list(DataLoader(TensorDataset(x, y), batch_size=25))
    assert len(ours) == len(theirs) == 5
    for our, their in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(our, their, strict=True))


def test_shuffled_rows_come_once_each_and_stay_together():
    x = torch.arange(103)
    loader = TensorLoader(x, x * 2, batch_size=25, shuffle=True)
    batches = list(loader)
    assert [len(batch[0]) for batch in batches] == [25, 25, 25, 25, 3]
    assert all(torch.equal(b, a * 2) for a, b in batches)
    order = torch.cat([a for a, _ in batches]).tolist()
    assert sorted(order) == list(range(103))
    assert order != list(range(103))


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        loader = TensorLoader(ROWS, batch_size=10, shuffle=True, seed=seed)
        loader.set_epoch(epoch)
        return rows(loader)

    torch.manual_seed(1)
    first = order(3, 5)
    torch.manual_seed(2)
    assert order(3, 5) == first
    assert len({tuple(order(seed, epoch)) for seed in range(4) for epoch in range(4)}) == 16


def test_each_pass_is_the_next_epoch_even_after_a_broken_one():
    loader = TensorLoader(ROWS, batch_size=10, shuffle=True)
    passes = [rows(loader), next(iter(loader))[0].tolist(), rows(loader)]
    for epoch, seen in enumerate(passes):
        loader.set_epoch(epoch)
        assert rows(loader)[: len(seen)] == seen


@pytest.mark.parametrize("done", [0, 1, 5, 10, 11])
def test_a_position_goes_on_where_it_was(done):
    whole = TensorLoader(ROWS, batch_size=10, shuffle=True, seed=7)
    whole.set_epoch(2)
    expected = [*whole, *whole]
    loader = TensorLoader(ROWS, batch_size=10, shuffle=True, seed=7)
    loader.set_epoch(2)
    list(islice(loader, done))
    resumed = TensorLoader(ROWS, batch_size=10, shuffle=True, seed=7)
    resumed.load_state_dict(loader.state_dict() if done else {"epoch": 2, "batch": 0})
    rest = [*resumed] if done in (0, 11) else [*resumed, *resumed]
    for got, wanted in zip(rest, expected[done:], strict=False):
        assert torch.equal(got[0], wanted[0])
    assert len(rest) == (11 if done in (0, 11) else 22 - done)


def test_a_loaded_position_survives_set_epoch_of_its_own_epoch_only():
    loader = TensorLoader(ROWS, batch_size=10)
    loader.load_state_dict({"epoch": 4, "batch": 3})
    loader.set_epoch(4)
    assert rows(loader)[0] == 30
    loader.load_state_dict({"epoch": 4, "batch": 3})
    loader.set_epoch(5)
    assert rows(loader)[0] == 0


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_ranks_share_each_global_batch_without_padding(shuffle, world_size):
    one = list(TensorLoader(ROWS, batch_size=10, shuffle=shuffle))
    ranks = [
        list(TensorLoader(ROWS, batch_size=10, shuffle=shuffle, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert all(len(batches) == len(one) for batches in ranks)
    for step, (batch,) in enumerate(one):
        assert torch.equal(torch.cat([batches[step][0] for batches in ranks]), batch)


def test_drop_last_leaves_out_the_batch_that_is_not_full():
    loader = TensorLoader(ROWS, batch_size=10, drop_last=True)
    assert len(loader) == len(list(loader)) == 10


@pytest.mark.parametrize(
    ("tensors", "options", "message"),
    [
        ((), {"batch_size": 1}, "must be given"),
        ((torch.ones(3), torch.ones(4)), {"batch_size": 1}, r"lengths \[3, 4\]"),
        ((ROWS,), {"batch_size": 0}, "batch_size must be at least 1"),
        ((ROWS,), {"batch_size": 1, "rank": 2, "world_size": 2}, r"rank must be in 0\.\.1"),
    ],
)
def test_bad_arguments_are_named(tensors, options, message):
    with pytest.raises(ValueError, match=message):
        TensorLoader(*tensors, **options)
