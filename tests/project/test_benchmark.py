"""benchmark.py: the loops learn the same, processes are measured, and the report is right."""

import copy
import importlib
import multiprocessing
import runpy
import sys
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path

import benchmark as benchmark_command
import pytest
import torch
from benchmarks import contenders, lightning_loops, phases, plain, processes, report
from benchmarks.contenders import CONTENDERS, EPOCHS, check_losses
from helpers import ROOT
from helpers.commands import command, error_line, read_json
from torch import nn

import lightmodels
from lightmodels.cli.train_flags import parse


@pytest.fixture
def benchmark(capfd):
    return lambda *argv: command(capfd, "benchmark", *argv)


def flags(task: str, epochs: int = 3) -> list[str]:
    return ["--task", task, "--max_epochs", str(epochs), "--gpus", "0"]


def test_a_run_prints_tables_and_saves_what_each_process_measured(benchmark):
    ballast = b"." * 2**30  # of this process; not of the memory of others
    argv = ("--tasks", "linear", "--rounds", 1, "--epochs", 2, "--parts", "loops")
    ended = benchmark(*argv, "--contenders", "default,floor", "--json", "out.json")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert f"torch {torch.__version__}" in lines[0]
    assert "| seconds per epoch, x floor | linear |" in lines
    assert sum(line.startswith("| floor |") and line.endswith(", 1.00x |") for line in lines) == 1
    figures = read_json("out.json")
    assert {"cpu", "memory", "python", "torch", "pytorch-lightning"} <= set(figures["machine"])
    assert list(figures["loops"]["linear"]) == ["default", "floor"]
    for measured in figures["loops"]["linear"].values():
        assert 0 < 2 * measured["epoch_seconds"][0] < measured["seconds"][0]
        assert 200 < measured["peak_mib"][0] < len(ballast) / 2**20


@pytest.mark.parametrize("loss", [1.2, float("nan")])
def test_a_loop_with_another_loss_fails_the_run(benchmark, monkeypatch, loss):
    measured = {"linear: floor": {"val_loss": 1.0}, "linear: hand": {"val_loss": loss}}
    monkeypatch.setattr(processes, "measure", lambda name, command: measured[name])
    small = ("--tasks", "linear", "--contenders", "floor,hand", "--rounds", 1, "--epochs", 1, "--parts", "loops")
    told = error_line(benchmark(*small, "--json", "out.json"), 1, silent=False)
    assert told.startswith(f"benchmark.py: linear: hand ends with val_loss {loss}")
    assert not Path("out.json").exists()


@pytest.mark.parametrize(("code", "line"), [("exit(3)", "exit code 3"), ("raise OSError('no')", "OSError: no")])
def test_figures_of_earlier_parts_are_kept_if_a_later_part_fails(benchmark, monkeypatch, code, line):
    startup = {"first step": {"seconds": [1.0, 2.0]}}
    monkeypatch.setattr(benchmark_command, "make_commands", lambda *_: {"default": [sys.executable, "-c", code]})
    monkeypatch.setitem(benchmark_command.PARTS, "startup", lambda options: startup)
    ended = benchmark("--tasks", "linear", "--parts", "startup,jobs", "--json", "out.json")
    assert (ended.code, ended.err) == (1, f"benchmark.py: linear: default: {line}\n")
    assert "| first step | 1.50 (1.00 to 2.00) |" in ended.out
    figures = read_json("out.json")
    assert (figures["startup"], figures.get("jobs")) == (startup, None)


@pytest.mark.parametrize("in_terminal", [True, False])
def test_a_terminal_shows_what_is_measured(monkeypatch, capsys, in_terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: in_terminal)
    monkeypatch.setattr(processes, "measure", lambda name, command: {"seconds": 1.0})
    processes.interleave({"floor": []}, rounds=2, warm_up=1, prefix="ring: ")
    lines = ["ring: warm-up", "ring: floor, round 1 of 2", "ring: floor, round 2 of 2", ""]
    assert capsys.readouterr().err == "".join(f"\r\033[K{line}" for line in lines if in_terminal)


WRONG = (
    "--tasks cifar; --contenders floor,bare; --peers pandas; --peers skorch; --parts ,; --rounds 0; --epochs two; "
    "--gpus 2; --data_dir nowhere; --json nowhere/out.json; --fast"
)


@pytest.mark.parametrize("argv", WRONG.split("; "))
def test_wrong_input_is_one_line_that_names_the_flag(benchmark, monkeypatch, argv):
    monkeypatch.setattr(benchmark_command, "find_spec", lambda name: None)
    told = error_line(benchmark(*argv.split()))
    assert argv.split()[0] in told
    assert ("--peers skorch: skorch is not installed" in told) == (argv == "--peers skorch")


def test_plain_loops_use_the_optimizer_of_torch_with_the_arguments_of_the_model():
    model = lightmodels.ReutersConv1D(num_words=10, length=12)
    optimizer, learning_rates = lightning_loops.optimizer_and_rates(model, 10)
    arguments = optimizer([nn.Parameter(torch.ones(2))]).defaults
    assert optimizer.func is torch.optim.NAdam
    assert (arguments["lr"], arguments["weight_decay"]) == (0.012, 0.4)
    assert arguments["decoupled_weight_decay"]
    assert len(learning_rates) == 11


@pytest.mark.parametrize("task", ["linear", "ring"])
def test_the_floor_ends_with_the_weights_of_train(capfd, tmp_path, task):
    assert command(capfd, "train", *flags(task), "--run_dir", tmp_path / "run").code == 0
    trained = lightmodels.load(tmp_path / "run" / "checkpoints" / "last.ckpt")
    plain_task = lightning_loops.make_plain_task(flags(task))
    _, loss = plain.train_floor(plain_task)
    weights = list(plain_task.net.parameters())
    torch.testing.assert_close(weights, list(trained.parameters()), rtol=1e-4, atol=1e-5)
    assert loss == pytest.approx(trained.history[-1]["val_loss"], rel=contenders.SAME_ORDER_TOLERANCE[task])


def test_all_loops_learn_the_same():
    task = lightning_loops.make_plain_task(flags("ring"))
    loops = plain.train_floor, plain.train_by_hand, lightning_loops.train_plain_lightning
    runs = [lightning_loops.train_command(flags("ring")), *(loop(copy.deepcopy(task)) for loop in loops)]
    assert all(len(marks) == 4 and marks == sorted(marks) for marks, _ in runs)
    losses = {name: loss for name, (_, loss) in zip(("default", "floor", "hand", "lightning"), runs, strict=True)}
    check_losses("ring", {name: {"val_loss": [loss]} for name, loss in losses.items()}, epochs=2)


def skip_without(peer: str) -> None:
    """Does not import it, as Keras would read its backend then, and JAX does not allow forks."""
    if missing := [package for package in CONTENDERS[peer].requires if find_spec(package) is None]:
        pytest.skip(f"{missing[0]} is not installed")


@pytest.mark.parametrize("peer", ["skorch", "torchkeras", "keras"])
def test_a_peer_learns_the_same(peer, tmp_path):
    skip_without(peer)
    task = lightning_loops.make_plain_task(flags("ring"))
    torch.save(task, tmp_path / "ring.pt")
    worker = [*processes.WORKER, "train", CONTENDERS[peer].loop, str(tmp_path / "ring.pt")]
    measured = processes.measure(peer, worker)
    assert 0 < 2 * measured["epoch_seconds"] < measured["seconds"]
    losses = {"floor": plain.train_floor(task)[1], "peer": measured["val_loss"]}
    check_losses("ring", {name: {"val_loss": [loss]} for name, loss in losses.items()}, epochs=2)


@pytest.mark.parametrize("task", ["mnist", "reuters"])
def test_the_keras_model_is_the_same_net(task):
    skip_without("keras")
    processes.measure("keras", [sys.executable, str(ROOT / "tests/helpers/same_keras_net.py"), task])


def test_the_tutorial_net_and_the_channels_last_net_are_the_same_net():
    model = lightmodels.ReutersConv1D(num_words=50, length=40).eval()
    x = torch.randint(50, (3, 40))
    net = plain.tutorial_net(copy.deepcopy(model.net))
    torch.testing.assert_close(net(x), model(x))
    torch.testing.assert_close(plain.channels_last_net(net)(x), model(x))
    assert [type(layer) for layer in net[2:5]] == [nn.Conv1d, nn.ReLU, nn.MaxPool1d]


@pytest.mark.parametrize("net", [lightmodels.TextResNet, lightmodels.TextSeparableCNN])
def test_blocks_of_layers_are_the_same_blocks(net):
    model = net(num_words=50, length=60).eval()
    x = torch.randint(50, (3, 60))
    tutorial = plain.tutorial_net(model.net)
    torch.testing.assert_close(tutorial(x), model(x))
    layers = list(tutorial.modules())
    assert not [layer for layer in layers if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AdaptiveMaxPool2d))]
    assert {type(layer) for layer in layers if isinstance(layer, nn.Conv1d)} == {nn.Conv1d}
    torch.testing.assert_close(plain.channels_last_net(tutorial)(x), model(x))


def test_a_plain_script_saves_weights_and_needs_neither_lightning_nor_lightmodels(tmp_path):
    torch.save(lightning_loops.make_plain_task(flags("ring", 1)), tmp_path / "ring.pt")
    code = f"from benchmarks.processes import train; train({CONTENDERS['floor'].loop!r}, {str(tmp_path / 'ring.pt')!r})"
    check = "assert not {'pytorch_lightning', 'lightmodels'} & set(sys.modules), 'imported'"
    script = f"import os, sys; {code}; os.stat('weights.pt'); {check}; os._exit(0)"
    assert "val_loss" in processes.measure("script", [sys.executable, "-c", script])


def run_module(command):
    """What ``python -m`` does."""
    sys.argv = command[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def exit_code(command):
    """The exit code of a command in a fork of this process, which has imported PyTorch."""
    assert command[:2] == [sys.executable, "-m"]
    process = multiprocessing.get_context("fork").Process(target=run_module, args=(command,))
    process.start()
    process.join()
    return process.exitcode


def test_start_up_is_timed_to_the_first_step(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(benchmark_command, "interleave", lambda commands, *_, **options: commands)
    monkeypatch.setattr(benchmark_command, "measure", lambda name, command: exit_code(command))
    options = benchmark_command.parse(["--tasks", "linear"])
    options.directory = tmp_path
    commands = benchmark_command.measure_startup(options)
    assert {"import torch", "train.py --help"} <= set(commands)
    assert exit_code(commands[contenders.PREDICT]) == 0
    capfd.readouterr()
    for program in ("train.py", "plain script"):
        assert exit_code(commands[f"linear: {program} to its first step"]) == 0
        assert not Path("result.json").exists()  # it did not get to its results
    assert exit_code([*processes.WORKER, "first_step", "benchmarks.report"]) == 1
    assert capfd.readouterr().err == "no optimizer step was made\n"


def test_accelerated_flags_are_flags_of_train():
    for task in EPOCHS:
        for gpus in (0, 1):
            parse(["--task", task, *contenders.further_flags("accelerated", task, gpus)])


def test_commands_take_turns_and_the_warm_up_is_left_out(monkeypatch):
    order = []
    monkeypatch.setattr(processes, "measure", lambda name, _: order.append(name) or {"seconds": len(order)})
    results = processes.interleave({"a": [], "b": [], "c": []}, rounds=2, warm_up=1)
    assert "".join(order) == "cababcbca"
    assert results == {"a": {"seconds": [4, 9]}, "b": {"seconds": [5, 7]}, "c": {"seconds": [6, 8]}}


def test_reuters_is_measured_in_twice_the_rounds(monkeypatch):
    rounds = []
    monkeypatch.setattr(benchmark_command, "make_commands", lambda *_: {})
    monkeypatch.setattr(benchmark_command, "interleave", lambda commands, count, prefix: rounds.append(count))
    monkeypatch.setattr(contenders, "check_losses", lambda *_: None)
    options = benchmark_command.parse(["--tasks", "ring", "--rounds", "3"])
    options.tasks = ["ring", "reuters"]
    benchmark_command.measure_loops(options)
    assert rounds == [3, 6]


def test_tables_have_three_digits_and_the_median_of_the_rounds_ratios():
    results = {"default": {"seconds": [2.0, 6.0, 3.0]}, "floor": {"seconds": [1.0, 2.0, 3.0]}}
    text = report.section("jobs", {"jobs": {"ring": results}})
    assert "| floor | 2.00 (1.00 to 3.00), 0.50x |" in text
    assert report.spread([0.004567, 99.96, 1234.5]) == "100 (0.00457 to 1234)"


def test_goals_are_reported_as_met_or_missed():
    seconds = {"default": [1.1, 1.2, 9.0], "accelerated": [0.7, 0.7, 0.7], "floor": [1.0, 1.0, 1.0]}
    ring = {name: {"epoch_seconds": values, "val_loss": [1.0] * 3} for name, values in seconds.items()}
    figures = {"machine": {"cpu": "one"}, "loops": {"ring": ring}}
    lines = report.section("loops", figures).splitlines()
    assert "| must: lightmodels, default / floor | ring | 1.20x | 1.20x, met |" in lines
    assert "| aim: lightmodels, accelerated / floor | ring | 0.60x | 0.70x, missed |" in lines
    assert "goal" not in report.section("loops", figures | {"machine": {"gpu": "one"}})
    assert "goal" not in report.section("loops", figures | {"loops": {"ring": {"floor": ring["floor"]}}})


def test_goals_of_jobs_and_of_predict():
    jobs = {"linear": {"default": {"seconds": [5.2]}, "hand": {"seconds": [4.0]}}}
    startup = {contenders.PREDICT: {"seconds": [3.0]}, contenders.BARE_IMPORT: {"seconds": [4.0]}}
    figures = {"machine": {}, "jobs": jobs, "startup": startup}
    assert "hand-written DataLoader loop | linear | 1.25x | 1.30x, missed |" in report.section("jobs", figures)
    assert f"/ {contenders.BARE_IMPORT} |  | 1.00x | 0.75x, met |" in report.section("startup", figures)


def test_phases_and_the_end_make_up_the_whole():
    jobs = {"predict": {"import torch": [2.0, 5.0, 1.0], "seconds": [4.0, 30.0, 2.5]}, "ring": {"seconds": [7.0]}}
    lines = report.section("phases", {"machine": {}, "phases": jobs}).splitlines()
    assert "| import torch | 2.000 | - |" in lines
    assert "| end of the process | 2.000 | 7.000 |" in lines
    assert "| in all | 4.000 | 7.000 |" in lines


def test_phases_are_functions_that_exist_and_count_alone(monkeypatch):
    for paths in (paths for functions in phases.FUNCTIONS.values() for paths in functions.values()):
        for path in paths:
            module, _, name = path.partition(":")
            assert callable(attrgetter(name)(importlib.import_module(module))), path
    now = iter([1.0, 3.0, 6.0, 10.0, 15.0])  # seconds since boot
    monkeypatch.setattr(phases.time, "clock_gettime", lambda clock: next(now))
    clock = phases.Clock()
    clock.last = 0.0  # the process's begin
    with clock.phase("outer"), clock.phase("inner"):
        pass
    clock.switch("end")
    assert clock.seconds == {"interpreter": 1.0 + 5.0, "outer": 2.0 + 4.0, "inner": 3.0}
