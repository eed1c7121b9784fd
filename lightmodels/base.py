"""LightModel: a LightningModule of which only ``shared_step`` and the optimizer are left to write."""

from typing import TYPE_CHECKING, Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from lightmodels import data_info, default_figures, processes, random_state, resume, schedules, weights
from lightmodels.bad_input import require_gradient
from lightmodels.batches import batch_size, run_step, values_and_size
from lightmodels.core.embedding import Embedding
from lightmodels.epoch_row import EpochRow
from lightmodels.epoch_table import EpochTable
from lightmodels.finite import FiniteGuard
from lightmodels.stages import Stages, publish
from lightmodels.step_model import StepModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LightModel(StepModel):
    """A LightningModule whose training, validation and test steps are one ``shared_step``.

    Subclass it and write ``shared_step(batch) -> dict`` and ``configure_optimizers``; or wrap a
    net, ``Model(net)``, and ``forward`` calls it. A subclass that overrides one of the hooks
    below calls ``super()``'s too, as the epoch's values are gathered there.

    ``shared_step`` returns ``"loss"`` and any number of metrics, each a scalar tensor (the mean
    over the batch), a ``(sum, count)`` pair, or a ``torchmetrics.Metric`` of the model that the
    step has updated; and, if the number of samples cannot be read off the batch, ``"size"``.
    Their exact values over all samples of the epoch are known to callbacks and loggers as
    ``train_loss``, ``val_loss``, ``test_loss``, ``train_acc``, and so on.

    Args:
        net: the network that ``forward`` calls; left out if the subclass defines ``forward``.

    Attributes:
        history: the ``History`` of all epochs trained, in the checkpoint and resumed with it.
        data_info: the ``info`` of the data module trained with, from the checkpoint; else empty.
        max_epochs: epochs that the training recipe of this class is made for.

    Example:
        >>> class Line(LightModel):
        ...     def shared_step(self, batch):
        ...         x, y = batch
        ...         error = self(x) - y
        ...         return {"loss": error.square().mean(), "mae": error.abs().mean()}
        ...
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=0.1)
        >>> line = Line(nn.Linear(1, 1))
        >>> sorted(line.train_on_batch((torch.ones(3, 1), torch.ones(3, 1))))
        ['loss', 'mae']
    """

    max_epochs: ClassVar[int] = 10

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__(net)
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer rows than processes
        self.data_info: dict[str, Any] = {}
        self._stages = Stages(self._metrics)
        self._row = EpochRow()
        self._resumed: list[dict[str, Any]] | None = None  # what a checkpoint holds of each process

    def configure_callbacks(self) -> list[pl.Callback]:
        attached: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(each, EpochTable) and each.history is self.history for each in attached):
            return []
        return [EpochTable(self.history, self._stages.running_loss), FiniteGuard(self.history)]

    def figures(self, batch: Any, outputs: Any) -> "dict[str, Figure]":
        """The figures to draw, by name; a Trainer calls it in evaluation mode, on its first process only.

        Args:
            batch: up to 2,000 rows of the validation data.
            outputs: the output of ``forward`` for them.
        """
        return default_figures.of(self, batch, outputs)

    def texts(self, batch: Any, outputs: Any) -> dict[str, str]:
        """Markdown texts to show, by name; called as ``figures`` is."""
        return {}

    def embeddings(self, batch: Any, outputs: Any) -> dict[str, Embedding]:
        """Points for TensorBoard's projector, by name; called as ``figures`` is, with the best weights."""
        return {}

    # Steps

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self._row.rate = schedules.current_rate(self.trainer)
        loss, size = self._step("train", batch, self.trainer.train_dataloader)
        require_gradient(loss, self)
        return loss if self.trainer.world_size == 1 else processes.weigh(loss, size, self.trainer)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("val", batch, dataloader_idx, self.trainer.val_dataloaders)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("test", batch, dataloader_idx, self.trainer.test_dataloaders)

    def _evaluate(self, stage: str, batch: Any, index: int, loaders: Any) -> None:
        self._stages.change_loader(stage, index, self.trainer)
        self._step(stage, batch, loaders[index] if isinstance(loaders, (list, tuple)) else loaders)

    def _step(self, stage: str, batch: Any, loader: Any) -> tuple[Tensor, int]:
        """The loss and the number of samples; adds all values to the stage's."""
        if self.trainer.world_size > 1:
            seen = self._stages.samples(stage)
            batch, size = processes.without_padding(batch, batch_size(batch), loader, seen, self.trainer)
            if not size:
                return processes.zero_loss(self), 0
        values, size = run_step(self.shared_step, batch)
        self._stages.add(stage, values, size)
        return values["loss"], size

    def record(self, values: dict[str, Any], batch: Any) -> None:
        """Adds a batch's values, as of ``shared_step``, in a ``training_step`` of one's own."""
        self._row.rate = schedules.current_rate(self.trainer)
        values, size = values_and_size(values, batch, f"{type(self).__name__}.training_step")
        self._stages.add("train", values, size)

    def _trains_by_shared_step(self) -> bool:
        return super()._trains_by_shared_step() and type(self).training_step is LightModel.training_step

    # Epochs

    def on_train_start(self) -> None:
        processes.prepare_loaders(self.trainer.train_dataloader, self.trainer)
        self.data_info = data_info.of(self.trainer, self.data_info)
        self._row.start_clock()
        self._batches = None
        if self._resumed:
            self._go_on(self._resumed)

    def on_train_epoch_start(self) -> None:
        self._stages.start("train")
        self._row.start()

    def on_validation_epoch_start(self) -> None:
        self._row.start_validation()
        processes.prepare_loaders(self.trainer.val_dataloaders, self.trainer)
        self._stages.start("val")

    def on_test_epoch_start(self) -> None:
        processes.prepare_loaders(self.trainer.test_dataloaders, self.trainer)
        self._stages.start("test")

    def on_predict_epoch_start(self) -> None:
        processes.prepare_loaders(self.trainer.predict_dataloaders, self.trainer)

    def on_validation_epoch_end(self) -> None:
        values = self._stages.finish("val", self.trainer)
        if not self.trainer.sanity_checking:
            publish(self, values)
            self._row.end_validation(values)

    def on_test_epoch_end(self) -> None:
        publish(self, self._stages.finish("test", self.trainer))

    def on_train_epoch_end(self) -> None:
        samples = processes.total(torch.tensor(float(self._stages.samples("train"))), self.trainer)
        values = self._stages.finish("train", self.trainer)
        publish(self, values)
        row = self._row.finish(self.history.next_epoch, values, samples.item())
        self.history.append(row)
        for logger in self.loggers:
            logger.log_metrics({name: row[name] for name in row if name != "epoch"}, step=int(row["epoch"]))

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model_class"] = type(self).__name__
        checkpoint["history"] = self.history.state_dict()
        checkpoint["data_info"] = self.data_info
        states = {"stages": self._stages.state_dict(), "row": self._row.state_dict()}
        mine = {"random": random_state.collect(), **states}
        checkpoint["processes"] = processes.gather(mine, self.trainer.world_size)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        fitting = self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING
        if fitting:
            weights.require_fit(self, checkpoint, self.trainer.ckpt_path)
        if "history" in checkpoint and (fitting or self._trainer is None):
            self.history.load_state_dict(checkpoint["history"])
            self.data_info = checkpoint.get("data_info", {})
        self._resumed = checkpoint.get("processes") if fitting else None

    def _go_on(self, states: list[dict[str, Any]]) -> None:
        """Puts back what a resumed run needs to be the run that was never stopped."""
        self._resumed = None
        mine = resume.of_process(states, self.trainer.global_rank, self.trainer.world_size)
        self._stages.load_state_dict(mine["stages"], self.device)
        self._row.load_state_dict(mine["row"])
        random_state.restore(mine["random"])
        resume.rewind_loaders(self.trainer)
