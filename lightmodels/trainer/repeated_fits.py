"""Cross-validation and repeated seeds: the mean and standard deviation of several fits."""

import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch

from lightmodels.core.light_model import LightModel
from lightmodels.data.array_datamodule import ArrayDataModule
from lightmodels.data.tensor_datamodule import TensorDataModule
from lightmodels.metrics.history import History
from lightmodels.trainer import data_arguments
from lightmodels.trainer.trainer import Trainer

MakeModel = Callable[[], LightModel]


@dataclass(frozen=True)
class RepeatedFits:
    """Results of several fits: the metrics of each (``values``) and the history of each."""

    values: list[dict[str, float]]
    histories: list[History]

    @property
    def mean(self) -> dict[str, float]:
        """The mean of each metric."""
        return {name: statistics.fmean(fit[name] for fit in self.values) for name in self.values[0]}

    @property
    def std(self) -> dict[str, float]:
        """The sample standard deviation (n - 1) of each metric; 0 for a single fit."""
        if len(self.values) == 1:
            return dict.fromkeys(self.values[0], 0.0)
        return {name: statistics.stdev(fit[name] for fit in self.values) for name in self.values[0]}

    def __str__(self) -> str:
        return "  ".join(f"{name} {mean:.4f} ± {self.std[name]:.4f}" for name, mean in self.mean.items())


def cross_validate(make_model: MakeModel, data: Any, k: int = 5, **options: Any) -> RepeatedFits:
    """K-fold cross-validation: trains k models, each validated on one fold and trained on the others.

    The results are the validation metrics after the last epoch. All fits use the same seed.

    Args:
        make_model: returns an untrained model.
        data: arrays (inputs, then the target), or a ``TensorDataModule``: its training and validation rows together.
        k: number of folds, at least 2; rows are assigned to them at random.
        options: ``seed`` (default: 0), ``batch_size`` (default: 32, or the data module's), arguments of ``Trainer``.

    Raises:
        ValueError: fewer than 2 folds, fewer rows than folds, or other kinds of data.

    Examples:
        >>> from torch import nn, ones
        >>> def make_model():
        ...     return LightModel.from_net(nn.Linear(2, 1), loss=nn.functional.mse_loss)
        >>> result = cross_validate(make_model, (ones(9, 2), ones(9, 1)), k=3, max_epochs=1)
        epoch ...
        >>> len(result.histories), list(result.mean)
        (3, ['val_loss'])
    """
    module = data if isinstance(data, TensorDataModule) else from_arrays(data)
    module.prepare_data()
    parts = [part for part in (module.splits.train, module.splits.val) if part]
    if len({len(part) for part in parts}) > 1 or not all(isinstance(each, torch.Tensor) for each in parts[0]):
        kinds = "weights of training rows only, or of pictures that are not in memory"
        raise ValueError(f"data cannot be cross-validated with {kinds}: pass class_weights='none', or arrays")
    rows = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
    seed, batch_size = options.pop("seed", 0), options.pop("batch_size", module.batch_size)
    count = len(rows[0])
    if not 2 <= k <= count:
        raise ValueError(f"k must be between 2 and the number of rows, {count}, got {k}")
    folds = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tensor_split(k)
    histories = []
    for number, fold in enumerate(folds):
        others = torch.cat(folds[:number] + folds[number + 1 :])
        train, val = (tuple(tensor[chosen] for tensor in rows) for chosen in (others, fold))
        folds_data = ArrayDataModule(train, val, batch_size=batch_size, seed=seed)
        folds_data.augment, folds_data.augment_batch = module.augment, module.augment_batch  # type: ignore[method-assign]
        histories.append(_fit(make_model, folds_data, seed, options))
    return _collect(histories)


def fit_seeds(make_model: MakeModel, data: Any, seeds: Sequence[int], **options: Any) -> RepeatedFits:
    """Trains one model per seed, each with its own initial weights and row order, on the same rows.

    The results are the metrics of validation, or else of training, after the last epoch.

    Args:
        make_model: returns an untrained model; torch, numpy and Python are seeded before.
        data: a data module, or arrays (inputs, then the target).
        seeds: the seeds, at least one.
        options: ``validation_split`` (default: 0) and ``batch_size`` (default: 32) of arrays, arguments of ``Trainer``.

    Returns:
        The metrics after the last epoch: those of validation, or of training if there is no validation.
    """
    if not seeds:
        raise ValueError("seeds must hold at least one seed")
    split, batch_size = options.pop("validation_split", 0.0), options.pop("batch_size", 32)
    if not isinstance(data, pl.LightningDataModule):
        data = from_arrays(data, batch_size=batch_size, val_fraction=split)
    if isinstance(data, TensorDataModule):
        data.prepare_data()
        data.setup()  # its own seed decides which rows there are
    return _collect([_fit(make_model, data, seed, options) for seed in seeds])


def _fit(make_model: MakeModel, data: pl.LightningDataModule, seed: int, options: dict[str, Any]) -> History:
    pl.seed_everything(seed, verbose=False)
    fresh = copy.deepcopy(options)  # callbacks have a state that the next fit must not see
    trainer, model = Trainer(**{"logger": False, "enable_checkpointing": False, **fresh}), make_model()
    data = copy.copy(data)  # with the same rows
    if hasattr(data, "seed"):
        data.seed = seed  # for their order
    trainer.fit(model, datamodule=data)
    return model.history


def _collect(histories: list[History]) -> RepeatedFits:
    values = []
    for history in histories:
        stage = "val_" if any(name.startswith("val_") for name in history[-1]) else "train_"
        values.append({name: value for name, value in history[-1].items() if name.startswith(stage)})
    return RepeatedFits(values, histories)


def from_arrays(data: Any, **options: Any) -> TensorDataModule:
    """A data module of arrays; raises ValueError for anything else."""
    arrays = data_arguments.as_arrays(data)
    if arrays is None:
        raise ValueError(f"data must be arrays or a TensorDataModule, got {type(data).__name__}")
    return ArrayDataModule(arrays, **options)
