"""Scripts in processes of their own, forked from one that has imported what they need, so that they start at once."""

import gc
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from lightmodels import Trainer  # noqa: F401 (first, as in a command: what it imports is quicker)

# isort: split
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from lightning_fabric.utilities.rank_zero import rank_zero_only

from helpers import ROOT
from helpers.commands import Ended

TRAIN = ROOT / "scripts/train.py"
LIGHTMODELS = Path(sys.executable).with_name("lightmodels")  # the console command
PRELOADED = [__name__, "lightmodels.cli.train", "optuna.storages"]
PRELOADED += ["matplotlib.backends.backend_agg", "torch.utils.tensorboard", "torch.distributed.run"]


@contextmanager
def started_apart(
    script: Path, *argv: object, processes: int = 1, name: str = "", directory: Path | None = None
) -> Iterator[BaseProcess]:
    """Starts what ``python SCRIPT ARGV`` would; its output goes to ``<name>.out`` and ``<name>.err`` in the directory.

    Of two processes, the first forks the second, as Lightning would launch it, and is the one given. They are a group
    of their own, and those that still run at the end of the block are killed.
    """
    directory, context = (directory or Path.cwd()).absolute(), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    streams = [directory / f"{name or Path(script).stem}.{ending}" for ending in ("out", "err")]
    arguments = [str(part) for part in (Path(script).absolute(), *argv)]
    for path in streams:
        path.write_text("")
    process = context.Process(target=_run, args=(directory, streams, arguments, processes, dict(os.environ)))
    process.start()
    process.streams = streams
    try:
        yield process
    finally:
        process.kill()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()


def run_apart(script: Path, *argv: object, code: int = 0, seconds: float = 240, **options) -> Ended:
    """As ``started_apart``, and waits for the end with this exit code."""
    with started_apart(script, *argv, **options) as process:
        process.join(seconds)
        ended = Ended(process.exitcode, *(path.read_text() for path in process.streams))
    assert ended.code == code, f"{script} {argv}: {ended.code}, after:\n{ended.out[-3000:]}\n{ended.err[-3000:]}"
    return ended


def _run(directory: Path, streams: list[Path], argv: list[str], processes: int, environment: dict[str, str]) -> None:
    gc.freeze()
    os.setsid()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # which is of the environment too
    for path, descriptor in zip(streams, (1, 2), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    sys.argv, second = argv, 0
    if processes == 2:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port())}
        os.environ |= address | {"WORLD_SIZE": "2", "NODE_RANK": "0"}
        second = os.fork()
        rank_zero_only.rank = 0 if second else 1  # which Lightning has read from the environment
        os.environ["LOCAL_RANK"] = str(rank_zero_only.rank)
    runpy.run_path(argv[0], run_name="__main__")
    if second and os.waitpid(second, 0)[1]:
        sys.exit("the second process has failed")
