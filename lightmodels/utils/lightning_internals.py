"""The private names of Lightning that lightmodels uses outside its loops."""

import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import _configure_optimizers, _configure_schedulers_automatic_opt
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch.optim import Optimizer


def rewind_loaders(trainer: pl.Trainer) -> None:
    """Puts training loaders at their saved position, from the random state of that moment.

    Lightning makes the iterators earlier, before a checkpoint's random states are back, and it
    does not restore a loader that was asked for its length while the optimizer was configured.
    """
    loop = trainer.fit_loop
    loop._load_combined_loader_states()
    if loop._data_fetcher is not None:
        iter(loop._data_fetcher)


def validation_follows(trainer: pl.Trainer) -> bool:
    """Whether the trainer validates right after the batch that has just ended."""
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


def publish_values(model: pl.LightningModule, values: dict[str, float]) -> None:
    """Makes the values known to callbacks and, of a lone validation or a test, to loggers and caller."""
    exact = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    if model.trainer.state.fn == TrainerFn.FITTING:  # the loggers get the whole row of the epoch
        model.trainer._logger_connector._callback_metrics.update(exact)
        return
    if model.trainer.world_size > 1:  # they are the same on every process already
        warnings.filterwarnings("ignore", message=rf".*self.log\('({'|'.join(values)})'.*sync_dist=True")
    model.log_dict(exact, batch_size=1, add_dataloader_idx=False)


def configured_optimizers(model: pl.LightningModule) -> tuple[list[Optimizer], list[LRSchedulerConfig]]:
    """The optimizers and schedules of ``configure_optimizers``, whatever form it returns them in."""
    optimizers, schedulers, monitor = _configure_optimizers(model.configure_optimizers())  # type: ignore[arg-type]
    return optimizers, _configure_schedulers_automatic_opt(schedulers, monitor)
