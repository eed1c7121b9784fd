"""NetSpec: loss, metrics, optimizer and schedule of ``LightModel.from_net``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

Loss = Callable[[Any, Tensor], Tensor]
MetricLike = Metric | Callable[[Any, Tensor], Tensor]
OptimizerLike = Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer]


class NetSpec(nn.Module):
    """How to train a net; batches are ``(input, …, target)``. Arguments are those of ``from_net``."""

    def __init__(
        self,
        loss: Loss,
        metrics: Mapping[str, MetricLike],
        optimizer: OptimizerLike,
        scheduler: Callable[[Optimizer], Any] | None = None,
    ) -> None:
        super().__init__()
        if reserved := {"loss", "size"} & metrics.keys():
            raise ValueError(f"metrics must have names other than {', '.join(sorted(reserved))}")
        self.loss, self.optimizer, self.scheduler = loss, optimizer, scheduler
        self.functions = dict(metrics)
        self.metrics = nn.ModuleList(m for m in metrics.values() if isinstance(m, nn.Module))

    def step(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        """What ``shared_step`` returns."""
        if not (isinstance(batch, Sequence) and len(batch) > 1):
            raise ValueError("batches must be (input, …, target), got one without a target")
        *inputs, target = batch
        output = model(*inputs)
        target = align(output, target)
        values: dict[str, Any] = {"loss": self.loss(output, as_float(output, target))}
        for name, metric in self.functions.items():
            if isinstance(metric, Metric):
                metric.update(output, target)
                values[name] = metric
            else:
                values[name] = metric(output, target)
        return values

    def configure(self, model: nn.Module) -> OptimizerLRScheduler:
        """What ``configure_optimizers`` returns."""
        given = self.optimizer
        optimizer = given if isinstance(given, Optimizer) else given(model.parameters())
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer)}


def align(output: Any, target: Any) -> Any:
    """The target in the shape of the output, if only a trailing dimension of one tells them apart.

    Raises:
        ValueError: other shapes that differ and that broadcasting would make fit: a loss would compare each row of one
            with all rows of the other. Class labels, integers of shape ``(N, ...)`` beside ``(N, C, ...)``, are fine.
    """
    if not isinstance(output, Tensor) or not isinstance(target, Tensor) or output.shape == target.shape:
        return target
    if output.shape in ((*target.shape, 1), target.shape[:-1]) and target.dim():
        return target.reshape(output.shape)
    are_labels = not target.is_floating_point() and target.shape == output.shape[:1] + output.shape[2:]
    if not are_labels and _broadcast(output, target):
        shapes = f"output has shape {tuple(output.shape)}, but target has shape {tuple(target.shape)}"
        raise ValueError(f"the {shapes}: a loss would broadcast them; make their shapes equal")
    return target


def _broadcast(output: Tensor, target: Tensor) -> bool:
    try:
        torch.broadcast_shapes(output.shape, target.shape)  # type: ignore[no-untyped-call]
    except RuntimeError:
        return False
    return True


def as_float(output: Any, target: Any) -> Any:
    """Labels of the output's shape as floats, which binary cross-entropy and losses of regression need."""
    same = isinstance(output, Tensor) and isinstance(target, Tensor) and output.shape == target.shape
    return target.to(output.dtype) if same and output.is_floating_point() and not target.is_floating_point() else target
