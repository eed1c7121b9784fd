"""Two processes train, test and predict like one."""

import itertools
import json
from types import SimpleNamespace

import pytest
import torch
from helpers import ROOT, two_processes
from helpers.apart import run_apart
from helpers.checkpoints import TIMES
from torch.utils.data import DataLoader, DistributedSampler

from lightmodels.utils.distributed import (
    LostProcessError,
    drop_sampler_padding,
    explain_lost_processes,
    has_rows,
)

WORKER = ROOT / "tests/helpers/two_processes.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The results of one process, which is this one, and of each of two."""
    directory = tmp_path_factory.mktemp("runs")
    run_apart(WORKER, directory, processes=2, directory=directory)
    one = two_processes.results(1)
    return [one, *(json.loads((directory / f"{rank}.json").read_text()) for rank in range(2))]


def test_two_processes_train_like_one(runs):
    one, *two = (run["ring"] for run in runs)
    for ours in two:
        assert len(ours["history"]) == len(one["history"]) == 3
        for rows in zip(ours["history"], one["history"], strict=True):
            row, expected = ({name: row[name] for name in row if name not in TIMES} for row in rows)
            assert row == pytest.approx(expected, rel=1e-6)
    assert two[0]["weights"] == two[1]["weights"]


def test_few_rows_are_tested_exactly_and_predicted_in_order(runs):
    one, *two = (run["evaluate"] for run in runs)
    assert len(one) == 51
    for ours in two:
        for case, expected in one.items():
            tested = ours[case]["tested"]
            assert tested["test_hits"] == expected["tested"]["test_hits"], case
            assert tested == pytest.approx(expected["tested"], rel=1e-6), case
            if case.startswith("tensors"):
                exact = pytest.approx(expected["tested"]["test_exact"], rel=1e-14)
                assert tested["test_exact"] == exact, case
            predictions = (values.get("predicted", []) for values in (ours[case], expected))
            for row, wanted in zip(*predictions, strict=True):
                assert row == pytest.approx(wanted, rel=1e-5), case


def test_a_fabric_loop_is_bit_identical_to_the_trainer(runs):
    for fabric, fit in ((ours["fabric"], ours["fit"]) for ours in runs):
        assert fabric["weights"] == fit["weights"]
        rows = zip(fabric["history"], fit["history"], strict=True)
        assert all(row.items() <= of_fit.items() and "val_acc" in row for row, of_fit in rows)
    assert runs[1]["fit"]["weights"] == runs[2]["fit"]["weights"]


def test_a_compiled_net_trains_as_the_net_itself_on_two_processes(runs):
    for ours in runs[1:]:
        for name, weights in ours["compiled"]["weights"].items():
            torch.testing.assert_close(torch.tensor(weights), torch.tensor(ours["fit"]["weights"][name]))


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("processes", [2, 3])
def test_no_row_counts_twice_and_every_process_has_as_many_batches(processes, drop_last):
    for rows, size in itertools.product(range(processes, 14), range(1, 5)):
        seen, lengths = [], set()
        for rank in range(processes):
            sampler = DistributedSampler(range(rows), processes, rank, shuffle=False)
            loader = DataLoader(range(rows), size, sampler=sampler, drop_last=drop_last)
            batches = list(drop_sampler_padding(loader))
            trainer = SimpleNamespace(global_rank=rank, world_size=processes)
            lengths.add(len(batches))
            counted = [batch for index, batch in enumerate(batches) if has_rows(batch, index, loader, trainer)]
            seen += [row for batch in counted for row in batch.tolist()]
        assert len(lengths) == 1
        assert len(set(seen)) == len(seen)
        assert drop_last or sorted(seen) == list(range(rows))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("[unbound_buffer.cc:81] Timed out waiting 5000ms for recv operation to complete", "has not answered for 5 s"),
        ("[pair.cc:547] Connection closed by peer [127.0.0.1]:4711", "another process of this run has ended"),
        ("[pair.cc:553] Read error: Connection reset by peer", "another process of this run has ended"),
    ],
)
def test_errors_of_lost_processes_are_explained_and_others_are_not(message, told):
    trainer = SimpleNamespace(world_size=2, global_rank=1, timeout=5, strategy=SimpleNamespace(launcher=None))
    with pytest.raises(LostProcessError, match=told), explain_lost_processes(trainer):
        raise RuntimeError(message)
    with pytest.raises(RuntimeError, match="shapes"), explain_lost_processes(trainer):
        raise RuntimeError("shapes do not match")
