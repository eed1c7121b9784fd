"""LightModel: a LightningModule that needs only ``shared_step`` and an optimizer."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric
from typing_extensions import Self

from lightmodels.callbacks.epoch_table import EpochTable
from lightmodels.callbacks.terminate_on_nan import TerminateOnNaN
from lightmodels.callbacks.unpadded_sampling import UnpaddedSampling
from lightmodels.checkpointing import files
from lightmodels.checkpointing.weights import check_compatible
from lightmodels.core.batch_trainer import BatchTrainer
from lightmodels.core.embedding import Embedding
from lightmodels.core.epoch_recorder import EpochRecorder, add_callbacks_of
from lightmodels.core.net_layers import describe_layers
from lightmodels.core.net_spec import Loss, MetricLike, NetSpec, OptimizerLike
from lightmodels.inputs.kinds import is_valid
from lightmodels.inputs.pipeline import Pipeline, Predictions
from lightmodels.metrics.epoch_means import preserved
from lightmodels.metrics.history import History
from lightmodels.metrics.stage_metrics import EpochRecord, StageMetrics
from lightmodels.optim.lr_schedules import attached_trainer, current_lr
from lightmodels.plots.defaults import default_figures
from lightmodels.utils import distributed, lightning_internals
from lightmodels.utils.batch import forward_arguments, inputs_and_target, run_step, values_and_size, warn_of_none
from lightmodels.utils.data_error import DataError
from lightmodels.utils.preserve import eval_mode
from lightmodels.utils.step_errors import explain_errors, require_gradient

if TYPE_CHECKING:
    from matplotlib.figure import Figure


RESUMABLE = ("epoch", "global_step", "loops", "optimizer_states", "lr_schedulers")  # keys of a checkpoint


class LightModel(pl.LightningModule):
    """A LightningModule whose training, validation and test steps are one ``shared_step``.

    Subclass it and write ``shared_step(batch) -> dict`` and ``configure_optimizers``; or wrap a net,
    ``Model(net)``, and ``forward`` calls it. All hooks are yours; none needs to call ``super()``.

    ``shared_step`` returns ``"loss"`` and any number of metrics, each a scalar tensor (the mean over the
    batch), a ``(sum, count)`` pair, or a ``torchmetrics.Metric`` of the model that the step has updated;
    and ``"size"`` if the number of samples cannot be inferred from the batch. Callbacks and loggers receive the
    exact values over all samples of an epoch as ``train_loss``, ``val_loss``, ``test_loss``, ``train_acc``, …

    Without a Trainer, ``train_on_batch`` and ``test_on_batch`` train in a loop of your own, with
    bit-identical results. They use ``configure_optimizers``, called at the first batch: have the model on its
    device, and in ``train()`` mode, by then. A ``fit`` in between discards an unfinished epoch and resets the
    optimizer and schedules.

    Args:
        net: the network that ``forward`` calls; omit it if the subclass defines ``forward``.

    Attributes:
        history: the ``History`` of all epochs trained; saved in checkpoints.
        data_info: the ``info`` of the data module trained with; set when training starts, and from a checkpoint.
        max_epochs: number of epochs that this class's training recipe is tuned for; a Trainer's default.
        total_steps: optimizer steps of the whole training, for schedules that need it without a Trainer.

    Examples:
        >>> class Line(LightModel):
        ...     def shared_step(self, batch):
        ...         x, y = batch
        ...         error = self(x) - y
        ...         return {"loss": error.square().mean(), "mae": error.abs().mean()}
        ...
        ...     def configure_optimizers(self):
        ...         return torch.optim.SGD(self.parameters(), lr=0.1)
        >>> line = Line(nn.Linear(1, 1))
        >>> for epoch in range(2):
        ...     for batch in [(torch.ones(3, 1), torch.ones(3, 1))] * 4:
        ...         values = line.train_on_batch(batch)
        ...     line.reset_metrics()
        >>> sorted(values), len(line.history)
        (['loss', 'mae'], 2)
    """

    max_epochs: ClassVar[int] = 10
    total_steps: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if own := vars(cls).get("configure_callbacks"):
            cls.configure_callbacks = add_callbacks_of(LightModel, own)  # type: ignore[assignment, method-assign]

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net
        self.history = History()
        self.data_info: dict[str, Any] = {}
        self.allow_zero_length_dataloader_with_multiple_devices = True  # there may be fewer rows than processes
        self._net_spec: NetSpec | None = None  # of from_net
        self._batch_trainer: BatchTrainer | None = None
        self._counted_batch = -1  # the batch whose values the epoch's have
        self._checked_stages: set[str] = set()  # whose first batch's loss was checked
        self._stage_metrics = StageMetrics(self._metrics)
        self._epoch_record = EpochRecord()

    @classmethod
    def from_net(
        cls,
        net: nn.Module,
        *,
        loss: Loss | str,
        metrics: Mapping[str, MetricLike] | None = None,
        optimizer: OptimizerLike | str = torch.optim.Adam,
        scheduler: Callable[[Optimizer], Any] | None = None,
    ) -> Self:
        """Makes a model of a net and its loss, with no class to write; batches are ``(input, …, target)``.

        Args:
            net: the network.
            loss: ``(output, target) -> scalar``, the mean over the batch; or ``"mse"``, ``"mae"``, ``"huber"``,
                ``"cross_entropy"`` or ``"bce"``, the last two of logits.
            metrics: name -> ``torchmetrics.Metric``, or ``(output, target) -> scalar``, a batch's mean.
            optimizer: an optimizer, or a class or ``functools.partial`` that makes one of the parameters; or the name
                of a class in ``torch.optim``, such as ``"adam"``.
            scheduler: makes a schedule of the optimizer, which steps once an epoch.

        Raises:
            ValueError: an argument that is none of these, or a metric named ``loss`` or ``size``.

        Examples:
            >>> from lightmodels import LightModel
            >>> model = LightModel.from_net(nn.Linear(2, 1), loss="mse", optimizer="sgd")
            >>> sorted(model.train_on_batch((torch.ones(4, 2), torch.ones(4, 1))))
            ['loss']
        """
        if not isinstance(net, nn.Module):
            raise ValueError(f"net must be a torch.nn.Module, such as nn.Linear(2, 1), got {net!r}")
        model = cls(net)
        model.set_training(loss, metrics, optimizer, scheduler)
        return model

    def set_training(
        self,
        loss: Loss | str,
        metrics: Mapping[str, MetricLike] | None = None,
        optimizer: OptimizerLike | str = torch.optim.Adam,
        scheduler: Callable[[Optimizer], Any] | None = None,
    ) -> None:
        """Sets how a wrapped net is trained; the arguments are those of ``from_net``.

        The attribute ``lr``, unless None, replaces the optimizer's learning rate; ``Tuner.lr_find`` sets it.
        """
        vars(self).setdefault("lr", None)
        self._net_spec = NetSpec(loss, {} if metrics is None else metrics, optimizer, scheduler)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Calls the wrapped net.

        Raises:
            NotImplementedError: no net was given and the subclass has no ``forward``.
        """
        if self.net is None:
            raise NotImplementedError(f"{type(self).__name__} needs a net, LightModel(net), or its own forward")
        return self.net(*inputs, **named)

    def shared_step(self, batch: Any) -> dict[str, Any]:
        """The one step to write: a batch in, ``{"loss": …, "acc": …, …}`` out."""
        if self._net_spec is None:
            raise NotImplementedError(f"{type(self).__name__} must define shared_step(batch) -> dict")
        return self._net_spec.step(self, batch)

    @property
    def higher_is_better(self) -> dict[str, bool | None]:
        """Whether a higher value is better, of ``val_f1`` etc.: of ``Metric`` objects that steps have returned."""
        return self._stage_metrics.higher_is_better

    # What a Trainer draws and writes of the model

    def figures(self, batch: Any, outputs: Any) -> "dict[str, Figure]":
        """The figures to draw, by name; a Trainer calls it in evaluation mode, on its first process only.

        Args:
            batch: up to 2,000 rows of the validation data.
            outputs: what ``forward`` gives for them.
        """
        return default_figures(self, inputs_and_target(batch, self._forward_module()), outputs)

    def texts(self, batch: Any, outputs: Any) -> dict[str, str]:
        """Markdown texts to show, by name; called as ``figures`` is."""
        return {}

    def embeddings(self, batch: Any, outputs: Any) -> dict[str, Embedding]:
        """Points for TensorBoard's projector, by name; called as ``figures`` is, with the best weights."""
        return {}

    # Batch by batch, without a Trainer

    def train_on_batch(self, batch: Any) -> dict[str, float]:
        """Makes one optimizer step; returns the means over the training batches of this epoch so far.

        Raises:
            ValueError: several optimizers, or a ``training_step`` or another per-step hook is overridden:
                these need a Trainer.
            FloatingPointError: a loss that is not finite.
        """
        return self._get_batch_trainer().train(batch)

    def test_on_batch(self, batch: Any) -> dict[str, float]:
        """Returns the means over the batches tested in this epoch so far, the history's ``val_*``."""
        return self._get_batch_trainer().test(batch)

    @torch.no_grad()
    def predict_on_batch(self, batch: Any) -> Any:
        """``predict_step`` in evaluation mode, of inputs alone or of a batch with its target."""
        with eval_mode(self):
            return self.predict_step(move_data_to_device(batch, self.device), 0)

    def reset_metrics(self) -> None:
        """Call it after each epoch: appends its row to the history, steps the schedules and resets the means."""
        self._get_batch_trainer().end_epoch()

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """As in Lightning; without a Trainer, or outside its ``fit``, the optimizer of ``train_on_batch``."""
        trainer = attached_trainer(self)
        if self.fabric or (trainer and (trainer.training or self._batch_trainer is None)):
            return super().optimizers(use_pl_optimizer)
        return self._get_batch_trainer().optimizer

    def _get_batch_trainer(self) -> BatchTrainer:
        if self._batch_trainer is None:
            self._batch_trainer = BatchTrainer(self)
        return self._batch_trainer

    # Steps

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self._epoch_record.lr = current_lr(self.trainer)
        if batch_idx == self._counted_batch:  # LBFGS and others evaluate the loss several times in a step
            with preserved(self._metrics()):
                loss, size = self._step("train", batch, batch_idx, self.trainer.train_dataloader, counts=False)
        else:
            loss, size = self._step("train", batch, batch_idx, self.trainer.train_dataloader)
        self._counted_batch = batch_idx
        require_gradient(loss, self)
        if self.trainer.world_size == 1:
            return loss
        return distributed.scale_loss_for_ddp(loss, size, self.trainer)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("val", batch, batch_idx, dataloader_idx, self.trainer.val_dataloaders)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate("test", batch, batch_idx, dataloader_idx, self.trainer.test_dataloaders)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Calls ``forward`` on the inputs: all parts of the batch but the last, the target."""
        if batch is None:
            return warn_of_none("predict")
        args, kwargs = forward_arguments(batch, self._forward_module())
        return explain_errors(self, *args, **kwargs)

    def log_batch(self, values: dict[str, Any], batch: Any) -> None:
        """Adds a batch's values, as ``shared_step`` returns them, from a ``training_step`` of your own."""
        self._epoch_record.lr = current_lr(self.trainer)
        values, size = values_and_size(values, batch, self.training_step)
        self._stage_metrics.add("train", values, size)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and schedules, in any form that Lightning takes."""
        if self._net_spec is None:
            raise NotImplementedError(f"{type(self).__name__} must define configure_optimizers()")
        return self._net_spec.configure(self)

    def configure_callbacks(self) -> list[pl.Callback]:
        """The callbacks that a LightModel brings along; those of an override are added to them."""
        attached: list[pl.Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(each, EpochRecorder) and each.model is self for each in attached):
            return []
        table = EpochTable(self.history, self._stage_metrics.running_loss)
        return [TerminateOnNaN(self.history), EpochRecorder(self), table, UnpaddedSampling()]

    def _evaluate(self, stage: str, batch: Any, batch_idx: int, index: int, loaders: Any) -> None:
        if batch is None:
            warn_of_none(stage)
            return
        self._stage_metrics.change_loader(stage, index, self.trainer)
        self._step(stage, batch, batch_idx, loaders[index] if isinstance(loaders, (list, tuple)) else loaders)

    def _step(self, stage: str, batch: Any, batch_idx: int, loader: Any, counts: bool = True) -> tuple[Tensor, float]:
        """Runs ``shared_step`` and adds its values, if it counts; returns the loss and the batch's size."""
        if self.trainer.world_size > 1 and not distributed.has_rows(batch, batch_idx, loader, self.trainer):
            return distributed.zero_loss(self), 0
        values, size = run_step(self.shared_step, batch, is_first=stage not in self._checked_stages)
        self._checked_stages.add(stage)
        if counts:
            self._stage_metrics.add(stage, values, size)
        return values["loss"], size

    def _forward_module(self) -> nn.Module:
        """The module whose ``forward`` has the parameters: the net, if ``forward`` only calls it."""
        return self.net if self.net is not None and type(self).forward is LightModel.forward else self

    def _trains_by_shared_step(self) -> bool:
        """Whether training is nothing but one optimizer's steps on the loss of ``shared_step``."""
        return self.automatic_optimization and type(self).training_step is LightModel.training_step

    def _metrics(self) -> list[Metric]:
        """All Metric objects of the model, always in the same order."""
        return [module for module in self.modules() if isinstance(module, Metric)]

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "history" not in checkpoint:  # of weights only, for which no callback is asked
            self.add_to_checkpoint(checkpoint)

    def add_to_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what ``lightmodels.load`` needs: the name of the class, the history and ``data_info``."""
        checkpoint["model_class"] = type(self).__name__
        checkpoint["history"] = self.history.state_dict()
        checkpoint["data_info"] = self.data_info
        takes_net = "net" in inspect.signature(type(self)).parameters
        if takes_net and (layers := describe_layers(self.net)):
            checkpoint["net_layers"] = layers

    def predict(self, data: Any) -> Predictions:
        """Predictions for raw data, such as the model was trained on: a DataFrame, a list of image paths or of texts.

        They are computed as ``predict.py`` does; the preprocessing is described by ``data_info``. The model is put into
        evaluation mode.

        Raises:
            DataError: an input that cannot be used, which is named, or a model whose data has no such description.
        """
        if not is_valid(self.data_info):
            raise DataError(f"{type(self).__name__} has no data_info from which raw data can be prepared")
        pipeline = Pipeline(self, self.data_info)
        return pipeline.predict(pipeline.inputs.convert(data))

    def save(self, path: str | Path) -> None:
        """Writes the model to a file, atomically, for ``lightmodels.load``: weights, hyper-parameters and history.

        Raises:
            CheckpointError: the file cannot be written.
            TypeError: the model holds more than plain data; the key is named.
        """
        checkpoint = {"state_dict": self.state_dict(), **lightning_internals.saved_hparams(self)}
        self.add_to_checkpoint(checkpoint)
        self.on_save_checkpoint(checkpoint)
        files.save_checkpoint(checkpoint, path)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # as Lightning's, but reads files as ``lightmodels.load`` does
        cls,
        checkpoint_path: str | Path,
        map_location: Any = None,
        hparams_file: str | Path | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """As in Lightning, from a local file that is verified first; ``lightmodels.load`` is simpler.

        Raises:
            CheckpointError: no such file, a damaged one, or one that holds more than plain data, unless
                ``weights_only=False`` says that its code may be run.
        """
        files.load_checkpoint(checkpoint_path, weights_only)
        options = {"weights_only": weights_only is not False, **kwargs}
        return super().load_from_checkpoint(checkpoint_path, map_location, hparams_file, strict, **options)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trainer = attached_trainer(self)
        if trainer is None:
            self.restore_history(checkpoint)
        elif trainer.state.fn == TrainerFn.FITTING:
            if missing := [key for key in RESUMABLE if key not in checkpoint]:
                what = f"not a checkpoint of a training, as it has no {missing[0]}: load it with lightmodels.load"
                raise files.CheckpointError(f"{self.trainer.ckpt_path}: {what}")
            check_compatible(self, checkpoint, self.trainer.ckpt_path)

    def restore_history(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes history and ``data_info`` from a checkpoint that has them."""
        if "history" in checkpoint:
            self.history.load_state_dict(checkpoint["history"])
            self.data_info = checkpoint.get("data_info", {})
