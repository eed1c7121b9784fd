"""EpochMeans: the exact value of every metric over all samples of an epoch."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torchmetrics import Metric

MetricState = dict[str, Any]
MetricValue = Tensor | float | tuple[Any, Any] | Metric


class EpochMeans:
    """Sums and counts over an epoch, kept on the device, without synchronization until ``compute``.

    Sums are float64 (float32 on devices without float64), and every sample counts the same, however uneven
    the batches.

    Args:
        metrics: returns all Metric objects that steps may return, always in the same order.

    Examples:
        >>> means = EpochMeans()
        >>> means.update({"loss": torch.tensor(1.0), "acc": (50, 50)}, size=50)
        >>> means.update({"loss": torch.tensor(2.0), "acc": (0, 30)}, size=30)
        >>> means.compute()
        {'loss': 1.375, 'acc': 0.625}
    """

    def __init__(self, metrics: Callable[[], Sequence[Metric]] = tuple) -> None:
        self._all_metrics = metrics
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, Tensor | float] = {}
        self._metrics: dict[str, int] = {}  # name -> position among all metrics
        self.samples: float = 0

    def reset(self) -> None:
        """Clears all values, including the states of the Metric objects that steps have returned."""
        for position in self._metrics.values():
            self._all_metrics()[position].reset()
        self._sums, self._counts, self._metrics, self.samples = {}, {}, {}, 0

    def update(self, values: Mapping[str, MetricValue], size: float) -> None:
        """Adds one batch.

        Args:
            values: by name: a scalar (a mean over the batch), ``(sum, count)``, or a Metric that was updated.
            size: samples in the batch, the weight of the scalars.

        Raises:
            TypeError: a value of another type, or a tensor with more than one element.
            ValueError: a Metric that is not one of all metrics.
        """
        self.samples += size
        for name, value in values.items():
            if isinstance(value, tuple) and len(value) == 2:
                self._add(name, value[0], 1, value[1])
            elif isinstance(value, Metric):
                if name not in self._metrics:
                    self._metrics[name] = self._position(name, value)
            else:
                self._add(name, value, size, size)

    def metrics(self) -> dict[str, Metric]:
        """The Metric objects that steps have returned, by name."""
        return {name: self._all_metrics()[position] for name, position in self._metrics.items()}

    def mean(self, name: str) -> float | None:
        """The mean of one value so far, of this process only, or None if there is none."""
        return float(self._sums[name] / self._counts[name]) if name in self._sums else None

    def compute(self, gather: Callable[[Any], list[Any]] = lambda own: [own]) -> dict[str, float]:
        """The values over the epoch so far, as plain numbers; ``nan`` for a count of zero.

        Args:
            gather: returns the objects of all processes, in the same order on each.
        """
        own = {name: (float(total), float(self._counts[name])) for name, total in self._sums.items()}
        # A process that has had no row lacks names, and the shapes of states that are lists.
        parts, positions, shapes = zip(*gather((own, self._metrics, self._list_shapes())), strict=True)
        self._metrics = {name: position for part in positions for name, position in part.items()}
        self._fill_lists({key: shape for part in shapes for key, shape in part.items()})
        values = {}
        for name in dict.fromkeys(chain.from_iterable(parts)):
            total, count = (sum(part[name][i] for part in parts if name in part) for i in (0, 1))
            values[name] = total / count if count else math.nan
        return values | {name: self._value(name, position) for name, position in self._metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything added so far, as tensors and plain data."""
        return {
            "sums": dict(self._sums),
            "counts": dict(self._counts),
            "samples": self.samples,
            "names": dict(self._metrics),
            "metrics": [get_metric_state(metric) for metric in self._all_metrics()],
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continues from a ``state_dict``, on a device."""
        on_device = apply_to_collection(state, Tensor, lambda tensor: tensor.to(device))
        self._sums, self._counts = on_device["sums"], on_device["counts"]
        self.samples, self._metrics = state["samples"], dict(state["names"])
        for metric, metric_state in zip(self._all_metrics(), state["metrics"], strict=True):
            set_metric_state(metric, metric_state)

    def _position(self, name: str, wanted: Metric) -> int:
        for position, metric in enumerate(self._all_metrics()):
            if metric is wanted:
                return position
        raise ValueError(f"metric {name!r} must be an attribute of the model itself, self.{name} = …")

    def _list_shapes(self) -> dict[tuple[int, str], tuple[Any, ...]]:
        """The row's shape and the type of each state that is a list, by the metric's position and the state's name."""
        return {
            (position, state): (tuple(part[0].shape[1:]), part[0].dtype)
            for position in self._metrics.values()
            for state, part in self._all_metrics()[position].metric_state.items()
            if isinstance(part, list) and part
        }

    def _fill_lists(self, shapes: Mapping[tuple[int, str], tuple[Any, ...]]) -> None:
        """Gives states that are empty lists a tensor of no rows, as torchmetrics can only join tensors."""
        for (position, state), (shape, dtype) in shapes.items():
            metric = self._all_metrics()[position]
            if not getattr(metric, state):
                setattr(metric, state, [torch.zeros((0, *shape), dtype=dtype, device=metric.device)])

    def _value(self, name: str, position: int) -> float:
        value = self._all_metrics()[position].compute()
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise TypeError(f"metric {name!r} must compute to one number, got {value}")
        return value.item()

    def _add(self, name: str, value: Any, weight: float, count: Tensor | float) -> None:
        if not isinstance(value, (int, float)) and not (isinstance(value, Tensor) and value.numel() == 1):
            shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
            allowed = "a scalar tensor, a (sum, count) pair or a torchmetrics.Metric"
            raise TypeError(f"{name!r} must be {allowed}, got {type(value).__name__}{shape}")
        if name not in self._sums:
            self._sums[name], self._counts[name] = 0.0, 0
        self._sums[name] = _plus(self._sums[name], value, weight)
        self._counts[name] = _plus(self._counts[name], count)


def _plus(total: Tensor | float, value: Tensor | float, weight: float = 1) -> Tensor | float:
    """The weighted sum in double precision: a number, or a tensor on a device that would have to be waited for."""
    if not isinstance(value, Tensor):
        return total + weight * value
    if value.device.type == "cpu":
        return total + weight * value.item()
    if not isinstance(total, Tensor):
        dtype = torch.float32 if value.device.type == "mps" else torch.float64
        total = torch.full((), total, dtype=dtype, device=value.device)  # torch.tensor would wait
    return total.add_(value.detach().reshape(()), alpha=weight)


def get_metric_state(metric: Metric) -> MetricState:
    """The state of a metric, which does not change with it."""
    states = metric.metric_state.items()
    state: MetricState = {name: list(part) if isinstance(part, list) else part for name, part in states}
    return state | {"_update_count": metric.update_count}


def pop_metric_state(metric: Metric) -> MetricState:
    """Resets a metric and returns its state, so that another stage can use the same metric."""
    state = get_metric_state(metric)
    metric.reset()
    return state


def set_metric_state(metric: Metric, state: MetricState) -> None:
    """Gives a metric the state that ``get_metric_state`` or ``pop_metric_state`` returned."""
    metric.reset()
    for name, part in state.items():
        setattr(metric, name, apply_to_collection(part, Tensor, lambda tensor: tensor.to(metric.device)))


@contextmanager
def preserved(metrics: Sequence[Metric]) -> Iterator[None]:
    """Restores the states of metrics on exit."""
    states = [get_metric_state(metric) for metric in metrics]
    try:
        yield
    finally:
        for metric, state in zip(metrics, states, strict=True):
            set_metric_state(metric, state)
