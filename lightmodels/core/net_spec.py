"""NetSpec: loss, metrics, optimizer and schedule of ``LightModel.from_net``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

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
        values: dict[str, Any] = {"loss": self.loss(output, target)}
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
