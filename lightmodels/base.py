"""LightModel: a LightningModule of which only ``shared_step`` and the optimizer are left to write."""

import math
import time
import warnings
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torchmetrics import Metric

from lightmodels import data_info, processes, random_state, resume, weights
from lightmodels.batches import batch_size, inputs_of, values_and_size
from lightmodels.callbacks import EpochTable
from lightmodels.finite import FiniteGuard
from lightmodels.history import History, Row
from lightmodels.stages import Stages


class LightModel(pl.LightningModule):
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
    """

    max_epochs: ClassVar[int] = 10

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer rows than processes
        self.history = History()
        self.data_info: dict[str, Any] = {}
        self._stages = Stages(self._metrics)
        self._row: Row = {}  # of the epoch under way
        self._rate = math.nan  # of the last step, or a tensor
        self._resumed: list[dict[str, Any]] | None = None  # what a checkpoint holds of each process
        self._epoch_started = self._validation_started = self._validation_seconds = 0.0

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Calls the wrapped net.

        Raises:
            NotImplementedError: no net was given and the subclass has no ``forward``.
        """
        if self.net is None:
            raise NotImplementedError(
                f"{type(self).__name__} needs a net, LightModel(net), or its own forward"
            )
        return self.net(*inputs, **named)

    def shared_step(self, batch: Any) -> dict[str, Any]:
        """The one step to write: a batch in, ``{"loss": …, "acc": …, …}`` out."""
        raise NotImplementedError(f"{type(self).__name__} must define shared_step(batch) -> dict")

    def configure_callbacks(self) -> list[pl.Callback]:
        attached: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        ours = [callback for callback in attached if isinstance(callback, EpochTable)]
        if any(table.history is self.history for table in ours):
            return []
        return [EpochTable(self.history), FiniteGuard(self.history)]

    # Steps

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if optimizers := self.trainer.optimizers:
            self._rate = optimizers[0].param_groups[0]["lr"]
        loss, size = self._step("train", batch, self.trainer.train_dataloader)
        return loss if self.trainer.world_size == 1 else processes.weigh(loss, size, self.trainer)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("val", batch, dataloader_idx, self.trainer.val_dataloaders)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("test", batch, dataloader_idx, self.trainer.test_dataloaders)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """``forward`` of the batch's inputs: of all its parts but the last, the target."""
        wraps = self.net is not None and type(self).forward is LightModel.forward
        args, kwargs = inputs_of(batch, self.net.forward if wraps else self.forward)  # type: ignore[union-attr]
        return self(*args, **kwargs)

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
        values, size = values_and_size(self.shared_step(batch), batch, f"{type(self).__name__}.shared_step")
        self._stages.add(stage, values, size)
        return values["loss"], size

    # Epochs

    def on_train_start(self) -> None:
        processes.prepare_loaders(self.trainer.train_dataloader, self.trainer)
        self._epoch_started = time.perf_counter()
        if self._resumed:
            self._go_on(self._resumed)

    def on_train_epoch_start(self) -> None:
        self._stages.start("train")
        self._row = {}
        self._epoch_started = time.perf_counter()
        self._validation_seconds = 0.0

    def on_validation_epoch_start(self) -> None:
        self._validation_started = time.perf_counter()
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
            self._row |= values
            self._publish(values)
            self._validation_seconds += time.perf_counter() - self._validation_started

    def on_test_epoch_end(self) -> None:
        self._publish(self._stages.finish("test", self.trainer))

    def on_train_epoch_end(self) -> None:
        samples = processes.total(torch.tensor(float(self._stages.samples("train"))), self.trainer)
        values = self._stages.finish("train", self.trainer)
        self._publish(values)
        seconds = time.perf_counter() - self._epoch_started
        row = {"epoch": self.history.next_epoch, **values, **self._row, "lr": float(self._rate)}
        row |= {
            "seconds": seconds,
            "samples_per_second": samples.item() / (seconds - self._validation_seconds),
        }
        self.history.append(row)
        for logger in self.loggers:
            logger.log_metrics({name: row[name] for name in row if name != "epoch"}, step=int(row["epoch"]))

    def _metrics(self) -> list[Metric]:
        return [module for module in self.modules() if isinstance(module, Metric)]

    def _publish(self, values: Row) -> None:
        """Makes the values known to callbacks and, of a lone validation or a test, to the caller."""
        if self.trainer.world_size > 1:  # they are the same on every process already
            warnings.filterwarnings("ignore", message=rf".*self.log\('({'|'.join(values)})'.*sync_dist=True")
        exact = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
        # ``None`` hands them to loggers and caller; of a training epoch the loggers get the whole row.
        logger = False if self.trainer.state.fn == TrainerFn.FITTING else None
        self.log_dict(exact, logger=logger, batch_size=1, add_dataloader_idx=False)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model_class"] = type(self).__name__
        checkpoint["history"] = self.history.state_dict()
        checkpoint["data_info"] = self.data_info = data_info.of(self.trainer, self.data_info)
        mine = {"random": random_state.collect(), "stages": self._stages.state_dict(), "row": self._row}
        mine["rate"] = float(self._rate)  # type: ignore[assignment]
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
        self._row, self._rate = mine["row"], mine["rate"]
        random_state.restore(mine["random"])
        resume.rewind_loaders(self.trainer)
