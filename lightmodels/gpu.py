"""What makes training on a GPU quicker: coarser products, and graphs of which the device needs one start."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def products_in_tf32(wanted: bool) -> Iterator[None]:
    """Inside, products of float32 matrices are made in TF32, of 10 bits after the point in place of 23."""
    before = torch.get_float32_matmul_precision()
    if wanted:
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def graph_options(device: torch.device) -> dict[str, Any]:
    """Options of ``torch.compile`` that have a GPU replay a CUDA graph; none elsewhere."""
    return {"triton.cudagraphs": True} if device.type == "cuda" else {}


def stay(tensors: Sequence[Tensor]) -> None:
    """Says that tensors keep their place, so that a CUDA graph can change them where they are."""
    for tensor in tensors:
        if tensor.device.type == "cuda":
            torch._dynamo.mark_static_address(tensor, guard=False)


def begin_graph(device: torch.device) -> None:
    """Says before each replay that what the last one gave is needed no more."""
    if device.type == "cuda":
        mark: Any = torch.compiler.cudagraph_mark_step_begin
        mark()
