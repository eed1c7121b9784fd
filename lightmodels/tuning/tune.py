"""tune: searches the hyper-parameters of a model in Python."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from lightmodels.core.light_model import LightModel
from lightmodels.data.tensor_datamodule import TensorDataModule
from lightmodels.metrics.direction import Mode
from lightmodels.trainer.repeated_fits import from_arrays
from lightmodels.trainer.trainer import Trainer
from lightmodels.tuning.space import parse_space
from lightmodels.tuning.study import (
    TrialReport,
    TuningResult,
    claim_directory,
    fit_trial,
    local_storage,
    open_study,
    outcome,
    run_trials,
    shown,
)
from lightmodels.utils import console

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FrozenTrial


def tune(
    make_model: Callable[..., LightModel],
    data: Any,
    space: Mapping[str, str | Sequence[Any]],
    trials: int = 20,
    *,
    monitor: str = "val_loss",
    mode: Mode | None = None,
    run_dir: str | Path | None = None,
    **options: Any,
) -> TuningResult:
    """Searches hyper-parameters with Optuna (extra ``tune``): trains one model per trial, and compares them.

    A trial's value is the best of its epochs, on validation rows; test rows are not used. Trials worse than the median
    of earlier ones at the same epoch are pruned; a loss that is not finite ends its trial only.

    Args:
        make_model: called with the parameters of a trial by name, returns an untrained model.
        data: a data module, or arrays (inputs, then the target).
        space: by name, a range such as ``"1e-4..1e-1"`` (logarithmic if its ends differ a hundredfold, of whole numbers
            if both are written so), or a list of values.
        trials: trials of the study in all.
        monitor: metric of validation that is optimized.
        mode: ``"min"`` or ``"max"``, by default what the metric's name says.
        run_dir: directory of ``study.db``, from which the same call continues, and of event files. Default: none.
        options: ``seed`` (0), ``storage`` and ``study`` (Optuna's URL or journal file, and a name in it, for several
            processes), ``validation_split`` (0.2) and ``batch_size`` (32) of arrays, arguments of ``Trainer``.

    Returns:
        ``best_params``, ``best_value``, and Optuna's ``study``.

    Raises:
        ValueError: a space that cannot be searched, a storage that cannot be used, or no validation rows.

    Examples:
        >>> from torch import nn, rand
        >>> def make_model(width):
        ...     return LightModel.from_net(nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1)), loss="mse")
        >>> result = tune(make_model, (rand(20, 2), rand(20, 1)), {"width": [2, 4]}, trials=2, max_epochs=1, gpus=0)
        trial 0: val_loss ...
        >>> result.best_params["width"] in (2, 4)
        True
    """
    seed, storage, name = options.pop("seed", 0), options.pop("storage", None), options.pop("study", "tune")
    parsed, module = parse_space(space), _load(data, seed, options)
    directory = None if run_dir is None else claim_directory(Path(run_dir), Path())
    study = open_study(storage or local_storage(directory), name, monitor, mode, None if storage else seed)
    train = partial(_train, make_model, module, monitor, seed, partial(_make_trainer, options, directory))
    run_trials(study, trials, parsed, train, partial(print_trial, monitor=monitor))
    return TuningResult(study, parsed)


def _train(
    make_model: Callable[..., LightModel],
    data: Any,
    monitor: str,
    seed: int,
    make_trainer: Callable[[TrialReport], Trainer],
    trial: "Trial",
    params: dict[str, Any],
) -> float | None:
    """The value of a trial, or None if it was pruned."""
    pl.seed_everything(seed, verbose=False)
    report = TrialReport(trial, monitor)
    with console.verbosity("quiet"):
        return fit_trial(make_trainer(report), make_model(**params), copy.copy(data), report)


def _load(data: Any, seed: int, options: dict[str, Any]) -> Any:
    """The data of all trials; takes the options of arrays out of ``options``."""
    split, batch_size = options.pop("validation_split", 0.2), options.pop("batch_size", 32)
    if not isinstance(data, pl.LightningDataModule):
        data = from_arrays(data, batch_size=batch_size, val_fraction=split, seed=seed)
    if isinstance(data, TensorDataModule):
        data.prepare_data()
        data.setup()
    return data


def _make_trainer(options: dict[str, Any], directory: Path | None, report: TrialReport) -> Trainer:
    """The trainer of a trial, which writes event files if the study has a directory."""
    fixed: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "figures": False}
    if directory:
        fixed |= {"logger": True, "run_dir": directory / "trials" / str(report.trial.number)}
    fresh = {**fixed, **copy.deepcopy(options)}  # callbacks have a state that the next trial must not see
    return Trainer(**{**fresh, "callbacks": [*fresh.get("callbacks", []), report]})


def print_trial(trial: "FrozenTrial", monitor: str) -> None:
    """Prints how a trial has ended, and its parameters."""
    if console.current_verbosity() != "quiet":
        params = ", ".join(f"{name} {shown(value)}" for name, value in trial.params.items())
        print(f"trial {trial.number}: {outcome(trial, monitor)} ({params})", flush=True)
