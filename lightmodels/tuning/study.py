"""An Optuna study: where it is stored, its trials one after the other, and what they have found."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from lightmodels.metrics.direction import Mode, require_mode
from lightmodels.trainer import run_directory
from lightmodels.trainer.trainer import Trainer
from lightmodels.tuning.space import Space
from lightmodels.utils.data_error import one_line
from lightmodels.visualization.loggers import end_run

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

PAUSES = (0.2, 1.0)  # seconds before other attempts to open a study
LOCK_TIMEOUT = 60  # seconds that a process waits for others that write to the same SQLite file


class TrialReport(pl.Callback):
    """Reports the monitored value to Optuna after each validation, and stops a trial that Optuna prunes.

    Raises:
        ValueError: ``monitor`` is not among the metrics of validation.
        FloatingPointError: its value is not finite.
    """

    def __init__(self, trial: "Trial", monitor: str) -> None:
        self.trial, self.monitor = trial, monitor
        self.values: list[float] = []
        self.is_pruned = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        known = trainer.callback_metrics
        if self.monitor not in known:
            raise ValueError(f"monitor must be one of {', '.join(sorted(known))} for tuning, got {self.monitor!r}")
        value = float(known[self.monitor])
        if not math.isfinite(value):
            raise FloatingPointError(f"{self.monitor} is {value} in epoch {len(self.values) + 1}")
        self.values.append(value)
        self.trial.report(value, len(self.values))
        if self.trial.should_prune():
            self.is_pruned = trainer.should_stop = True


def fit_trial(trainer: Trainer, model: pl.LightningModule, data: Any, report: TrialReport) -> float | None:
    """Trains a model; returns the best value of its epochs, or None if the trial was pruned.

    Raises:
        KeyboardInterrupt: on Ctrl-C.
        ValueError: there are no validation rows.
    """
    try:
        trainer.fit(model, datamodule=data)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C before and after the epochs
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
    finally:
        end_run(trainer)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if not report.values:
        raise ValueError("data must have validation rows, which decide on the best trial")
    best = min if report.trial.study.direction.name == "MINIMIZE" else max
    return None if report.is_pruned else best(report.values)


def open_study(storage: str | None, name: str | None, monitor: str, mode: Mode | None, seed: int | None) -> "Study":
    """A new study, or the one of this name in the storage, which continues.

    Args:
        storage: SQLAlchemy's URL of a database, the path of Optuna's journal file, or None for one in memory.
        name: name of the study.
        monitor: metric of validation that is optimized.
        mode: whether lower (``"min"``) or higher values are better; by default what the metric's name says.
        seed: with the number of trials there are, decides which parameters are tried; None: each process differs.

    Raises:
        ValueError: a storage that cannot be used, or a study of the other direction.
    """
    import optuna

    if not monitor.startswith("val_"):
        raise ValueError(f"monitor must be a validation metric, such as val_loss, got {monitor!r}")
    direction = f"{require_mode(monitor, mode, None)}imize"
    try:
        with _without_logs():
            study = _create_study(storage, study_name=name, direction=direction, load_if_exists=True)
    except Exception as error:  # of SQLAlchemy, of a database's driver, or of the file system
        raise ValueError(f"storage {storage} cannot be used: {one_line(error).partition(' [SQL')[0]}") from error
    if study.direction.name.lower() != direction:
        raise ValueError(f"study {study.study_name} is to {study.direction.name.lower()} its value, not to {direction}")
    study.pruner = optuna.pruners.MedianPruner()
    study.sampler = optuna.samplers.TPESampler(seed=None if seed is None else seed + len(study.trials))
    return study


def _create_study(storage: str | None, **options: Any) -> "Study":
    """A study; tries again if another process creates the tables of the same database meanwhile."""
    import optuna
    from sqlalchemy.exc import DBAPIError

    for pause in PAUSES:
        try:
            return optuna.create_study(storage=_connect(storage), **options)
        except (DBAPIError, optuna.exceptions.StorageInternalError, AssertionError, RuntimeError):
            time.sleep(pause)
    return optuna.create_study(storage=_connect(storage), **options)


def _connect(storage: str | None) -> "BaseStorage | str | None":
    from optuna import storages
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    if storage is None:
        return None
    if storage.startswith("sqlite"):
        return storages.RDBStorage(storage, engine_kwargs={"connect_args": {"timeout": LOCK_TIMEOUT}})
    return storage if "://" in storage else JournalStorage(JournalFileBackend(storage))


@contextmanager
def _without_logs() -> Iterator[None]:
    """Optuna says where a study is; so do we."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def local_storage(directory: Path | None) -> str | None:
    """The storage in a study's directory."""
    return None if directory is None else f"sqlite:///{directory / 'study.db'}"


def claim_directory(run_dir: Path | None, parent: Path) -> Path:
    """The directory of a study: the given one, new or a study's, or the next number in ``parent``."""
    if run_dir is not None and (run_dir / "trials").is_dir():
        return run_dir
    claimed = run_directory.claim_next(parent) if run_dir is None else run_directory.claim(run_dir)
    (claimed / "trials").mkdir()
    (claimed / "checkpoints").rmdir()  # of a training only
    return claimed


def run_trials(
    study: "Study",
    trials: int,
    space: Space,
    train: Callable[["Trial", dict[str, Any]], float | None],
    report: Callable[["FrozenTrial"], None],
) -> None:
    """Runs trials until the study has so many, those of other processes included; interrupted ones do not count.

    Args:
        study: the study, whose trials are done or run in other processes.
        trials: number of trials, complete, pruned or failed as they diverged.
        space: the parameters to try.
        train: trains with these parameters, and returns the value, or None if the trial was pruned.
        report: called with each trial when it has ended.
    """
    from optuna.trial import TrialState

    with DeferredSignals() as signals:
        while len(finished(study)) < trials:
            trial = study.ask()
            try:
                params = {name: part.suggest(trial, name) for name, part in space.items()}
                with signals.delivered():
                    value = train(trial, params)
            except (FloatingPointError, torch.OutOfMemoryError) as error:
                trial.set_user_attr("error", one_line(error))
                value = None
            except BaseException:
                study.tell(trial, state=TrialState.FAIL)
                raise
            report(study.tell(trial, value, TrialState.PRUNED if value is None else None))


class DeferredSignals:
    """Lets Ctrl-C and SIGTERM wait, so that no transaction of a database stays half done; a second one does not wait.

    Python drops what a handler raises while an object is destroyed, as databases' sessions often are. Such a signal
    is not lost here. In threads other than the main one, which gets no signals, nothing is changed.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}  # of before
        self._received = 0
        self._deliver_at_once = False

    def __enter__(self) -> "DeferredSignals":
        if threading.current_thread() is threading.main_thread():
            self._handlers = {each: signal.signal(each, self._receive) for each in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        if kind is None:
            self._deliver()

    @contextmanager
    def delivered(self) -> Iterator[None]:
        """Within this block, signals do not wait."""
        self._deliver()
        self._deliver_at_once = True
        try:
            yield
        finally:
            self._deliver_at_once = False
        self._deliver()

    def _receive(self, signum: int, frame: Any) -> None:
        again, self._received = bool(self._received), signum
        if again or self._deliver_at_once:
            self._deliver()

    def _deliver(self) -> None:
        if self._received:
            signal.signal(self._received, self._handlers[self._received])
            signal.raise_signal(self._received)


def finished(study: "Study") -> "list[FrozenTrial]":
    """The trials that are complete, pruned or failed as they diverged."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


@dataclass(frozen=True)
class TuningResult:
    """What the trials of a study have found."""

    study: "Study"
    space: Space

    @property
    def trials(self) -> "list[FrozenTrial]":
        """The complete trials, the best first."""
        from optuna.trial import TrialState

        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return sorted(complete, key=lambda trial: trial.value or 0.0, reverse=self.study.direction.name == "MAXIMIZE")

    @property
    def best_params(self) -> dict[str, Any]:
        """The parameters of the best trial; raises ValueError if no trial is complete."""
        from optuna.trial import FixedTrial

        stored = FixedTrial(self.study.best_params)
        return {name: part.suggest(stored, name) for name, part in self.space.items()}  # type: ignore[arg-type]

    @property
    def best_value(self) -> float:
        """The value of the best trial; raises ValueError if no trial is complete."""
        return self.study.best_value


def outcome(trial: "FrozenTrial", monitor: str) -> str:
    """How a trial has ended, in one line."""
    error, epochs = trial.user_attrs.get("error"), len(trial.intermediate_values)
    if error:
        return f"failed: {error}"
    if trial.state.name == "PRUNED":
        return f"pruned after epoch {epochs}, {monitor} {trial.value:.4f}"
    return f"{monitor} {trial.value:.4f}"


def shown(value: Any) -> str:
    """A parameter's value, numbers with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(result: TuningResult, monitor: str, rows: int = 5) -> str:
    """The best trials, one a row."""
    lines = [["trial", monitor, *result.space]]
    for trial in result.trials[:rows]:
        params = [shown(trial.params[name]) for name in result.space]
        lines.append([str(trial.number), f"{trial.value:.4f}", *params])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)
