"""StepModel: the part of a LightModel that knows batches only, and no Trainer."""

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torchmetrics import Metric
from typing_extensions import Self

from lightmodels.batch_training import BatchTraining
from lightmodels.batches import inputs_of
from lightmodels.history import History
from lightmodels.recipe import Loss, MetricLike, OptimizerLike, Recipe
from lightmodels.untouched import evaluating
from lightmodels.utils.step_errors import explain_errors


class StepModel(pl.LightningModule):
    """A net, its step, and training by single batches in a loop of one's own.

    Optimizer and schedules are those of ``configure_optimizers``, which is asked for them at the first
    batch: have the model on its device by then, and in ``train()`` mode, as a new model is. Results are
    those of a Trainer, to the bit. A Trainer's ``fit`` in between ends an epoch that is under way, and
    optimizer and schedules begin anew after it.

    Args:
        net: the network that ``forward`` calls; left out if the subclass defines ``forward``.

    Attributes:
        history: the ``History`` of all epochs trained.
        total_steps: optimizer steps of the whole training, for schedules that must know; a Trainer
            knows them itself.

    Example:
        >>> from lightmodels import RingDNN
        >>> model, batches = RingDNN(), [(torch.ones(4, 2), torch.ones(4, 1))] * 3
        >>> for epoch in range(2):
        ...     for batch in batches:
        ...         values = model.train_on_batch(batch)
        ...     model.reset_metrics()
        >>> sorted(values), len(model.history)
        (['acc', 'loss'], 2)
    """

    total_steps: int | None = None

    def __init__(self, net: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net
        self.history = History()
        self._recipe: Recipe | None = None  # of a net without a class
        self._batches: BatchTraining | None = None

    @classmethod
    def from_net(
        cls,
        net: nn.Module,
        *,
        loss: Loss,
        metrics: Mapping[str, MetricLike] | None = None,
        optimizer: OptimizerLike = torch.optim.Adam,
        scheduler: Callable[[Optimizer], Any] | None = None,
    ) -> Self:
        """A model of a net and its loss, with no class to write; batches are ``(input, …, target)``.

        Args:
            net: the network.
            loss: ``(output, target) -> scalar``, the mean over the batch.
            metrics: name -> ``torchmetrics.Metric``, or ``(output, target) -> scalar``, a batch's mean.
            optimizer: an optimizer, or what makes one of the parameters: a class, a ``functools.partial``.
            scheduler: makes a schedule of the optimizer, which steps once an epoch.

        Raises:
            ValueError: a metric named ``loss`` or ``size``.

        Example:
            >>> from lightmodels import LightModel
            >>> model = LightModel.from_net(nn.Linear(2, 1), loss=nn.functional.mse_loss)
            >>> sorted(model.train_on_batch((torch.ones(4, 2), torch.ones(4, 1))))
            ['loss']
        """
        model = cls(net)
        model._recipe = Recipe(loss, metrics or {}, optimizer, scheduler)
        return model

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
        if self._recipe is None:
            raise NotImplementedError(f"{type(self).__name__} must define shared_step(batch) -> dict")
        return self._recipe.step(self, batch)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer, and schedules, in any form that Lightning takes."""
        if self._recipe is None:
            raise NotImplementedError(f"{type(self).__name__} must define configure_optimizers()")
        return self._recipe.configure(self)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """``forward`` of the batch's inputs: of all its parts but the last, the target."""
        wrapped = self.net if type(self).forward is StepModel.forward else None
        args, kwargs = inputs_of(batch, self if wrapped is None else wrapped)
        return explain_errors(self, *args, **kwargs)

    def train_on_batch(self, batch: Any) -> dict[str, float]:
        """Makes one optimizer step; returns the means over this epoch's training batches so far.

        Raises:
            ValueError: several optimizers, or a ``training_step`` or another hook of a step of one's own:
                these need a Trainer.
            FloatingPointError: a loss that is not finite.
        """
        return self._batch_training().train(batch)

    def test_on_batch(self, batch: Any) -> dict[str, float]:
        """The means over the batches tested in this epoch so far, which are the history's ``val_*``."""
        return self._batch_training().test(batch)

    @torch.no_grad()
    def predict_on_batch(self, batch: Any) -> Any:
        """``predict_step`` in evaluation mode: of the inputs alone, or of a batch with its target."""
        with evaluating(self):
            return self.predict_step(move_data_to_device(batch, self.device), 0)

    def reset_metrics(self) -> None:
        """Ends an epoch: its row joins the history, schedules step, and the means begin anew."""
        self._batch_training().end_epoch()

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """As in Lightning; without a Trainer, or outside its ``fit``, the one of ``train_on_batch``."""
        fits = self._fabric is not None or (self._trainer is not None and self._trainer.training)
        if fits or (self._trainer is not None and self._batches is None):
            return super().optimizers(use_pl_optimizer)
        return self._batch_training().optimizer

    def _batch_training(self) -> BatchTraining:
        if self._batches is None:
            self._batches = BatchTraining(self)
        return self._batches

    def _trains_by_shared_step(self) -> bool:
        """Whether training is nothing but one optimizer's steps on the loss of ``shared_step``."""
        return self.automatic_optimization

    def _metrics(self) -> list[Metric]:
        """All Metric objects of the model, always in the same order."""
        return [module for module in self.modules() if isinstance(module, Metric)]
