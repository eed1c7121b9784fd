"""summary: Lightning's table of layers, sizes and parameters, of any module."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.utilities.model_summary.model_summary import ModelSummary
from torch import Tensor, nn

from lightmodels.utils.batch import forward_arguments
from lightmodels.utils.preserve import no_side_effects
from lightmodels.utils.step_errors import explain_errors

EXAMPLE_ROWS = 2  # more than one, for layers that normalize over the batch


def count_parameters(model: nn.Module) -> int:
    """The number of values in a model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def summary(
    model: nn.Module,
    input_shape: int | Sequence[int] | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    batch: Any = None,
) -> ModelSummary:
    """Prints and returns Lightning's table of all layers, with the sizes of their inputs and outputs.

    The model runs in evaluation mode; its modes, buffers and the random states are restored afterwards.

    Args:
        model: any module.
        input_shape: the shape of one row of the input, such as ``(1, 28, 28)``; a batch of two is used.
        dtype: the dtype of the input; ``torch.long`` for tokens.
        batch: a batch as a loader yields it, instead of a shape, for models with several inputs.

    Returns:
        The table; it has ``total_parameters``, ``layer_names``, ``out_sizes`` and so on.

    Raises:
        ValueError: neither a shape nor a batch, both, or one that does not fit the model.

    Examples:
        >>> from torch import nn
        >>> table = summary(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)), input_shape=(2,))
          | Name | Type   | Params | Mode  | FLOPs | In sizes | Out sizes
        -----------------------------------------------------------------------
        0 | 0    | Linear | 12     | train | 32    | [2, 2]   | [2, 4]...
        1 | 1    | ReLU   | 0      | train | 0     | [2, 4]   | [2, 4]...
        2 | 2    | Linear | 5      | train | 16    | [2, 4]   | [2, 1]...
        -----------------------------------------------------------------------
        ...
        parameters: 17 (17 trainable, 0 frozen)
    """
    if (input_shape is None) == (batch is None):
        raise ValueError("input_shape or batch must be given, one of the two")
    batch = _example(input_shape, dtype) if batch is None else batch
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    args, kwargs = forward_arguments(move_data_to_device(batch, device), model)
    found = _table(model, args, kwargs, "batch" if input_shape is None else f"input_shape {input_shape}")
    trainable, frozen = found.trainable_parameters, found.total_parameters - found.trainable_parameters
    print(f"{found}\nparameters: {found.total_parameters:,} ({trainable:,} trainable, {frozen:,} frozen)")
    return found


def _table(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], given: str) -> ModelSummary:
    wrapped_class = type(type(model).__name__, (_Wrapped,), {})  # Lightning counts FLOPs by its name
    with no_side_effects(model), torch.no_grad():
        try:
            explain_errors(model, *args, **kwargs)  # first, as an error would leave Lightning's hooks behind
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(f"{given} does not fit {type(model).__name__}: {reason}") from error
        return ModelSummary(wrapped_class(model, kwargs or args), max_depth=-1)


def _example(input_shape: Any, dtype: torch.dtype) -> Tensor:
    """Zeros, which are tokens of every embedding too."""
    shape = (input_shape,) if isinstance(input_shape, int) else tuple(input_shape)
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(f"input_shape must be whole numbers above 0, without the batch, got {input_shape}")
    return torch.zeros(EXAMPLE_ROWS, *shape, dtype=dtype)


class _Wrapped(pl.LightningModule):
    """Calls a module, and shares its layers and parameters so that Lightning's table has their names."""

    def __init__(self, module: nn.Module, inputs: Any) -> None:
        super().__init__()
        self.example_input_array = inputs
        shared = {name: vars(module)[name] for name in ("_modules", "_parameters")}
        vars(self).update(shared, forward=module.__call__)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch
