"""Dashboard: what TensorBoard shows of a run besides the values of its epochs."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.optim import Optimizer

from lightmodels import run_card
from lightmodels.metrics.history import History, Row, best_epoch
from lightmodels.optim import lr_schedules
from lightmodels.utils.batch import forward_arguments
from lightmodels.utils.preserve import no_side_effects

LONG_EPOCH = 100  # steps, from which on the loss inside an epoch is shown too
STEPS_APART = 50  # between such losses, as each waits for the device


class Dashboard(pl.Callback):
    """Writes charts' layout, net, hyper-parameters and a card of the run to the TensorBoard logger.

    Epochs' values are drawn over epochs, tags ``step/…`` over optimizer steps. It runs beside any
    logger, and does nothing without one of TensorBoard. Our Trainer brings one, unless there is one
    among its callbacks, as ``Dashboard(histograms=True)``.

    Args:
        histograms: whether weights and gradients are written, at each epoch's last step.
    """

    def __init__(self, histograms: bool = False) -> None:
        self.histograms = histograms
        if histograms:  # else no step need be asked for them
            self.on_before_optimizer_step = self._add_histograms  # type: ignore[method-assign]
        self._has_graph = self._laid_out = False
        self._first = 0  # batch of an execution

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._has_graph = self._laid_out = False
        if writer := writer_of(trainer):
            with harmless("the card of the run", pl_module):
                writer.add_text("run", run_card.card(trainer, pl_module), 0)
            rows = getattr(trainer.train_dataloader, "tensors", None)
            if rows is not None:  # of other loaders the first batch must tell what the net takes
                self._add_graph(writer, pl_module, trainer.precision_plugin.convert_input(rows))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._first = batch_idx

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = self._first // STEPS_APART < (batch_idx + 1) // STEPS_APART
        due = due and trainer.num_training_batches >= LONG_EPOCH
        if self._has_graph and not due:
            return
        writer = writer_of(trainer)
        if writer and not self._has_graph:
            self._add_graph(writer, pl_module, batch)
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if writer and due and isinstance(loss, Tensor):
            writer.add_scalar("step/loss", loss.item(), trainer.global_step)
            writer.add_scalar("step/lr", float(lr_schedules.current_lr(trainer)), trainer.global_step)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._lay_out(trainer, pl_module)

    def _add_histograms(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        writer = writer_of(trainer) if trainer.is_last_batch else None
        if writer:
            with harmless("histograms", pl_module):
                add_histograms(writer, pl_module, trainer.current_epoch + 1)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._lay_out(trainer, pl_module)
        history, logger = getattr(pl_module, "history", None), logger_of(trainer)
        if logger and history:
            of_data = getattr(trainer.datamodule, "hparams", {})  # type: ignore[attr-defined]
            values = reached(history, best_epoch(trainer, history))
            logger.log_hyperparams(dict(pl_module.hparams) | dict(of_data), values, len(history))

    def _lay_out(self, trainer: pl.Trainer, model: pl.LightningModule) -> None:
        """Puts what belongs together in one chart, as soon as the names are known."""
        history, writer = getattr(model, "history", None), writer_of(trainer)
        if writer and history and not self._laid_out:
            self._laid_out = True
            writer.add_custom_scalars(run_card.layout(history.columns))

    def _add_graph(self, writer: Any, model: pl.LightningModule, batch: Any) -> None:
        self._has_graph = True
        with harmless("the net's graph", model):
            add_graph(writer, model, batch)


@contextmanager
def harmless(what: str, model: nn.Module) -> Iterator[None]:
    """Makes an error a warning, and leaves no trace in the model or the random states."""
    try:
        with no_side_effects(model):
            yield
    except Exception as error:  # the model's own code runs in there
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(f"TensorBoard will not show {what}: {type(error).__name__}: {reason}", stacklevel=3)


def add_histograms(writer: Any, model: nn.Module, epoch: int) -> None:
    """Weights and gradients of every parameter that has any."""
    for name, parameter in model.named_parameters():
        for kind, values in (("weights", parameter), ("gradients", parameter.grad)):
            if values is not None and values.numel():
                writer.add_histogram(f"{kind}/{name}", values.detach().to_dense(), epoch)


def logger_of(trainer: pl.Trainer) -> Any:
    """The TensorBoard logger of the first process; None on others, or without one."""
    found = [each for each in trainer.loggers if isinstance(each, TensorBoardLogger)]
    return found[0] if found and trainer.is_global_zero else None


def writer_of(trainer: pl.Trainer) -> Any:
    """The ``SummaryWriter`` of ``logger_of``."""
    logger = logger_of(trainer)
    return logger and logger.experiment


def reached(history: History, best_epoch: int) -> dict[str, float]:
    """``summary/best_val_loss``, ``summary/final_val_loss`` and so on."""
    best: Row = next((row for row in history if row["epoch"] == best_epoch), {})
    return {
        f"summary/{kind}_{name}": value
        for kind, row in (("best", best), ("final", history[-1]))
        for name, value in row.items()
        if name.startswith(("train_", "val_"))
    }


def add_graph(writer: Any, model: pl.LightningModule, batch: Any) -> None:
    """The net as TensorBoard's graph, traced on the first row; of a copy, as nets may count their calls."""
    net = getattr(model, "net", None)
    if net is None and type(model).forward is pl.LightningModule.forward:
        return  # its steps do without
    traced: Any = copy.deepcopy(model if net is None else net).eval()
    if net is None:
        traced.trainer = model.trainer  # which a copy does not keep
    inputs, named = forward_arguments(batch, traced)
    if named:
        raise TypeError("its inputs have names")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, to the net's author
        row = tuple(part[:1] for part in inputs)
        # The writer takes a trace as it is; its own it would run thrice to check, and print errors of it.
        trace = torch.jit.trace(traced, row, strict=False, check_trace=False)  # type: ignore[no-untyped-call]
        writer.add_graph(trace, row)
