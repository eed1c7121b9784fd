"""TensorLoader against DataLoader, and its order as a pure function of seed and epoch."""

from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightmodels.data import tensor_loader
from lightmodels.data.tensor_loader import TensorLoader

ROWS = torch.arange(103)


def loader(seed=0, **options):
    return TensorLoader(ROWS, **({"batch_size": 10, "shuffle": True, "seed": seed} | options))


def rows(loader):
    return [row for x, *_ in loader for row in x.tolist()]


def rows_of_epoch(epoch, seed=0):
    found = loader(seed)
    found.set_epoch(epoch)
    return rows(found)


def test_unshuffled_batches_equal_those_of_a_data_loader():
    x, y = torch.randn(103, 4), torch.arange(103)
    ours = list(TensorLoader(x, y, batch_size=25))
    theirs = list(DataLoader(TensorDataset(x, y), batch_size=25))
    assert len(ours) == len(theirs) == 5
    for our, their in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(our, their, strict=True))


@pytest.mark.parametrize("shards", [(0, 1), (1, 3)])
def test_large_tensors_give_the_batches_of_small_ones(shards, monkeypatch):
    """Which are shuffled as a whole; also from the middle of an epoch on."""

    def batches():
        found = TensorLoader(ROWS, ROWS * 2, batch_size=10, shuffle=True)
        found.shard(*shards)
        found.load_state_dict({"epoch": 3, "batch": 4})
        return [[part.tolist() for part in batch] for batch in found]

    small = batches()
    monkeypatch.setattr(tensor_loader, "MAX_SHUFFLED_BYTES", 0)
    assert batches() == small
    assert len(small) == 7


def test_shuffling_keeps_rows_together_and_uses_each_once():
    batches = list(TensorLoader(ROWS, ROWS * 2, batch_size=25, shuffle=True))
    assert [len(batch[0]) for batch in batches] == [25, 25, 25, 25, 3]
    assert all(torch.equal(b, a * 2) for a, b in batches)
    order = rows(batches)
    assert sorted(order) == ROWS.tolist() != order


def test_the_order_depends_on_seed_and_epoch_only():
    torch.manual_seed(1)
    first = rows_of_epoch(5, seed=3)
    torch.manual_seed(2)
    assert rows_of_epoch(5, seed=3) == first
    assert len({tuple(rows_of_epoch(epoch, seed)) for seed in range(4) for epoch in range(4)}) == 16


def test_each_pass_is_the_next_epoch_even_after_an_interrupted_one():
    passes = loader()
    for epoch, seen in enumerate([rows(passes), next(iter(passes))[0].tolist(), rows(passes)]):
        assert rows_of_epoch(epoch)[: len(seen)] == seen


@pytest.mark.parametrize("done", [0, 1, 5, 10, 11, 14])
def test_a_loaded_position_is_continued(done):
    expected = [*rows_of_epoch(2), *rows_of_epoch(3)]
    stopped = loader()
    stopped.set_epoch(2)
    seen = rows([*islice(stopped, min(done, 11)), *islice(stopped, max(done - 11, 0))])
    resumed = loader()
    resumed.load_state_dict(stopped.state_dict())
    assert [*seen, *rows(resumed)] == expected[: 103 if done < 11 else 206]


def test_set_epoch_keeps_a_loaded_position_in_the_same_epoch_only():
    for epoch, first in ((4, 30), (5, 0)):
        resumed = loader(shuffle=False)
        resumed.load_state_dict({"epoch": 4, "batch": 3})
        resumed.set_epoch(epoch)
        assert rows(resumed)[0] == first


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_ranks_share_each_global_batch_without_padding(shuffle, world_size):
    ranks = [loader(shuffle=shuffle) for _ in range(world_size)]
    for rank, each in enumerate(ranks):
        each.shard(rank, world_size)
    shares = [list(each) for each in ranks]
    for step, (batch,) in enumerate(loader(shuffle=shuffle)):
        assert torch.equal(torch.cat([batches[step][0] for batches in shares]), batch)
        assert torch.equal(torch.cat([each.row_numbers(0, step) for each in ranks]), batch)
    assert {len(batches) for batches in shares} == {11}


@pytest.mark.parametrize(
    ("tensors", "batch_size", "message"),
    [
        ((), 1, "must be given"),
        ((torch.ones(3), torch.ones(4)), 1, r"lengths \[3, 4\]"),
        ((ROWS,), 0, "batch_size must be at least 1"),
    ],
)
def test_bad_arguments_are_named(tensors, batch_size, message):
    with pytest.raises(ValueError, match=message):
        TensorLoader(*tensors, batch_size=batch_size)
    with pytest.raises(ValueError, match=r"rank must be in 0\.\.1"):
        loader().shard(2, 2)
