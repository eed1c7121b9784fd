"""Process settings that make training faster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from pytorch_lightning.accelerators import CUDAAccelerator

BUFFER_BYTES = 31 * 2**20  # glibc adapts to buffers of less than 32 MiB


def tune_allocator() -> None:
    """Lets glibc keep freed memory, and makes the search for GPUs quick where there are none.

    Until it has seen a larger buffer be freed, glibc returns large ones to the system, and their pages fault again in
    each step: an epoch of MNIST took 9.4 s instead of 7.2 s. Optimizers look for a GPU in each step, which takes 35 µs
    by NVML, Lightning's choice, if no driver is installed.
    """
    torch.empty(BUFFER_BYTES, dtype=torch.uint8)
    if CUDAAccelerator.auto_device_count() == 0:
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


@contextmanager
def tf32_matmul(enabled: bool) -> Iterator[None]:
    """Uses TF32, which has 10 instead of 23 mantissa bits, for float32 matrix multiplications inside."""
    precision = torch.get_float32_matmul_precision()
    if enabled:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
