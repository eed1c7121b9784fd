"""NetSpec: loss, metrics, optimizer and schedule of ``LightModel.from_net``."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torchmetrics import Metric

Loss = Callable[[Any, Tensor], Tensor]
MetricLike = Metric | Callable[[Any, Tensor], Tensor]
OptimizerLike = Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer]

LOSSES: dict[str, Loss] = {
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,
    "cross_entropy": F.cross_entropy,
    "bce": F.binary_cross_entropy_with_logits,
}
OPTIMIZERS = {  # Keras spells them in lower case
    name.lower(): kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, Optimizer) and kind is not Optimizer
}
LABEL_LOSSES = (F.cross_entropy, F.nll_loss, nn.CrossEntropyLoss, nn.NLLLoss)  # of class labels, 0..C-1


class NetSpec(nn.Module):
    """How to train a net; batches are ``(input, …, target)``. Arguments are those of ``from_net``."""

    def __init__(
        self,
        loss: Loss | str,
        metrics: Mapping[str, MetricLike],
        optimizer: OptimizerLike | str,
        scheduler: Callable[[Optimizer], Any] | None = None,
    ) -> None:
        super().__init__()
        names = [kind.__name__ for kind in OPTIMIZERS.values()]
        self.loss: Loss = _by_name("loss", loss, LOSSES, list(LOSSES), "a function (output, target) -> scalar")
        self.optimizer: OptimizerLike = _by_name(
            "optimizer", optimizer, OPTIMIZERS, names, "an optimizer, or a function that makes it"
        )
        _check_parts(self.loss, metrics, self.optimizer, scheduler)
        if reserved := {"loss", "size"} & metrics.keys():
            raise ValueError(f"metrics must have names other than {', '.join(sorted(reserved))}")
        self.scheduler = scheduler
        self.takes_labels = _takes_labels(self.loss)
        self.functions = dict(metrics)
        self.metrics = nn.ModuleList(m for m in metrics.values() if isinstance(m, nn.Module))

    def step(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        """What ``shared_step`` returns."""
        if not (isinstance(batch, Sequence) and len(batch) > 1):
            raise ValueError("batches must be (input, …, target), got one without a target")
        *inputs, target = batch
        output = model(*inputs)
        target = align_labels(output, target) if self.takes_labels else align(output, target)
        values: dict[str, Any] = {"loss": self.loss(output, as_float(output, target))}
        for name, metric in self.functions.items():
            if isinstance(metric, Metric):
                metric.update(output, target)
                values[name] = metric
            else:
                values[name] = metric(output, target)
        return values

    def configure(self, model: Any) -> OptimizerLRScheduler:
        """What ``configure_optimizers`` returns."""
        given = self.optimizer
        optimizer = given if isinstance(given, Optimizer) else given(model.parameters())
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f"optimizer must make a torch.optim.Optimizer, got {type(optimizer).__name__}")
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        if trained.isdisjoint(map(id, model.parameters())):
            raise ValueError("optimizer has none of the net's parameters: make it of net.parameters()")
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] if model.lr is None else model.lr
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer)}


def _by_name(argument: str, given: Any, known: Mapping[str, Any], names: Sequence[str], otherwise: str) -> Any:
    if not isinstance(given, str):
        return given
    if given.lower() not in known:
        raise ValueError(f"{argument} must be {otherwise}, or one of {', '.join(names)}; got {given!r}")
    return known[given.lower()]


def _check_parts(loss: Any, metrics: Any, optimizer: Any, scheduler: Any) -> None:
    """Raises ValueError for arguments of ``from_net`` that would fail at the first step, far from their cause."""
    if not isinstance(metrics, Mapping):
        example = "{'acc': torchmetrics.classification.MulticlassAccuracy(10)}"
        raise ValueError(f"metrics must be a mapping of name -> metric, such as {example}; got {_one_line(metrics)}")
    for name, part in {"loss": loss, **{f"metrics[{name!r}]": metric for name, metric in metrics.items()}}.items():
        if isinstance(part, type) and issubclass(part, nn.Module):
            raise ValueError(f"{name} must be an object, got the class {part.__name__}: pass {part.__name__}(…)")
        if not callable(part):
            raise ValueError(f"{name} must be a function (output, target) -> scalar, got {_one_line(part)}")
    if not isinstance(optimizer, Optimizer) and not callable(optimizer):
        raise ValueError(
            f"optimizer must be an optimizer, a name, or a function that makes it; got {_one_line(optimizer)}"
        )
    if scheduler is not None and not callable(scheduler):
        raise ValueError(
            f"scheduler must be a function that makes a schedule of the optimizer, got {_one_line(scheduler)}"
        )


def _one_line(value: Any) -> str:
    return " ".join(repr(value).split())


def _takes_labels(loss: Any) -> bool:
    while isinstance(loss, functools.partial):
        loss = loss.func
    return loss in LABEL_LOSSES or isinstance(loss, (nn.CrossEntropyLoss, nn.NLLLoss))


def align_labels(output: Any, target: Any) -> Any:
    """The target of a cross-entropy: class labels as int64 and without a trailing dimension of one; or probabilities.

    Raises:
        ValueError: one output, with which any cross-entropy is 0, labels that are floats, or shapes that do not fit.
    """
    if not isinstance(output, Tensor) or not isinstance(target, Tensor) or output.dim() < 2:
        return target
    if output.shape[1] == 1:
        raise ValueError("loss: cross-entropy needs one output per class, got 1; use 'bce' for a single output")
    shape = output.shape[:1] + output.shape[2:]
    if target.shape not in (shape, (*shape, 1)):
        return align(output, target)
    if target.is_floating_point():
        kind = str(target.dtype).removeprefix("torch.")
        raise ValueError(f"loss: cross-entropy needs class labels that are integers, got {kind}: pass target.long()")
    return target.reshape(shape).long()


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
