"""TensorBoardCallback: what TensorBoard shows of a run besides the values of its epochs and its figures."""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightmodels.metrics.history import History, Row, best_epoch
from lightmodels.optim import lr_schedules
from lightmodels.utils.batch import forward_arguments
from lightmodels.utils.preserve import no_side_effects
from lightmodels.visualization.run_description import describe_run
from lightmodels.visualization.tensorboard_logger import find_logger, find_writer

LONG_EPOCH = 100  # steps, from which on the loss is also shown within epochs
STEP_INTERVAL = 50  # steps between these losses, each of which waits for the device


class TensorBoardCallback(pl.Callback):
    """Writes chart layout, net, hyper-parameters and a description of the run to the TensorBoard logger.

    Values of epochs are plotted over epochs, tags ``step/…`` over optimizer steps. Our Trainer adds this
    callback unless its callbacks include one. Without a TensorBoard logger it does nothing.

    Args:
        histograms: whether weights and gradients are written, at the last step of each epoch.
    """

    def __init__(self, histograms: bool = False) -> None:
        self.histograms = histograms
        if histograms:  # else steps need not call the hook
            self.on_before_optimizer_step = self._add_histograms  # type: ignore[method-assign]
        self._has_graph = self._has_layout = False
        self._batches_seen = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._has_graph = self._has_layout = False
        if writer := find_writer(trainer):
            with warn_on_error("the description of the run", pl_module):
                writer.add_text("run", describe_run(trainer, pl_module), 0)
            rows = getattr(trainer.train_dataloader, "tensors", None)
            if rows is not None:  # of other loaders, the first batch shows what the net takes
                self._add_graph(writer, pl_module, trainer.precision_plugin.convert_input(rows))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches_seen = 0
        self._add_layout(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._batches_seen = self._batches_seen, batch_idx + 1
        long = trainer.num_training_batches >= LONG_EPOCH
        due = long and before // STEP_INTERVAL < self._batches_seen // STEP_INTERVAL
        if self._has_graph and not due:
            return
        writer = find_writer(trainer)
        if writer and not self._has_graph:
            self._add_graph(writer, pl_module, batch)
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if writer and due and isinstance(loss, Tensor):
            writer.add_scalar("step/loss", loss.item(), trainer.global_step)
            writer.add_scalar("step/lr", float(lr_schedules.current_lr(trainer)), trainer.global_step)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._add_layout(trainer, pl_module)
        history, logger = getattr(pl_module, "history", None), find_logger(trainer)
        if logger and history:
            data_hparams = getattr(trainer.datamodule, "hparams", {})  # type: ignore[attr-defined]
            values = summary_values(history, best_epoch(trainer, history))
            logger.log_hyperparams(dict(pl_module.hparams) | dict(data_hparams), values, len(history))

    def _add_layout(self, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        history, writer = getattr(model, "history", None), find_writer(trainer)
        if writer and history and not self._has_layout:  # the first epoch's row has the names
            self._has_layout = True
            writer.add_custom_scalars(chart_layout(history.columns))

    def _add_graph(self, writer: Any, model: pl.LightningModule, batch: Any) -> None:
        self._has_graph = True
        with warn_on_error("the net's graph", model):
            add_graph(writer, model, batch)

    def _add_histograms(self, trainer: pl.Trainer, pl_module: nn.Module, optimizer: Optimizer) -> None:
        writer = find_writer(trainer) if trainer.is_last_batch else None
        if writer is None:
            return
        with warn_on_error("histograms", pl_module):
            for name, parameter in pl_module.named_parameters():
                for kind, values in (("weights", parameter), ("gradients", parameter.grad)):
                    if values is not None and values.numel():
                        dense = values.detach().to_dense()
                        writer.add_histogram(f"{kind}/{name}", dense, trainer.current_epoch + 1)


@contextmanager
def warn_on_error(what: str, model: nn.Module) -> Iterator[None]:
    """Turns an error into a warning, and leaves the model and the random states as they were."""
    try:
        with no_side_effects(model):
            yield
    except Exception as error:  # the model's code may raise anything
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(f"TensorBoard will not show {what}: {type(error).__name__}: {reason}", stacklevel=3)


def add_graph(writer: Any, model: pl.LightningModule, batch: Any) -> None:
    """Writes the net's graph, traced with one row; on a copy, because nets may count their calls."""
    net = getattr(model, "net", None)
    if net is None and type(model).forward is pl.LightningModule.forward:
        return  # the model does not use forward
    traced: Any = copy.deepcopy(model if net is None else net).eval()
    if net is None:
        traced.trainer = model.trainer  # which is not copied
    inputs, named = forward_arguments(batch, traced)
    if named:
        raise TypeError("its inputs have names")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's are for the net's author
        row = tuple(part[:1] for part in inputs)
        # The writer itself would trace the net three times, to check it, and print errors.
        trace = torch.jit.trace(traced, row, strict=False, check_trace=False)  # type: ignore[no-untyped-call]
        writer.add_graph(trace, row)


def chart_layout(names: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """Custom scalars: one chart for ``train_loss`` and ``val_loss``, and so on for all names."""
    metrics = sorted({name.partition("_")[2] for name in names if name.startswith(("train_", "val_"))})
    tags = {metric: [f"{stage}_{metric}" for stage in ("train", "val")] for metric in metrics}
    charts = {metric: ["Multiline", [tag for tag in tags[metric] if tag in names]] for metric in metrics}
    return {"training and validation": charts, "optimizer": {"learning rate": ["Multiline", ["lr"]]}}


def summary_values(history: History, best_epoch: int) -> dict[str, float]:
    """The best and the last epoch's values, named ``summary/best_val_loss``, ``summary/final_val_loss``, …"""
    best: Row = next((row for row in history if row["epoch"] == best_epoch), {})
    return {
        f"summary/{kind}_{name}": value
        for kind, row in (("best", best), ("final", history[-1]))
        for name, value in row.items()
        if name.startswith(("train_", "val_"))
    }
