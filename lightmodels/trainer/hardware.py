"""What makes training on a CPU quicker without changing a single bit of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pytorch_lightning.accelerators import CUDAAccelerator

BUFFER = 31 * 2**20  # just below the 32 MiB at which glibc stops to learn


def tune_allocator() -> None:
    """Spares each step the return of memory to the system, and a search for GPUs where there are none.

    glibc maps and unmaps large buffers, and their pages fault anew each time, until it has seen a larger
    one be freed: measured, 9.4 against 7.2 s for an epoch of MNIST. Optimizers ask at each step whether
    there is a GPU; the way that Lightning has them ask takes 35 µs where no driver is installed.
    """
    torch.empty(BUFFER, dtype=torch.uint8)
    if CUDAAccelerator.auto_device_count() == 0:
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


@contextmanager
def tf32_matmul(wanted: bool) -> Iterator[None]:
    """Inside, products of float32 matrices are made in TF32, of 10 bits after the point in place of 23."""
    before = torch.get_float32_matmul_precision()
    if wanted:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
