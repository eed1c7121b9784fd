"""EpochMeans: the exact value of every metric over all samples of an epoch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torchmetrics import Metric

MetricState = dict[str, Any]
MetricValue = Tensor | float | tuple[Any, Any] | Metric


class EpochMeans:
    """Sums and counts over an epoch, kept on the device; nothing waits for the device until ``compute``.

    ``update`` takes what a step returns: a scalar (a mean over the batch, weighted by the batch's
    size), a ``(sum, count)`` pair, or a ``torchmetrics.Metric`` that the step has updated. Sums are
    float64 (float32 where the device has no float64), so that a batch of 50 and one of 3 count as
    50 and 3, and the order of magnitude of the data set does not matter.

    Args:
        metrics: gives all Metric objects that steps may hand in, always in the same order.

    Example:
        >>> means = EpochMeans()
        >>> means.update({"loss": torch.tensor(1.0), "acc": (50, 50)}, size=50)
        >>> means.update({"loss": torch.tensor(2.0), "acc": (0, 30)}, size=30)
        >>> means.compute()
        {'loss': 1.375, 'acc': 0.625}
    """

    def __init__(self, metrics: Callable[[], Sequence[Metric]] = tuple) -> None:
        self._all_metrics = metrics
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor | float] = {}
        self._metrics: dict[str, int] = {}  # name -> position among all metrics
        self.samples = 0

    def reset(self) -> None:
        """Forgets everything; metrics that steps have handed in are reset too."""
        for position in self._metrics.values():
            self._all_metrics()[position].reset()
        self._sums, self._counts, self._metrics, self.samples = {}, {}, {}, 0

    def update(self, values: Mapping[str, MetricValue], size: int) -> None:
        """Adds one batch.

        Args:
            values: name -> scalar, ``(sum, count)`` or Metric.
            size: samples in the batch, the weight of the scalars.

        Raises:
            TypeError: a value of another kind, or a tensor that is no scalar.
            ValueError: a Metric that is not one of all metrics.
        """
        self.samples += size
        for name, value in values.items():
            if isinstance(value, Tensor):
                self._add(name, value, size, size)
            elif isinstance(value, Metric):
                if name not in self._metrics:
                    self._metrics[name] = self._position(name, value)
            elif isinstance(value, tuple) and len(value) == 2:
                self._add(name, torch.as_tensor(value[0]), 1, value[1])
            elif isinstance(value, (int, float)):
                self._add(name, torch.tensor(value, dtype=torch.float64), size, size)
            else:
                raise TypeError(_wrong_kind(name, type(value).__name__))

    def mean(self, name: str) -> float | None:
        """The mean of one value so far, of this process alone; nothing if there is none."""
        return float(self._sums[name] / self._counts[name]) if name in self._sums else None

    def compute(self, reduce: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, float]:
        """The values over the epoch so far, as plain numbers; a count of zero gives ``nan``.

        Args:
            reduce: adds up a float64 tensor of shape ``(2, metrics)`` over all processes.
        """
        if self._sums:
            sums = torch.stack([total.double().cpu() for total in self._sums.values()])
            counts = torch.stack([torch.as_tensor(c).double().cpu() for c in self._counts.values()])
            sums, counts = reduce(torch.stack([sums, counts]))
            means = dict(zip(self._sums, (sums / counts).tolist(), strict=True))
        else:
            means = {}
        return means | {name: self._value(name, position) for name, position in self._metrics.items()}

    def names(self) -> dict[str, int | None]:
        """The values that came up: for a Metric its position among all, for others ``None``."""
        sums: dict[str, int | None] = dict.fromkeys(self._sums)
        return sums | self._metrics

    def learn_names(self, names: Sequence[dict[str, int | None]]) -> None:
        """Makes room for the values of other processes, in an order that is the same on all."""
        known = {name: position for process in names for name, position in process.items()}
        zero = torch.zeros((), dtype=torch.float64)
        means = [name for name, position in known.items() if position is None]
        self._sums = {name: self._sums.get(name, zero) for name in means}
        self._counts = {name: self._counts.get(name, 0) for name in means}
        self._metrics = {name: position for name, position in known.items() if position is not None}

    def state_dict(self) -> dict[str, Any]:
        """Everything gathered so far, as tensors and plain data."""
        return {
            "sums": dict(self._sums),
            "counts": dict(self._counts),
            "samples": self.samples,
            "names": dict(self._metrics),
            "metrics": [get_metric_state(metric) for metric in self._all_metrics()],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Goes on from what ``state_dict`` gave, on a device."""
        self._sums = {name: total.to(device) for name, total in state["sums"].items()}
        self._counts = apply_to_collection(state["counts"], Tensor, lambda count: count.to(device))
        self.samples = state["samples"]
        self._metrics = dict(state["names"])
        for metric, metric_state in zip(self._all_metrics(), state["metrics"], strict=True):
            set_metric_state(metric, metric_state)

    def _position(self, name: str, wanted: Metric) -> int:
        for position, metric in enumerate(self._all_metrics()):
            if metric is wanted:
                return position
        raise ValueError(f"metric {name!r} must be an attribute of the model itself, self.{name} = …")

    def _value(self, name: str, position: int) -> float:
        value = self._all_metrics()[position].compute()
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise TypeError(f"metric {name!r} must compute to one number, got {value}")
        return value.item()

    def _add(self, name: str, value: Tensor, weight: float, count: Tensor | float) -> None:
        value = value.detach()
        if value.dim():
            if value.numel() != 1:
                raise TypeError(_wrong_kind(name, f"a tensor of shape {tuple(value.shape)}"))
            value = value.reshape(())
        if name not in self._sums:
            self._sums[name] = torch.zeros((), dtype=_sum_dtype(value.device), device=value.device)
            self._counts[name] = 0
        self._sums[name].add_(value, alpha=weight)
        if isinstance(count, Tensor):
            count = count.detach().reshape(()).to(_sum_dtype(count.device))
        self._counts[name] = self._counts[name] + count


def get_metric_state(metric: Metric) -> MetricState:
    """What a metric has gathered so far."""
    state: MetricState = {
        name: list(part) if isinstance(part, list) else part for name, part in metric.metric_state.items()
    }
    return state | {"_update_count": metric.update_count}


def pop_metric_state(metric: Metric) -> MetricState:
    """Resets a metric and returns what it held, so that another stage can use the same metric."""
    state = get_metric_state(metric)
    metric.reset()
    return state


def set_metric_state(metric: Metric, state: MetricState) -> None:
    """Gives a metric what ``state_of`` or ``take_state`` returned."""
    metric.reset()
    for name, part in state.items():
        setattr(metric, name, apply_to_collection(part, Tensor, lambda tensor: tensor.to(metric.device)))


def _sum_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _wrong_kind(name: str, got: str) -> str:
    return f"{name!r} must be a scalar tensor, a (sum, count) pair or a torchmetrics.Metric, got {got}"
