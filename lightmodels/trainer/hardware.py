"""Process settings that make training faster."""

import os
import warnings
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


def has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16; True if PyTorch cannot tell."""
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    bfloat16 = [value for name, value in found.items() if "bf16" in name]
    return any(bfloat16) or not bfloat16


def warn_of_slow_precision(precision: str) -> None:
    """Warns of half precision that this CPU emulates: a convolution of the MNIST task took 3.5 times as long."""
    if precision.startswith("bf16") and not has_bfloat16():
        slow = f"precision {precision}: this CPU has no instructions for bfloat16, which can take several times as long"
        warnings.warn(f"{slow}; precision 32-true is faster", stacklevel=2)


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
