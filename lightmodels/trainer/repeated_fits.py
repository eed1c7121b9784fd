"""Repeated trainings: over folds of the data, or over seeds, with mean and standard deviation."""

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from lightmodels.core.light_model import LightModel
from lightmodels.data.array_datamodule import ArrayDataModule
from lightmodels.metrics.history import History
from lightmodels.trainer import data_arguments
from lightmodels.trainer.trainer import Trainer

MakeModel = Callable[[], LightModel]


@dataclass(frozen=True)
class RepeatedFits:
    """What several trainings of one recipe reached.

    Attributes:
        values: the results of each training, by name.
        histories: the history of each training.
    """

    values: list[dict[str, float]]
    histories: list[History]

    @property
    def mean(self) -> dict[str, float]:
        """The mean over the trainings, by name."""
        return {name: statistics.fmean(column) for name, column in self._columns().items()}

    @property
    def std(self) -> dict[str, float]:
        """The sample standard deviation (of n - 1) over the trainings, by name; 0 of a single one."""
        columns = self._columns().items()
        return {name: statistics.stdev(column) if len(column) > 1 else 0.0 for name, column in columns}

    def __str__(self) -> str:
        return mean_and_std(self.mean, self.std)

    def _columns(self) -> dict[str, list[float]]:
        return {name: [values[name] for values in self.values] for name in self.values[0]}


def mean_and_std(mean: Mapping[str, float], std: Mapping[str, float]) -> str:
    """One line: ``val_loss 0.2310 ± 0.0042  val_acc 0.9270 ± 0.0020``."""
    return "  ".join(f"{name} {mean[name]:.4f} ± {std[name]:.4f}" for name in mean)


def cross_validate(make_model: MakeModel, data: Any, k: int = 5, **options: Any) -> RepeatedFits:
    """Trains k models, each validated on its own k-th of the rows and trained on the others.

    The values are the validation values after the last epoch, of weights that were not chosen on the
    fold. Each model starts from the same seed, so that folds differ in their rows only.

    Args:
        make_model: makes an untrained model.
        data: arrays (inputs, then the target), or a data module, whose training and validation rows
            are taken together.
        k: folds, at least 2; rows are dealt to them at random, each time the same.
        options: ``seed`` (0), ``batch_size`` (32, or the data module's), and the Trainer's options,
            such as ``max_epochs``.

    Raises:
        ValueError: fewer than 2 folds, or fewer rows than folds; data of another kind.

    Example:
        >>> from torch import nn, ones
        >>> def make_model():
        ...     return LightModel.from_net(nn.Linear(2, 1), loss=nn.functional.mse_loss)
        >>> result = cross_validate(make_model, (ones(9, 2), ones(9, 1)), k=3, max_epochs=1)
        epoch ...
        >>> len(result.histories), list(result.mean)
        (3, ['val_loss'])
    """
    rows, batch_size = all_rows(data)
    seed, batch_size = options.pop("seed", 0), options.pop("batch_size", batch_size)
    count = len(rows[0])
    if not 2 <= k <= count:
        raise ValueError(f"k must be between 2 and the number of rows, {count}, got {k}")
    folds = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tensor_split(k)
    results = []
    for number, fold in enumerate(folds):
        others = torch.cat([other for place, other in enumerate(folds) if place != number])
        train, val = (tuple(part[chosen] for part in rows) for chosen in (others, fold))
        module = ArrayDataModule(train, val, batch_size=batch_size, seed=seed)
        results.append(fit_one(make_model, module, seed, options))
    return collect_results(results)


def fit_seeds(make_model: MakeModel, data: Any, seeds: Sequence[int], **options: Any) -> RepeatedFits:
    """Trains a model from each seed, on the same rows in an order of its own.

    Args:
        make_model: makes an untrained model; torch, numpy and Python are seeded before.
        data: a data module, or arrays (inputs, then the target).
        seeds: the seeds.
        options: ``validation_split`` (0) and ``batch_size`` (32) of arrays, and the Trainer's options,
            such as ``max_epochs``.

    Returns:
        The values of the last epoch; those of validation if there is any, else those of training.

    Raises:
        ValueError: no seed.
    """
    if not seeds:
        raise ValueError("seeds must hold at least one seed")
    split, batch_size = options.pop("validation_split", 0.0), options.pop("batch_size", 32)
    module, results = data, []
    if not isinstance(data, pl.LightningDataModule):
        module = ArrayDataModule(require_arrays(data), batch_size=batch_size, val_fraction=split)
    if hasattr(module, "splits"):
        module.prepare_data()
        module.setup()  # the rows are those of its own seed, whichever seed comes first
    for seed in seeds:
        results.append(fit_one(make_model, module, seed, options))
    return collect_results(results)


def fit_one(make_model: MakeModel, data: Any, seed: int, options: dict[str, Any]) -> History:
    """The history of one training that leaves no files."""
    pl.seed_everything(seed, verbose=False)
    fresh = copy.deepcopy(options)  # a callback that remembers would tell one training of another
    trainer = Trainer(**{"logger": False, "enable_checkpointing": False} | fresh)
    model, own_seed = make_model(), getattr(data, "seed", None)
    if own_seed is not None:
        data.seed = seed  # the order of the rows; which rows there are is settled
    try:
        trainer.fit(model, datamodule=data)
    finally:
        if own_seed is not None:
            data.seed = own_seed
    return model.history


def collect_results(histories: list[History]) -> RepeatedFits:
    """The last validation values of each history; without validation those of training."""
    values = []
    for history in histories:
        stage = "val_" if any(name.startswith("val_") for name in history[-1]) else "train_"
        values.append({name: value for name, value in history[-1].items() if name.startswith(stage)})
    return RepeatedFits(values, histories)


def all_rows(data: Any) -> tuple[tuple[Tensor, ...], int]:
    """All rows to train and validate on, and the size of batches."""
    if isinstance(data, pl.LightningDataModule):
        if not hasattr(data, "splits"):
            raise ValueError(f"data must be arrays or a TensorDataModule, got {type(data).__name__}")
        data.prepare_data()
        train, val = data.splits.train, data.splits.val
        rows = tuple(torch.cat(parts) for parts in zip(train, val, strict=True)) if val else train
        return rows, int(data.batch_size)  # type: ignore[attr-defined]
    return ArrayDataModule(require_arrays(data)).splits.train, 32


def require_arrays(data: Any) -> Any:
    """The arrays that data is or wraps."""
    arrays = data_arguments.as_arrays(data)
    if arrays is None:
        raise ValueError(f"data must be arrays or a TensorDataModule, got {type(data).__name__}")
    return arrays
