"""What the figures were measured on."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytorch_lightning as pl
import torch


def description(gpus: int, libraries: Sequence[str] = ()) -> dict[str, str]:
    """Hardware and versions, by name; also of further libraries."""
    found = {
        "cpu": f"{cpu()}, {usable()} cores, {torch.get_num_threads()} threads in PyTorch",
        "memory": f"{memory() / 2**30:.0f} GiB",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": pl.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    } | {name: version(name) for name in libraries}
    if gpus:
        gpu = torch.cuda.get_device_properties(0)
        found["gpu"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    return found


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
