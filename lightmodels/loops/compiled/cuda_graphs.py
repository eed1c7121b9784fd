"""What makes training on a GPU quicker: coarser products, and graphs of which the device needs one start."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def compile_options(device: torch.device) -> dict[str, Any]:
    """Options of ``torch.compile`` that have a GPU replay a CUDA graph; none elsewhere."""
    return {"triton.cudagraphs": True} if device.type == "cuda" else {}


def mark_static(tensors: Sequence[Tensor]) -> None:
    """Says that tensors keep their place, so that a CUDA graph can change them where they are."""
    for tensor in tensors:
        if tensor.device.type == "cuda":
            torch._dynamo.mark_static_address(tensor, guard=False)


def mark_step_begin(device: torch.device) -> None:
    """Says before each replay that what the last one gave is needed no more."""
    if device.type == "cuda":
        mark: Any = torch.compiler.cudagraph_mark_step_begin
        mark()
