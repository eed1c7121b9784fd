"""benchmark.py: what is compared learns the same, and what it prints and writes."""

import copy
import dataclasses
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import benchmark as benchmark_command
import pytest
import torch
from benchmarks import (
    contenders,
    floor,
    hand_loop,
    ours,
    plain_lightning,
    prepare,
    processes,
    tables,
    workers,
)
from benchmarks.agreement import SAME_ORDER, check
from benchmarks.contenders import EPOCHS
from benchmarks.job import BenchmarkError, Job, environment
from benchmarks.plain import ordinary, widened
from benchmarks.rounds import rotated
from helpers.commands import command
from torch import nn

import lightmodels
from lightmodels.cli.train_flags import parse

HERE = str(Path(__file__).parent)


@pytest.fixture
def benchmark(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *argv: command(capfd, "benchmark", *argv)


def plain(task: str, epochs: int = 3):
    return prepare.plain(Job(task, "", "data"), epochs)


def test_a_run_prints_tables_and_writes_all_rounds(benchmark):
    names = "hand,floor"
    ended = benchmark(
        "--tasks", "linear", "--rounds", 2, "--epochs", 2, "--parts", "loops",
        "--contenders", names, "--json", "out.json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert f"torch {torch.__version__}" in lines[0]
    assert "| seconds an epoch, x floor | linear |" in lines
    (row,) = [line for line in lines if line.startswith("| floor") and "1.00x" in line]
    assert row.count("1.00x") == 1
    report = json.loads(Path("out.json").read_text())
    assert {"cpu", "memory", "python", "torch", "lightning"} <= set(report["machine"])
    assert list(report["loops"]["linear"]) == names.split(",")
    for rounds in report["loops"]["linear"].values():
        assert len(rounds) == 2
        assert all(0 < one["seconds"] < one["whole"] and one["peak_mib"] > 50 for one in rounds)


def test_plain_loops_have_torchs_optimizer_with_the_models_arguments():
    optimizer, options, rates = prepare.optimization(lightmodels.ReutersConv1D(num_words=10, length=12), 10)
    assert optimizer is torch.optim.NAdam
    assert (options["lr"], options["weight_decay"], options["decoupled_weight_decay"]) == (0.012, 0.4, True)
    assert len(rates) == 10
    optimizer([torch.nn.Parameter(torch.ones(2))], **options)


def test_a_worker_tells_its_own_memory():
    ballast = b"." * 2**30
    found = workers.run("ours", Job("linear", "benchmarks.ours", "data"), epochs=2)
    assert 0 < 2 * found["seconds"] < found["whole"]
    assert 200 < found["peak_mib"] < len(ballast) / 2**20


def test_a_loop_that_does_not_reach_the_loss_fails_the_run(benchmark, monkeypatch):
    monkeypatch.setitem(contenders.LOOPS, "hand", "broken_loop")
    monkeypatch.setenv("PYTHONPATH", HERE, prepend=":")
    tiny = ("--tasks", "linear", "--rounds", 1, "--epochs", 1, "--parts", "loops", "--json", "out.json")
    ended = benchmark(*tiny, "--contenders", "floor,hand")
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert "linear: hand ends with val_loss" in line
    assert not Path("out.json").exists()
    monkeypatch.setenv("LOOP_FAILS", "1")
    ended = benchmark(*tiny, "--contenders", "hand")
    assert (ended.code, ended.err) == (1, "benchmark.py: hand on linear: RuntimeError: out of luck\n")


def test_what_is_measured_stays_if_a_later_part_fails(benchmark, monkeypatch):
    monkeypatch.setattr(processes, "imports", lambda: {})
    monkeypatch.setattr(processes, "start_ups", lambda *where: {"first step": ["true"]})
    monkeypatch.setattr(processes, "jobs", lambda *where: {"ours": ["false"]})
    ended = benchmark("--tasks", "linear", "--rounds", 2, "--parts", "startup,jobs", "--json", "out.json")
    assert (ended.code, ended.err) == (1, "benchmark.py: ours: ended without a word\n")
    assert "| first step |" in ended.out
    report = json.loads(Path("out.json").read_text())
    assert len(report["startup"]["first step"]) == 2
    assert "jobs" not in report


@pytest.mark.parametrize(
    "argv",
    [
        ("--tasks", "cifar"),
        ("--contenders", "floor,bare"),
        ("--peers", "pandas"),
        ("--parts", ""),
        ("--rounds", 0),
        ("--epochs", "two"),
        ("--gpus", 2),
        ("--data_dir", "nowhere"),
        ("--json", "nowhere/out.json"),
        ("--fast",),
    ],
)
def test_wrong_input_is_one_line_that_names_the_flag(benchmark, argv):
    ended = benchmark(*argv)
    assert (ended.code, ended.out) == (2, "")
    assert argv[0] in ended.err
    assert len(ended.err.splitlines()) == 1


def test_a_peer_that_is_not_installed_is_refused(benchmark, monkeypatch):
    monkeypatch.setattr("benchmark.find_spec", lambda name: None)
    ended = benchmark("--peers", "skorch", "--tasks", "linear")
    assert ended == (2, "", "benchmark.py: --peers skorch: skorch is not installed\n")


@pytest.mark.parametrize("task", ["linear", "ring"])
def test_the_floor_ends_with_the_weights_of_ours(capfd, tmp_path, task):
    assert command(capfd, "train", "--task", task, "--max_epochs", 3, "--run_dir", tmp_path / "run").code == 0
    trained = lightmodels.load(tmp_path / "run" / "checkpoints" / "last.ckpt")
    made = plain(task)
    marks, loss = floor.train(made, 3)
    assert len(marks) == 4
    expected = [weights for name, weights in trained.named_parameters()]
    torch.testing.assert_close(list(made.net.parameters()), expected, rtol=1e-4, atol=1e-5)
    assert loss == pytest.approx(trained.history[-1]["val_loss"], rel=SAME_ORDER[task])


def test_all_loops_learn_the_same():
    made = plain("ring")
    results = {"ours": ours.train(Job("ring", "", "data"), 3)}
    for name, loop in (("floor", floor), ("hand", hand_loop), ("lightning", plain_lightning)):
        results[name] = loop.train(dataclasses.replace(made, net=copy.deepcopy(made.net)), 3)
    assert all(len(marks) == 4 and marks == sorted(marks) for marks, _ in results.values())
    check("ring", {name: [{"val_loss": loss}] for name, (_, loss) in results.items()}, epochs=2)


def skip_without(peer: str) -> None:
    """Asks without an import: Keras reads its backend then, and JAX does not go with forks."""
    for library in contenders.NEEDED[peer]:
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed")


@pytest.mark.parametrize("peer", list(contenders.PEERS))
def test_a_peer_learns_the_same(peer, tmp_path):
    skip_without(peer)
    file = prepare.write(Job("ring", "", "data", tensors=str(tmp_path / "ring.pt")), 3)
    found = workers.run(peer, contenders.job(peer, "ring", "data", 0, file), epochs=2)
    results = {"floor": [{"val_loss": floor.train(plain("ring"), 3)[1]}], peer: [found]}
    assert 0 < results[peer][0]["seconds"] < results[peer][0]["whole"]
    check("ring", results, epochs=2)


@pytest.mark.parametrize("name", ["mnist", "reuters"])
def test_a_keras_model_is_the_same_net(name):
    skip_without("keras")
    subprocess.run([sys.executable, f"{HERE}/same_keras_net.py", name], env=environment(), check=True)


@pytest.mark.parametrize("loss", [1.2, float("nan")])
def test_another_loss_is_refused(loss):
    with pytest.raises(BenchmarkError, match="ring: hand ends with val_loss"):
        check("ring", {"ours": [{"val_loss": 1.0}], "hand": [{"val_loss": loss}]}, epochs=EPOCHS["ring"])


def test_a_wider_net_is_the_same_net():
    model = lightmodels.ReutersConv1D(num_words=50, length=40).eval()
    x = torch.randint(50, (3, 40))
    plain_net = ordinary(copy.deepcopy(model.net))
    torch.testing.assert_close(widened(plain_net)(x), model(x))
    assert [type(layer) for layer in plain_net[2:5]] == [nn.Conv1d, nn.ReLU, nn.MaxPool1d]


def test_a_plain_script_needs_neither_lightning_nor_lightmodels(tmp_path):
    file = prepare.write(Job("ring", "", "data", tensors=str(tmp_path / "ring.pt")), 1)
    code = (
        "import runpy, sys; sys.argv[1:] = ['benchmarks.floor', sys.argv[1], '1'];"
        "runpy.run_module('benchmarks.script', run_name='__main__');"
        "sys.exit(' '.join({'pytorch_lightning', 'lightmodels'} & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code, file], env=environment(), check=True)


def test_processes_are_timed_to_their_end_or_to_their_first_step(tmp_path):
    file = prepare.write(Job("linear", "", "data", tensors=str(tmp_path / "linear.pt")), 1)
    commands = processes.start_ups("linear", "data", 0, file)
    first_step = commands["linear: plain script to its first step"]
    seconds = processes.run({"first": first_step, "sleep": ["sleep", "0.2"]}, 1, warm_up=False)
    assert 0.2 <= seconds["sleep"][0] < 2
    with pytest.raises(BenchmarkError, match="nothing: ended without a word"):
        processes.timed("nothing", ["false"])


def test_every_flag_of_a_contender_and_of_a_feature_is_one_of_train():
    for flags in (*contenders.ACCELERATED.values(), *contenders.FEATURES.values()):
        parse(["--task", "mnist", *flags])


def test_turns_rotate():
    assert [rotated(["a", "b", "c"], by) for by in (0, 1, 3)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["a", "b", "c"],
    ]


def test_ratios_are_medians_of_the_rounds_ratios():
    text = tables.by_task({"ring": {"ours": [2.0, 6.0, 3.0], "floor": [1.0, 2.0, 3.0]}}, "floor", "seconds")
    assert "| ours, default | 3.00 (2.00 to 6.00), 2.00x |" in text


def test_scale_has_the_training_rows_several_times():
    argv = Job("linear", "", "data").argv
    once, thrice = ours.loaded(1, *argv).splits, ours.loaded(3, *argv).splits
    assert torch.equal(thrice.train[0], torch.cat([once.train[0]] * 3))
    assert torch.equal(thrice.train[1], torch.cat([once.train[1]] * 3))
    assert len(thrice.val[0]) == len(once.val[0])


def test_scale_is_told_beside_one_time_the_rows_and_one_process():
    rows = {
        "rows x 1": [{"seconds": 1.0, "peak_mib": 500.0}],
        "rows x 10": [{"seconds": 8.0, "peak_mib": 510.0}],
    }
    jobs = {"one process": [10.0], "two processes": [15.0]}
    lines = tables.scale({"ring": {"rows": rows, "processes": jobs}}).splitlines()
    assert "| rows x 10 | 8.00 (8.00 to 8.00), 8.00x |" in lines
    assert "| rows x 10 | 510 (510 to 510) |" in lines
    assert "| two processes | 15.00 (15.00 to 15.00), 1.50x |" in lines
    assert "process" not in tables.scale({"ring": {"rows": rows, "processes": {}}})


def test_reuters_has_twice_the_rounds_and_says_so(monkeypatch):
    counts = {}
    monkeypatch.setattr(
        benchmark_command.rounds, "run", lambda jobs, epochs, count: counts.setdefault(epochs, count)
    )
    monkeypatch.setattr(benchmark_command.agreement, "check", lambda *_: None)
    monkeypatch.setattr(benchmark_command, "prepared", lambda *_: "")
    options = benchmark_command.parse(["--tasks", "ring", "--rounds", "3"])
    for task in ("ring", "reuters"):
        benchmark_command.measure_loops(options, task, "", {})
    assert counts == {EPOCHS["ring"]: 3, EPOCHS["reuters"]: 6}
    report = {"machine": {"cpu": "one"}, "rounds": 3}
    assert tables.head(report | {"epochs": {"ring": 100}}).endswith("of 3 interleaved rounds.")
    assert tables.head(report | {"epochs": EPOCHS}).endswith("rounds, of 6 for the epochs of reuters.")


def test_goals_are_told_met_or_missed():
    rounds = {"ours": [1.9, 2.0, 9.0], "accelerated": [0.7, 0.7, 0.7], "floor": [1.0, 1.0, 1.0]}
    results = {name: [{"seconds": one, "val_loss": 1.0} for one in all_of] for name, all_of in rounds.items()}
    report = {"machine": {"cpu": "one"}, "rounds": 3, "epochs": {"ring": 20}, "loops": {"ring": results}}
    lines = tables.section("loops", report).splitlines()
    assert "| must: ours, default | 2.00x of 2.00x, met |" in lines
    assert "| aim: ours, accelerated | 0.70x of 0.60x, missed |" in lines
    assert "goal" not in tables.section("loops", report | {"machine": {"gpu": "one"}})
    assert "goal" not in tables.section("loops", report | {"loops": {"ring": {"floor": results["floor"]}}})
