"""CUDA graphs: a GPU replays all kernels of a compiled step with one launch. On a CPU, nothing is done."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def compile_options(device: torch.device) -> dict[str, Any]:
    return {"triton.cudagraphs": True} if device.type == "cuda" else {}


def mark_static(tensors: Iterable[Tensor]) -> None:
    """Marks tensors as static for CUDA graphs, which change them in place."""
    for tensor in tensors:
        if tensor.device.type == "cuda":
            torch._dynamo.mark_static_address(tensor, guard=False)


def mark_step_begin(device: torch.device) -> None:
    """Lets the next replay overwrite the outputs of the last one."""
    if device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
