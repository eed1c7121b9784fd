"""When one of its processes dies, torchrun restarts the command: finds the run to resume, and reconnects."""

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from lightmodels.cli.exit_codes import rank

if TYPE_CHECKING:
    import torch


def is_restart(run_dir: str | None) -> bool:
    """Whether torchrun has restarted this command after it saved a checkpoint in ``run_dir``.

    Only the first process can tell whose run that is. If it belongs to another job, the first process ends
    this job, so the others need not know (and on other machines they cannot).
    """
    if run_dir is None or _job_file() is None:
        return False
    saved = Path(run_dir, "checkpoints", "last.ckpt").is_file()
    return saved and (rank() > 0 or is_own_run(Path(run_dir)))


def remember_run(run_dir: Path) -> None:
    """Records for a restart that the run directory belongs to this job."""
    if path := _job_file():
        path.write_text(str(run_dir.absolute()), encoding="utf-8")


def is_own_run(run_dir: Path) -> bool:
    """Whether this job had claimed the run directory before torchrun restarted it."""
    path = _job_file()
    return bool(path and path.is_file() and path.read_text(encoding="utf-8") == str(run_dir.absolute()))


def _job_file() -> Path | None:
    """A file in torchrun's temporary directory, which is shared by all restarts of this job and no other.

    The restart count cannot replace it: a restarted command may also find the directory of another run,
    which it had been refused, and counts differ between machines.
    """
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")  # DIRECTORY/attempt_0/0/error.json
    return Path(error_file).parents[2] / "run_dir" if error_file else None


def init_process_group(device: "torch.device", timeout: float) -> None:
    """Connects the processes of one machine after a restart; in all other cases Lightning does.

    torchrun's store still holds the addresses of the processes that died, so each restart gets its own
    prefix. Several machines may count restarts differently; there torchrun must not share the store.
    """
    names = ("TORCHELASTIC_RESTART_COUNT", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    restarts, world_size, local_world_size = (int(os.environ.get(name, 0)) for name in names)
    if not restarts or world_size < 2 or local_world_size != world_size:
        return
    import torch.distributed as dist  # not above, as train parses its flags before it imports PyTorch
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, own_rank, size = next(rendezvous("env://"))
    backend, own = dist.get_default_backend_for_device(device), PrefixStore(f"restart_{restarts}", store)
    dist.init_process_group(backend, store=own, rank=own_rank, world_size=size, timeout=timedelta(seconds=timeout))
