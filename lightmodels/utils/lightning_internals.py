"""The private names of Lightning that lightmodels uses, and which of them this version does not have.

No other file outside ``lightmodels/loops`` uses a private name of Lightning. With one of them missing,
``lightmodels`` trains in Lightning's own loops, with the same results.
"""

import importlib
import math
import warnings
from datetime import timedelta
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core import optimizer as lightning_optimizer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch.optim import Optimizer

LIGHTNING = f"pytorch-lightning {pl.__version__}"  # type: ignore[attr-defined]
REQUIRED = (  # of a module, of a new LightningModule or of a new Trainer
    "pytorch_lightning.core.optimizer:_configure_optimizers",
    "pytorch_lightning.core.optimizer:_configure_schedulers_automatic_opt",
    "pytorch_lightning.loops.evaluation_loop:_EvaluationLoop",
    "pytorch_lightning.loops.fetchers:_DataLoaderIterDataFetcher",
    "pytorch_lightning.loops.loop:_Loop",
    "pytorch_lightning.loops.training_epoch_loop:_TrainingEpochLoop",
    "model._current_fx_name",
    "trainer._logger_connector._first_loop_iter",
    "trainer._logger_connector.on_batch_end",
    "trainer._logger_connector.update_eval_step_metrics",
    "trainer._logger_connector.update_train_step_metrics",
    "trainer.fit_loop._data_fetcher",
    "trainer.fit_loop._restart_stage",
    "trainer.fit_loop.epoch_loop._batches_that_stepped",
    "trainer.fit_loop.epoch_loop._is_training_done",
    "trainer.fit_loop.epoch_loop._num_ready_batches_reached",
    "trainer.fit_loop.epoch_loop._results",
    "trainer.fit_loop.epoch_loop._should_check_val_epoch",
    "trainer.fit_loop.epoch_loop._should_check_val_fx",
    "trainer.fit_loop.epoch_loop.automatic_optimization._skip_backward",
    "trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress",
    "trainer.fit_loop.epoch_loop.manual_optimization",
    "trainer.fit_loop.epoch_loop.scheduler_progress",
    "trainer.fit_loop.epoch_loop.update_lr_schedulers",
    "trainer.fit_loop.epoch_loop.val_loop._evaluation_step",
    "trainer.fit_loop.epoch_loop.val_loop._has_run",
    "trainer.fit_loop.epoch_loop.val_loop._results",
    "trainer.fit_loop.epoch_loop.val_loop._seen_batches_per_dataloader",
    "trainer.fit_loop.epoch_loop.val_loop._verify_dataloader_idx_requirement",
)


def missing(trainer: pl.Trainer) -> list[str]:
    """The names in ``REQUIRED`` that this version of Lightning does not have.

    Args:
        trainer: a trainer that has not been used yet, with Lightning's own loops.
    """
    objects = SimpleNamespace(trainer=trainer, model=pl.LightningModule())
    return [name for name in REQUIRED if not _exists(name, objects)]


def _exists(name: str, objects: Any) -> bool:
    module, _, path = name.rpartition(":")
    try:
        attrgetter(path)(importlib.import_module(module) if module else objects)
    except (ImportError, AttributeError):
        return False
    return True


def _private(owner: Any, name: str, purpose: str) -> Any:
    """A private attribute of Lightning; raises RuntimeError if this version does not have it."""
    if not hasattr(owner, name):
        where = getattr(owner, "__name__", type(owner).__name__)
        raise RuntimeError(f"{purpose} needs {where}.{name}, which {LIGHTNING} does not have")
    return getattr(owner, name)


def set_timeout(strategy: Any, seconds: float) -> None:
    """Sets how long a strategy's processes wait for each other, if it has several, and a limit."""
    if hasattr(strategy, "_timeout"):
        strategy._timeout = timedelta(seconds=seconds)


def restart_loaders(trainer: pl.Trainer) -> None:
    """Creates the iterators of the training loaders anew, from their positions and the random state of this moment.

    Raises:
        RuntimeError: this version of Lightning does not let us.
    """
    fetcher = _private(trainer.fit_loop, "_data_fetcher", "an exact resume")
    if fetcher is not None:
        iter(fetcher)


def validation_follows(trainer: pl.Trainer) -> bool:
    """Whether the trainer validates right after the batch that has just ended."""
    loop = trainer.fit_loop
    try:
        decides, fetcher = loop.epoch_loop._should_check_val_fx, loop._data_fetcher
    except AttributeError:
        return _validation_is_due(trainer)
    return fetcher is not None and decides(fetcher)


def _validation_is_due(trainer: pl.Trainer) -> bool:
    """Lightning's rule by its public names, which say nothing about validation at intervals of time."""
    epochs, batches = trainer.check_val_every_n_epoch, trainer.val_check_batch
    if not trainer.enable_validation or (epochs and (trainer.current_epoch + 1) % epochs):
        return False
    may_stop = trainer.current_epoch >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)
    if trainer.should_stop and may_stop:
        return True
    if batches in (None, math.inf):
        return trainer.is_last_batch
    index = trainer.fit_loop.batch_idx if epochs else trainer.fit_loop.total_batch_idx
    return (index + 1) % int(batches) == 0


def publish_values(model: pl.LightningModule, values: dict[str, float]) -> None:
    """Makes values known to callbacks; outside ``fit``, also to loggers and in what the trainer returns."""
    exact = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    if model.trainer.state.fn == TrainerFn.FITTING:  # loggers get the epoch's whole row
        model.trainer.callback_metrics.update(exact)
        return
    if model.trainer.world_size > 1:  # they are the same on every process already
        warnings.filterwarnings("ignore", message=rf".*self.log\('({'|'.join(values)})'.*sync_dist=True")
    model.log_dict(exact, batch_size=1, add_dataloader_idx=False)


def saved_hparams(model: pl.LightningModule) -> dict[str, Any]:
    """What Lightning adds to a checkpoint so that ``load_from_checkpoint`` can construct the model."""
    saved: dict[str, Any] = {"pytorch-lightning_version": pl.__version__}  # type: ignore[attr-defined]
    if model.hparams:
        # Of the argument that was one dictionary of all hyper-parameters; not in all versions of Lightning.
        name = next((value for key, value in vars(model).items() if key.endswith("hparams_name")), None)
        saved |= {model.CHECKPOINT_HYPER_PARAMS_KEY: dict(model.hparams), model.CHECKPOINT_HYPER_PARAMS_NAME: name}
    return saved


def configured_optimizers(model: pl.LightningModule) -> tuple[list[Optimizer], list[LRSchedulerConfig]]:
    """The optimizers and schedules of ``configure_optimizers``, whatever form it returns them in.

    Raises:
        RuntimeError: this version of Lightning does not let us.
    """
    names = "_configure_optimizers", "_configure_schedulers_automatic_opt"
    parse, parse_schedulers = (_private(lightning_optimizer, name, "training without a Trainer") for name in names)
    optimizers, schedulers, monitor = parse(model.configure_optimizers())
    return optimizers, parse_schedulers(schedulers, monitor)
