"""summary: a table of a model's layers, output shapes, parameters and sizes."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor, nn

from lightmodels.bad_input import explained
from lightmodels.summary_table import Layer, Summary
from lightmodels.utils.batch import batch_size, forward_arguments
from lightmodels.utils.preserve import no_side_effects

MADE_ROWS = 2  # of a made batch; more than one, for layers that normalize over the batch


def summary(
    model: nn.Module,
    input_shape: int | Sequence[int] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    batch: Any = None,
) -> Summary:
    """Prints a table of the layers in the order of their calls, with output shapes, parameters and sizes.

    The model is called once, in evaluation mode; its mode, weights and the random states stay as they are.

    Args:
        model: any module.
        input_shape: shape of one row of the input, as in ``(1, 28, 28)``.
        dtype: of the input; ``torch.long`` for tokens.
        batch: instead of a shape, a batch as a loader gives it, for models of several inputs.

    Raises:
        ValueError: neither a shape nor a batch, both, or one that the model cannot take.

    Example:
        >>> from torch import nn
        >>> found = summary(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)), input_shape=(2,))
        layer       output shape  parameters
        ------------------------------------
        0 (Linear)  (B, 4)                12
        1 (ReLU)    (B, 4)                 0
        2 (Linear)  (B, 1)                 5
        ------------------------------------
        parameters: 17 (17 trainable, 0 frozen)
        MB: input 0.000008, forward 0.000034 (a row, all outputs), parameters 0.000065
    """
    if (input_shape is None) == (batch is None):
        raise ValueError("input_shape or batch must be given, one of the two")
    batch = made_batch(input_shape, dtype) if batch is None else batch
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    arguments, named = forward_arguments(move_data_to_device(batch, device), model)
    rows = batch_size([arguments, named])
    found = Summary(type(model).__name__)
    with no_side_effects(model), torch.no_grad(), recorded(model, found, rows):
        try:
            explained(model, *arguments, **named)
        except Exception as error:
            given = "batch" if input_shape is None else f"input_shape {input_shape}"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(f"{given} does not fit {found.model}: {reason}") from error
    found.input_bytes = sum(map(_bytes, _tensors([arguments, named]))) / rows
    count_parameters(model, found)
    print(found)
    return found


def count_parameters(model: nn.Module, found: Summary) -> None:
    """Adds a model's parameters and their size to what was found."""
    for parameter in model.parameters():
        found.parameter_bytes += _bytes(parameter)
        found.trainable += parameter.numel() if parameter.requires_grad else 0
        found.frozen += 0 if parameter.requires_grad else parameter.numel()


def made_batch(input_shape: Any, dtype: torch.dtype) -> Tensor:
    """Zeros, which are also tokens that every embedding has.

    Raises:
        ValueError: sizes that are no whole numbers above 0.
    """
    shape = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape)
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(f"input_shape must be whole numbers above 0, without the batch, got {input_shape}")
    return torch.zeros(MADE_ROWS, *shape, dtype=dtype)


@contextmanager
def recorded(model: nn.Module, found: Summary, rows: int) -> Iterator[None]:
    """Notes the layers called inside that call no layers themselves, or have parameters of their own."""
    counted: set[int] = set()
    depth_called: list[bool] = []  # for each call under way, whether it has called a layer

    def before(module: nn.Module, arguments: Any) -> None:
        depth_called[:] = [True] * len(depth_called) + [False]

    def after(module: nn.Module, arguments: Any, output: Any) -> None:
        has_called = depth_called.pop()
        own = {id(p): p.numel() for p in module.parameters(recurse=not has_called) if id(p) not in counted}
        if has_called and not own:
            return
        counted.update(own)
        label = " ".join(filter(None, [names[module], f"({type(module).__name__})"]))
        found.layers.append(Layer(label, shape_of(output, rows), sum(own.values())))
        found.forward_bytes += sum(map(_bytes, _tensors(output))) / rows

    names = {module: name for name, module in model.named_modules()}
    with ExitStack() as hooks:
        for module in names:
            hooks.callback(module.register_forward_pre_hook(before).remove)
            hooks.callback(module.register_forward_hook(after).remove)
        yield


def shape_of(output: Any, rows: int) -> str:
    """The shapes of an output's tensors, with ``B`` for a first size that is the batch's."""
    shapes = []
    for tensor in _tensors(output):
        sizes = [*map(str, tensor.shape)]
        if tensor.dim() and tensor.shape[0] == rows:
            sizes[0] = "B"
        shapes.append(f"({', '.join(sizes)})")
    return ", ".join(shapes) or "-"


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [t for part in parts for t in _tensors(part)] if isinstance(value, (dict, list, tuple)) else []


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
