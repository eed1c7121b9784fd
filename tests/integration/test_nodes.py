"""Under torchrun, on one machine or two, a run equals that of a single process, also if a worker dies."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.commands import command, read_history, read_metrics, wait_until

from lightmodels.cli import train

OPTIONS = ["--max_epochs", "8", "--save_every_n_steps", "10", "--trainer.accelerator", "cpu"]
OPTIONS += ["--trainer.figures", "false"]  # a second of each process's time
TWO_PROCESSES = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]
TWO_MACHINES = ["--trainer.devices", "1", "--trainer.num_nodes", "2", "--trainer.strategy", "ddp"]


def start(launcher, run_dir, *argv, cwd=None, **environment):
    """Starts a training under a launcher, with its output in a file."""
    (cwd or run_dir.parent).mkdir(exist_ok=True)
    with (cwd or run_dir.parent).joinpath(f"{run_dir.name}.log").open("w") as log:
        process = subprocess.Popen(
            [*launcher, str(ROOT / "scripts/train.py"), "--run_dir", str(run_dir), *OPTIONS, *argv],
            stdout=log, stderr=log, cwd=cwd, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )  # fmt: skip
    process.run_dir, process.log = run_dir, Path(log.name)
    return process


def wait(process):
    try:
        code = process.wait(timeout=180)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun ends its workers then
        process.wait(timeout=60)
        raise
    assert code == 0, process.log.read_text()[-5000:]


def torchrun(*options):
    return [sys.executable, "-m", "torch.distributed.run", *options]


def standalone(run_dir):
    options = ("--standalone", "--nproc_per_node", "2", "--max_restarts", "1")
    return start(torchrun(*options), run_dir, *TWO_PROCESSES)


def history(run_dir):
    rows = read_history(run_dir)
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in rows]


def assert_same_history(run_dir, expected):
    rows, wanted = history(run_dir), history(expected)
    assert len(rows) == len(wanted) == 8
    for row, one in zip(rows, wanted, strict=True):
        assert row == pytest.approx(one, rel=1e-6)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run of two processes started by torchrun, perhaps still running."""
    job = standalone(tmp_path_factory.mktemp("nodes") / "two")
    yield job
    wait(job)


@pytest.fixture(scope="module")
def one(undisturbed):
    """The directory of the same run in one process."""
    run_dir = undisturbed.run_dir.with_name("one")
    train.main(["--run_dir", str(run_dir), *OPTIONS])
    return run_dir


def worker(launcher, rank):
    """The process that torchrun started for a rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    wanted = f"\0RANK={rank}\0".encode()
    (pid,) = [int(pid) for pid in children if wanted in Path(f"/proc/{pid}/environ").read_bytes()]
    return pid


def test_a_killed_worker_is_restarted_and_resumes_exactly(undisturbed):
    job = standalone(undisturbed.run_dir.with_name("killed"))
    wait_until((job.run_dir / "checkpoints/last.ckpt").exists, "the first checkpoint")
    os.kill(worker(job, rank=1), signal.SIGKILL)
    for process in (job, undisturbed):
        wait(process)
    killed, two = job.run_dir, undisturbed.run_dir
    assert read_metrics(killed) == read_metrics(two)
    attempts = [len(list(run_dir.glob("events.*"))) for run_dir in (killed, two)]
    assert attempts[0] > attempts[1]  # the second attempt wrote to the same directory


def test_torchrun_trains_like_one_process(undisturbed, one):
    wait(undisturbed)
    assert_same_history(undisturbed.run_dir, one)
    assert read_metrics(undisturbed.run_dir)["devices"] == 2


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
    """Starts one host's part of a run; torchrun is told which host this is, as they share a name."""
    rendezvous = torchrun(
        "--nnodes", "2", "--nproc_per_node", "1", "--rdzv_id", "test", "--rdzv_backend", "c10d",
        "--rdzv_endpoint", "10.77.0.1:29500",  # free, as nothing else runs on that host
        "--rdzv_conf", f"is_host={int(number == 1)}", "--local_addr", f"10.77.0.{number}",
    )  # fmt: skip
    directory = run_dir.parent / f"host-{number}"
    launcher = ["ip", "netns", "exec", name, *rendezvous]
    return start(launcher, run_dir, *TWO_MACHINES, cwd=directory, GLOO_SOCKET_IFNAME="cable")


def test_two_hosts_train_like_one_process(one, two_hosts):
    run_dir = one.with_name("hosts")
    jobs = [on_host(number, name, run_dir) for number, name in enumerate(two_hosts, 1)]
    for job in jobs:
        wait(job)
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
