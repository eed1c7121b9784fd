"""torchrun starts a command again when one of its processes dies: which run is then gone on with."""

import os
from pathlib import Path

import torch
import torch.distributed as dist

from lightmodels.utils import distributed


def goes_on(run_dir: str | None) -> bool:
    """Whether torchrun has started the same command again, and what was saved before is there.

    Whose run that is only the first process can tell. If it is not this job's, it ends the job, so
    that the others need not know; on other machines they have no way to.
    """
    if run_dir is None or torchrun_note() is None:
        return False
    saved = Path(run_dir, "checkpoints", "last.ckpt").is_file()
    return saved and (distributed.rank() > 0 or is_ours(Path(run_dir)))


def note(run_dir: Path) -> None:
    """Notes, for when torchrun starts the command again, that the run directory is this job's."""
    if path := torchrun_note():
        path.write_text(str(run_dir.absolute()), encoding="utf-8")


def is_ours(run_dir: Path) -> bool:
    """Whether this job has taken the run directory before torchrun restarted it."""
    path = torchrun_note()
    return bool(path and path.is_file() and path.read_text(encoding="utf-8") == str(run_dir.absolute()))


def torchrun_note() -> Path | None:
    """A file in torchrun's own temporary directory, which all its restarts and no other job share.

    The count of restarts would not do: after one the command finds its own run, but also a directory
    that it was refused because it holds another's. And of several machines not all count alike.
    """
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")  # DIRECTORY/attempt_0/0/error.json
    return Path(error_file).parents[2] / "run_dir" if error_file else None


def connect(device: torch.device) -> None:
    """Connects the processes of one machine after a restart; otherwise Lightning does that.

    They find each other in a store of torchrun's, where the addresses of the dead still stand. Of
    several machines not all count the same restarts; there torchrun must be told not to share it.
    """
    names = ("TORCHELASTIC_RESTART_COUNT", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    restart, everywhere, here = (int(os.environ.get(name, 0)) for name in names)
    if not restart or everywhere < 2 or here != everywhere:
        return
    store, rank, size = next(dist.rendezvous("env://"))
    dist.init_process_group(
        dist.get_default_backend_for_device(device),
        store=dist.PrefixStore(f"restart_{restart}", store),
        rank=rank,
        world_size=size,
    )
