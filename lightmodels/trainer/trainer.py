"""Trainer: a pl.Trainer with plain device options, a run directory and exact checkpoints."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import Strategy
from pytorch_lightning.trainer.states import TrainerStatus

from lightmodels.callbacks.best_and_last import BestAndLastCheckpoint
from lightmodels.callbacks.signal_handler import SignalHandler, TrainingInterrupted
from lightmodels.checkpointing import files, weights
from lightmodels.core.light_model import LightModel
from lightmodels.loops.install import install
from lightmodels.metrics.direction import Mode
from lightmodels.metrics.history import History
from lightmodels.trainer import data_arguments, defaults, facts, hardware, option_checks, run_directory
from lightmodels.trainer.devices import DeviceChoice
from lightmodels.trainer.spawned import return_results
from lightmodels.utils import console, distributed, lightning_internals
from lightmodels.visualization import loggers
from lightmodels.visualization.figure_callback import FigureLogger


class NothingTrainedError(ValueError):
    """A ``fit`` has made no optimizer step; one line with the limits."""


class Trainer(pl.Trainer):
    """Lightning's Trainer with simple device options, a run directory, and best and last checkpoints.

    The first ``fit`` claims the run directory for TensorBoard's event files, ``checkpoints/best.ckpt`` and
    ``last.ckpt``, and the model's figures. A logger or checkpoint callback among the options replaces ours;
    ``logger=False`` or ``enable_checkpointing=False`` turns it off. ``logger="csv"``, ``"wandb"`` or ``"mlflow"`` logs
    the same values there instead of to TensorBoard.

    Args:
        gpus: number of GPUs, ``-1`` for all, or indices (``[0, 1]``, ``"0,1"``); ``0`` is the CPU. Default: one device
            of the best available kind.
        tpu_cores: the same for TPU cores.
        run_dir: new or empty directory of this run. Default: ``1``, ``2``, … in ``default_root_dir`` (``runs``).
        monitor: metric that determines the best epoch. Default: ``val_loss`` (of the first validation loader), else
            ``train_loss``.
        mode: whether a lower (``"min"``) or a higher (``"max"``) value of ``monitor`` is better. Default: what the
            ``Metric`` says (``higher_is_better``), else the name, such as ``val_acc``.
        patience: epochs without improvement of ``monitor`` after which training stops. Default: never.
        save_every_n_steps: optimizer steps between saves of ``last.ckpt`` inside epochs. Default: none.
        restore_best_weights: give the model the weights of the best epoch when ``fit`` ends; otherwise it has the last.
        figures: draw the model's ``figures`` of validation data, at epochs 1, 2, 4, 8, … and at the end.
        steps_per_execution: optimizer steps between two calls of callbacks, or ``"auto"`` for as many as take 50 ms.
            Results are the same, unless a callback acts on every step.
        compile: compile the whole training step with ``torch.compile``, or, where that is not possible, the net. Parts
            that cannot be compiled are reported and run eagerly.
        tf32: use TF32 for float32 matrix multiplications during training, on GPUs that support it.
        timeout: seconds that a process waits for the others before the run ends with an error.
        options: any other argument of ``pl.Trainer``; by default from its variable, such as ``PL_TRAINER_MAX_EPOCHS``.

    Raises:
        ValueError: devices that are not available, or combined with ``accelerator``; an option out of its range.

    Examples:
        >>> from torch import nn, ones
        >>> model = LightModel.from_net(nn.Linear(2, 1), loss=nn.functional.mse_loss)
        >>> trainer = Trainer(gpus=0, max_epochs=1, logger=False, enable_checkpointing=False)
        >>> history = trainer.fit(model, train_data=(ones(8, 2), ones(8, 1)))
        epoch  train_loss ...
        >>> trainer.predict(model, ones(3, 2)).shape
        torch.Size([3, 1])
    """

    def __init__(  # noqa: PLR0913 (each is a flag of train.py)
        self,
        *,
        gpus: DeviceChoice = None,
        tpu_cores: DeviceChoice = None,
        run_dir: str | Path | None = None,
        monitor: str | None = None,
        mode: Mode | None = None,
        patience: int | None = None,
        save_every_n_steps: int | None = None,
        restore_best_weights: bool = False,
        figures: bool = True,
        steps_per_execution: int | Literal["auto"] = 1,
        compile: bool = False,
        tf32: bool = False,
        timeout: float = 600,
        **options: Any,
    ) -> None:
        options = defaults.from_environment(type(self), gpus, tpu_cores) | options
        defaults.check_steps_per_execution(steps_per_execution)
        option_checks.check_options(options, monitor, timeout)
        option_checks.require_local(run_dir=run_dir, default_root_dir=options.get("default_root_dir"))
        self._restore_best_weights = restore_best_weights and not options.get("fast_dev_run")
        self.run_dir = None if run_dir is None else Path(run_dir)
        self._opened = False
        self._lock: run_directory.RunLock | None = None  # from ``open_run`` to the end of ``fit``
        self._resume_from: str | None = None  # the checkpoint of a fit that Ctrl-C has stopped
        self._logger_name = loggers.logger_name(options)  # of the logger that ``open_run`` creates
        self._root = Path(options["default_root_dir"]) if options.get("default_root_dir") else None
        self._figure_logger = FigureLogger() if figures else None
        checkpoint = BestAndLastCheckpoint(monitor, mode, save_every_n_steps)
        options["callbacks"] = defaults.callbacks(options, checkpoint, self._figure_logger, patience)
        self._checkpoint = checkpoint if checkpoint in options["callbacks"] else None
        self._signals: SignalHandler = options["callbacks"][-1]
        if self._restore_best_weights and not defaults.has(pl.callbacks.Checkpoint, options["callbacks"]):
            raise ValueError("restore_best_weights needs checkpoints: leave out enable_checkpointing=False")
        options["plugins"] = defaults.plugins(options.get("plugins"))
        options |= defaults.unset_options(options) | defaults.devices(gpus, tpu_cores, options)
        with console.without_banners():
            super().__init__(**options)
        if tf32 and self.strategy.root_device.type != "cuda":
            raise ValueError(f"tf32 needs a CUDA GPU, got {self.strategy.root_device.type}")
        self._tf32 = tf32
        self.timeout = timeout
        if not isinstance(options.get("strategy"), Strategy):
            lightning_internals.set_timeout(self.strategy, timeout)
        install(self, steps_per_execution, compile)
        return_results(self.strategy.launcher, checkpoint, self._signals)

    def _repr_html_(self) -> str:
        """Model, data, devices, epochs and run directory as a table, for notebooks."""
        return facts.table(self)

    def fit(  # type: ignore[override]  # noqa: D417, PLR0913 (Lightning's arguments are its own)
        self,
        model: pl.LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: pl.LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
        *,
        max_epochs: int | None = None,
        train_data: Any = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        batch_size: int = 32,
    ) -> History | None:
        """Trains a model; a second call continues up to a larger ``max_epochs``.

        Other arguments are those of ``pl.Trainer.fit``; ``ckpt_path`` continues in that run's directory, unless another
        is named. ``weights_only=False`` reads a local checkpoint that may run any code.

        Args:
            max_epochs: a new limit, counted from the start of the first ``fit``. Without any limit, a ``LightModel``
                is trained for the ``max_epochs`` of its class.
            train_data: ``(X, y)`` of arrays, a Dataset, a DataLoader or a data module; as ``train_dataloaders``.
            validation_data: the same, for validation.
            validation_split: share of ``train_data`` to validate on, drawn at random with a fixed seed.
            batch_size: rows in a batch of arrays and Datasets, over all devices.

        Returns:
            The history of a ``LightModel``, or None for other modules.

        Raises:
            ValueError: no epoch is left to train, no optimizer step was made, this trainer was fitted with
                another model, or data that cannot be used.
            SystemExit: with code 143, on SIGTERM. On Ctrl-C, the history so far is returned, and the next
                ``fit`` continues from there. In both cases the state is saved first.
        """
        given = train_dataloaders, val_dataloaders, datamodule
        with data_arguments.float_type_of(model, self.precision):
            data = data_arguments.fit_arguments(*given, train_data, validation_data, validation_split, batch_size)
        module = getattr(model, "_orig_mod", model)  # of torch.compile(model)
        self._set_limit(max_epochs, module)
        ckpt_path = self._find_checkpoint(ckpt_path) or self._resume_from
        if self._logger_name or self._checkpoint:
            self.open_run(ckpt_path)
        self._fit(model, {**data, "weights_only": weights_only}, ckpt_path)
        if self._restore_best_weights and not self.interrupted:
            best = files.load_checkpoint(weights.kept_path("best", self))
            module.load_state_dict(best["state_dict"], strict=module.strict_loading)
        return module.history if isinstance(module, LightModel) else None

    def _find_checkpoint(self, ckpt_path: str | Path | None) -> str | Path | None:
        """The file that ``"last"`` or ``"best"`` is in the run directory, or the given one, if it exists."""
        if self._checkpoint is None or ckpt_path is None or "://" in str(ckpt_path):
            return ckpt_path
        path = Path(ckpt_path)
        if ckpt_path in ("last", "best"):
            if self.run_dir is None:
                raise ValueError(
                    f"ckpt_path={ckpt_path!r}: there is no run yet; pass run_dir, or the checkpoint's path"
                )
            path = self.run_dir / "checkpoints" / f"{ckpt_path}.ckpt"
        if path.is_dir():
            raise files.CheckpointError(f"{path}: is a directory; pass a checkpoint file")
        if not path.exists():
            raise files.MissingCheckpointError(f"{path}: there is no such checkpoint")
        return path

    def _set_limit(self, max_epochs: int | None, model: pl.LightningModule) -> None:
        """Sets ``max_epochs``, by default that of the model; raises ValueError if no epoch is left."""
        unlimited = self.max_steps == -1 and not defaults.has(pl.callbacks.Timer, self.callbacks)  # type: ignore[attr-defined]
        if max_epochs is None and self.max_epochs is None and unlimited and isinstance(model, LightModel):
            max_epochs = model.max_epochs
        option_checks.check_limits({"min_epochs": self.min_epochs, "max_epochs": max_epochs}, "epochs")
        if max_epochs is not None:
            self.fit_loop.max_epochs = max_epochs
        limit, done = self.fit_loop.max_epochs, self.current_epoch
        if done and model is not self.lightning_module:
            raise ValueError("this Trainer was fitted with another model; create a new one")
        if done and limit is not None and 0 <= limit <= done:
            raise ValueError(f"already trained for {done} epochs; pass max_epochs > {done}")

    def _fit(self, model: Any, data: dict[str, Any], ckpt_path: str | Path | None) -> None:
        if self._logger_name:
            defaults.set_config_saving(self, fits=True)
        self._signals.first_step = None
        self._signals.user_handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
        if self.strategy.root_device.type == "cpu":
            hardware.tune_allocator()
            if self.is_global_zero:
                hardware.warn_of_slow_precision(str(self.precision))
        try:
            with (
                console.without_banners(),
                hardware.tf32_matmul(self._tf32),
                distributed.explain_lost_processes(self),
            ):
                super().fit(model, **data, ckpt_path=ckpt_path)
        except SystemExit as stop:
            if not isinstance(stop.__context__, TrainingInterrupted):
                raise
            self._resume_from = self._checkpoint.last_model_path if self._checkpoint else None
            return
        finally:
            if self._lock:
                self._lock.release()
            self._lock = None
        self._resume_from = None
        finders = (pl.callbacks.BatchSizeFinder, pl.callbacks.LearningRateFinder)
        tuning = any(isinstance(callback, finders) for callback in self.callbacks)  # type: ignore[attr-defined]
        if not tuning and not self._has_trained():  # a Tuner restores everything before it returns
            limits = f"max_epochs={self.max_epochs}, max_steps={self.max_steps}, batches={self.num_training_batches}"
            done = f" after {self.current_epoch} epochs and {self.global_step} steps" if ckpt_path else ""
            raise NothingTrainedError(f"no optimizer step was made{done}: {limits}")

    def _has_trained(self) -> bool:
        """Whether the last ``fit`` has made an optimizer step, or, with manual optimization, seen a batch."""
        first, loop = self._signals.first_step, self.fit_loop.epoch_loop
        if first is None or self.lightning_module.automatic_optimization:
            return first is not None and self.global_step > first
        return loop.batch_progress.total.ready > 0

    def open_run(self, ckpt_path: str | Path | None = None) -> Path:
        """Claims the run directory for logger, checkpoints and figures; by default, ``fit`` does so.

        ``ckpt_path`` is a checkpoint to resume from, whose run directory is used again. Of several processes,
        only the first knows the directory before ``fit``. Raises RunDirectoryError if it cannot be used.
        """
        is_new, is_first = not self._opened, distributed.rank() == 0
        if is_new:
            self.run_dir = run_directory.choose(self.run_dir, self._root, ckpt_path, is_first)
        assert self.run_dir is not None
        if is_first and not self._lock:
            self._lock = run_directory.RunLock(self.run_dir)
        self._opened = True
        if self._logger_name and is_new:
            logger = loggers.make_logger(self._logger_name, self.run_dir)
            self.loggers = [logger] if logger else []
        if self._checkpoint:
            self._checkpoint.dirpath = self.run_dir / "checkpoints"
        if self._figure_logger:
            self._figure_logger.directory = self.run_dir / "figures"
        return self.run_dir

    def test(
        self,
        model: pl.LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: pl.LightningDataModule | None = None,
        weights_only: bool | None = None,
        *,
        batch_size: int = 32,
    ) -> Any:
        """Tests the given model as it is; without a model, the best weights of this trainer's ``fit``.

        Arguments are those of ``pl.Trainer.test``, with data as in ``fit``; default model and data module are those of
        ``fit``. With ``ckpt_path``, a file, ``"best"`` or ``"last"``, the model has the weights of that checkpoint
        meanwhile, and its own afterwards. Raises ValueError without model or checkpoint.
        """
        with self._evaluation(model, dataloaders, datamodule, (ckpt_path, weights_only), batch_size) as arguments:
            return super().test(**arguments, verbose=verbose)

    def evaluate(
        self,
        model: pl.LightningModule | None = None,
        data: Any = None,
        batch_size: int = 32,
        ckpt_path: str | Path | None = None,
    ) -> dict[str, float]:
        """The metrics of ``test``, with the same rules for weights and data, as a dict of floats."""
        return dict(self.test(model, data, ckpt_path, verbose=False, batch_size=batch_size)[0])

    def validate(
        self,
        model: pl.LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: pl.LightningDataModule | None = None,
        weights_only: bool | None = None,
        *,
        batch_size: int = 32,
    ) -> Any:
        """Validates a model; like ``test``, with the same rules for weights and data."""
        with self._evaluation(model, dataloaders, datamodule, (ckpt_path, weights_only), batch_size) as arguments:
            return super().validate(**arguments, verbose=verbose)

    def predict(
        self,
        model: pl.LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: pl.LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
        *,
        batch_size: int = 32,
    ) -> Any:
        """Like ``pl.Trainer.predict``, but returns one tensor (or mapping of tensors) for the whole data set.

        The rows are in the data set's order, complete on every process; several dataloaders give a list. Of
        several arrays, the last is the target. Results that cannot be joined are a list of one per batch, as in
        Lightning. The rules for weights and data are those of ``test``.
        """
        with self._evaluation(model, dataloaders, datamodule, (ckpt_path, weights_only), batch_size) as arguments:
            outputs = super().predict(**arguments, return_predictions=return_predictions)
            return outputs and distributed.gather_predictions(outputs, self.predict_dataloaders, self)

    @contextmanager
    def _evaluation(
        self, model: Any, data: Any, datamodule: Any, checkpoint: tuple[Any, bool | None], batch_size: int
    ) -> Iterator[dict[str, Any]]:
        """Arguments of Lightning's ``test``, for a model that has a checkpoint's weights for a while.

        ``checkpoint`` is ``(ckpt_path, weights_only)``.
        """
        if data is None and datamodule is None:
            datamodule = getattr(self, "datamodule", None)
        with data_arguments.float_type_of(self.lightning_module if model is None else model, self.precision):
            loaders = data_arguments.as_loader(data, batch_size)
        if self._logger_name:
            defaults.set_config_saving(self, fits=False)
        with (
            weights.checkpoint_weights(checkpoint[0], model, self, checkpoint[1]) as module,
            console.without_banners(),
            distributed.explain_lost_processes(self),
        ):
            yield {"model": module, "dataloaders": loaders, "datamodule": datamodule}

    @property
    def logger(self) -> Logger | None:
        """The first logger; the default one, before ``fit``, claims the run directory."""
        if self._logger_name and not self._opened and self.state.status != TrainerStatus.RUNNING:
            self.open_run()
        return self.loggers[0] if self.loggers else None

    @logger.setter
    def logger(self, logger: Logger | None) -> None:
        self._logger_name = None
        self.loggers = [logger] if logger else []

    @property
    def default_root_dir(self) -> str:
        """The run directory, once it is known; so SLURM's ``hpc_ckpt_N.ckpt`` is that of one run."""
        return str(self.run_dir) if self._opened else str(super().default_root_dir)

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch so far, counted from 1; 0 if there is none."""
        return self._checkpoint.best_epoch if self._checkpoint else 0
