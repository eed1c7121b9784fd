"""Under torchrun, on one machine or two, a run equals that of a single process, also if a worker dies."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.apart import TRAIN, started_apart
from helpers.commands import command, read_history, read_metrics

from lightmodels.cli import train
from lightmodels.cli.train_flags import parse

OPTIONS = ["--max_epochs", "3", "--data.test_rows", "500", "--save_every_n_steps", "10", "--trainer.accelerator", "cpu"]
OPTIONS += ["--trainer.figures", "false"]  # a second of each process's time
TWO_PROCESSES = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
STANDALONE = ["--standalone", "--nproc_per_node", "2", "--max_restarts", "1"]
TWO_MACHINES = ["--trainer.devices", "1", "--trainer.num_nodes", "2", "--trainer.strategy", "ddp"]


# Runs torchrun in this process, on a host if one is named. It forks its workers, which the real one starts.
TORCHRUN = """
import ctypes, os, sys
from torch.distributed import run

if host := sys.argv[1]:
    assert ctypes.CDLL(None).setns(os.open(f"/var/run/netns/{host}", os.O_RDONLY), 0) == 0
run.main(["--run_path", "--start_method=fork", *sys.argv[2:]])
"""
# A worker, of which the second kills itself in the first attempt if that is asked for.
WORKER = """
import os, signal
from lightning_fabric.utilities.rank_zero import rank_zero_only
from lightmodels.callbacks.signal_handler import SignalHandler
from lightmodels.cli.main import program

rank_zero_only.rank = int(os.environ["RANK"])  # which Lightning reads when it is imported
on_train_batch_end = SignalHandler.on_train_batch_end

def kill(self, trainer, *arguments):
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if {kills} and first and trainer.global_rank == 1 and trainer.global_step == 25:
        os.kill(os.getpid(), signal.SIGKILL)
    on_train_batch_end(self, trainer, *arguments)

SignalHandler.on_train_batch_end = kill
program("train")
"""


def torchrun(directory, options, argv, host="", kills=False):
    """What starts a training under torchrun in a directory."""
    directory.mkdir()
    (directory / "torchrun.py").write_text(TORCHRUN)
    (directory / "train.py").write_text(WORKER.format(kills=kills))
    arguments = (directory / "torchrun.py", host, *options, directory / "train.py", *OPTIONS, *argv)
    return started_apart(*arguments, directory=directory)


def wait(process):
    process.join(240)
    assert process.exitcode == 0, process.streams[1].read_text()[-5000:]


def history(run_dir):
    rows = read_history(run_dir)
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in rows]


def assert_same_history(run_dir, expected):
    rows, wanted = history(run_dir), history(expected)
    assert len(rows) == len(wanted) == 3
    for row, one in zip(rows, wanted, strict=True):
        assert row == pytest.approx(one, rel=1e-6)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The directory of a run of two processes, started by torchrun."""
    run_dir = tmp_path_factory.mktemp("nodes") / "two"
    command = [sys.executable, "-m", "torch.distributed.run", *STANDALONE, TRAIN, "--run_dir", run_dir]
    done = subprocess.run([*map(str, command), *OPTIONS, *TWO_PROCESSES], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-5000:]
    return run_dir


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The directory of the same run in one process."""
    run_dir = tmp_path_factory.mktemp("node") / "one"
    train.main(parse(["--run_dir", str(run_dir), *OPTIONS]))
    return run_dir


def test_a_killed_worker_is_restarted_and_resumes_exactly(undisturbed, tmp_path):
    with torchrun(tmp_path / "job", STANDALONE, ["--run_dir", "run", *TWO_PROCESSES], kills=True) as process:
        wait(process)
    run_dir = tmp_path / "job/run"
    assert read_metrics(run_dir) == read_metrics(undisturbed)
    attempts = [len(list(each.glob("events.*"))) for each in (run_dir, undisturbed)]
    assert attempts[0] > attempts[1]  # the second attempt wrote to the same directory


def test_torchrun_trains_like_one_process(undisturbed, one):
    assert_same_history(undisturbed, one)
    assert read_metrics(undisturbed)["devices"] == 2


@pytest.fixture
def two_hosts():
    """Names of two network namespaces, 10.77.0.1 and 10.77.0.2, connected with each other only."""
    if shutil.which("ip") is None:
        pytest.skip("two hosts need iproute2: there is no ip here")
    names = [f"lightmodels-{os.getpid()}-{host}" for host in (1, 2)]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "cable", "netns", names[1])
        for host, name in enumerate(names, 1):
            ip("-n", name, "addr", "add", f"10.77.0.{host}/24", "dev", "cable")
            for device in ("lo", "cable"):
                ip("-n", name, "link", "set", device, "up")
            ip("netns", "exec", name, "true")
        yield names
    except subprocess.CalledProcessError as error:
        pytest.skip(f"two hosts need network namespaces: {error.stderr.strip()}")
    finally:
        for name in names:
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
            for pid in pids.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def on_host(number, name, run_dir):
    """What starts one host's part of a run; torchrun is told which host this is, as they share a name."""
    rendezvous = [
        "--nnodes", "2", "--nproc_per_node", "1", "--rdzv_id", "test", "--rdzv_backend", "c10d",
        "--rdzv_endpoint", "10.77.0.1:29500",  # free, as nothing else runs on that host
        "--rdzv_conf", f"is_host={int(number == 1)}", "--local_addr", f"10.77.0.{number}",
    ]  # fmt: skip
    return torchrun(run_dir.parent / f"host-{number}", rendezvous, ["--run_dir", run_dir, *TWO_MACHINES], host=name)


def test_two_hosts_train_like_one_process(one, two_hosts, tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "cable")
    run_dir, (first, second) = tmp_path / "hosts", two_hosts
    with on_host(1, first, run_dir) as host, on_host(2, second, run_dir) as other:
        wait(host)
        wait(other)
    assert_same_history(run_dir, one)
    assert read_metrics(run_dir)["devices"] == 2


def test_only_a_restart_of_the_same_job_resumes_its_run(capfd, monkeypatch, tmp_path):
    def attempt(job, number):
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / job / f"attempt_{number}/0/error.json"))
        return command(capfd, "train", "--run_dir", "run", "--max_epochs", 1, "--trainer.accelerator", "cpu")

    for job in ("ours", "other"):
        Path(job).mkdir()
    assert attempt("ours", 0).code == 0
    expected = read_metrics("run")
    for number in (0, 1):
        refused = attempt("other", number)
        assert (refused.code, "is not empty" in refused.err) == (2, True)
    Path("run/metrics.json").write_text("{}")
    assert attempt("ours", 1).code == 0  # all epochs were done, and the test is done again
    assert read_metrics("run") == expected
    Path("run/checkpoints/last.ckpt").unlink()
    assert attempt("ours", 2).code == 0  # nothing was saved: from the start
    assert read_metrics("run") == expected
