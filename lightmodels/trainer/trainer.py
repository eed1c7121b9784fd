"""Trainer: a pl.Trainer with plain device options, a run directory and exact checkpoints."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl

from lightmodels.callbacks.best_and_last import BestAndLastCheckpoint, Mode
from lightmodels.callbacks.signal_handler import TrainingInterrupted
from lightmodels.checkpointing.weights import checkpoint_weights
from lightmodels.core.light_model import LightModel
from lightmodels.loops.install import install
from lightmodels.metrics.history import History
from lightmodels.pictures import Pictures
from lightmodels.trainer import data_arguments, defaults, hardware, run_directory
from lightmodels.trainer.devices import DeviceChoice
from lightmodels.utils import console, distributed
from lightmodels.utils.console import without_banners


class Trainer(pl.Trainer):
    """Lightning's Trainer, with every option of it, and these besides.

    The run directory is claimed by the first ``fit`` and holds TensorBoard's event files and
    ``checkpoints/best.ckpt`` and ``last.ckpt``, and the model's figures. A logger or checkpoint
    callback of one's own, ``logger=False`` or ``enable_checkpointing=False`` take the place of ours.

    Args:
        gpus: a count, ``-1`` for all, or numbers (``[0, 1]``, ``"0,1"``); ``0`` is the CPU. With
            neither ``gpus`` nor ``tpu_cores`` nor ``accelerator``: the best device here, one of it.
        tpu_cores: the same for TPU cores.
        run_dir: a new or empty directory for this run; by default the next of ``1``, ``2``, … in
            ``default_root_dir``, and of ``runs/1``, ``runs/2``, … without that.
        monitor: the value that decides which epoch is best; by default ``val_loss``, or ``train_loss``
            where nothing is validated.
        mode: whether the least (``"min"``) or the greatest (``"max"``) value is best.
        patience: stop after so many epochs without a new best ``monitor``; by default never.
        save_every_n_steps: save ``last.ckpt`` inside epochs too, after so many optimizer steps.
        figures: draw the model's ``figures`` of the validation data, now and then.
        steps_per_execution: optimizer steps between two rounds of callbacks, ``"auto"`` for as many as
            take 50 ms; with the same results, but for callbacks that act at each step.
        compile: let ``torch.compile`` make one graph of a training step, with backward and update, or of
            an execution's; where that cannot be, of the net. What is not compiled is said, and trained.
        tf32: make products of matrices in TF32 while training, on GPUs that have it.
        options: any other option of ``pl.Trainer``.

    Raises:
        ValueError: devices that are not here, or ``accelerator`` beside ``gpus`` or ``tpu_cores``.

    Example:
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
        mode: Mode = "min",
        patience: int | None = None,
        save_every_n_steps: int | None = None,
        figures: bool = True,
        steps_per_execution: int | Literal["auto"] = 1,
        compile: bool = False,
        tf32: bool = False,
        **options: Any,
    ) -> None:
        execution = defaults.check_steps_per_execution(steps_per_execution)
        self.run_dir = None if run_dir is None else Path(run_dir)
        self._opened = False
        self._stopped_at: str | None = None  # the checkpoint to go on from after Ctrl-C
        self._makes_logger = options.get("logger") in (None, True) and not options.get("fast_dev_run")
        self._root = Path(options.get("default_root_dir") or "runs")
        self._pictures = Pictures() if figures else None
        checkpoint = BestAndLastCheckpoint(monitor, mode, save_every_n_steps)
        options["callbacks"] = defaults.callbacks(options, checkpoint, self._pictures, patience)
        self._checkpoint = checkpoint if checkpoint in options["callbacks"] else None
        options["plugins"] = defaults.plugins(options.get("plugins"))
        options |= defaults.unset_options(options) | defaults.devices(gpus, tpu_cores, options)
        with console.without_banners():
            super().__init__(**options)
        if tf32 and self.strategy.root_device.type != "cuda":
            raise ValueError(f"tf32 needs a GPU, and this trains on {self.strategy.root_device.type}")
        self._tf32 = tf32
        install(self, execution, compile)

    def fit(  # type: ignore[override]  # noqa: D417, PLR0913 (Lightning's arguments are its own)
        self,
        model: pl.LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: pl.LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        *,
        max_epochs: int | None = None,
        train_data: Any = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        batch_size: int = 32,
    ) -> History | None:
        """Trains as ``pl.Trainer.fit`` does; a second call trains on up to a larger ``max_epochs``.

        Arguments are those of ``pl.Trainer.fit``, where ``ckpt_path`` goes on in the run directory of
        that checkpoint, and these.

        Args:
            max_epochs: a new limit, counted from the start of the first ``fit``.
            train_data: ``(X, y)`` of tensors or numpy arrays, a Dataset, a DataLoader or a data module, in
                place of ``train_dataloaders``, which takes arrays too.
            validation_data: the same, to validate on.
            validation_split: share of ``train_data`` to validate on, drawn at random, each time the same.
            batch_size: rows in a batch of arrays and Datasets, over all devices.

        Returns:
            The model's history, if it is a ``LightModel``.

        Raises:
            ValueError: nothing is left to train, this trainer has fitted another model, not a single
                step was made, or data that do not fit together.
            SystemExit: SIGTERM, with exit code 143. Ctrl-C returns the history so far, and a further
                ``fit`` goes on from there; in both cases the state is saved first.
        """
        given = {"train_dataloaders": train_dataloaders, "val_dataloaders": val_dataloaders}
        given["datamodule"] = datamodule
        data = data_arguments.fit_arguments(given, train_data, validation_data, validation_split, batch_size)
        if max_epochs is not None:
            self.fit_loop.max_epochs = max_epochs
        module = getattr(model, "_orig_mod", model)  # of torch.compile(model)
        defaults.require_epochs_left(self, module)
        if self._makes_logger or self._checkpoint:
            self.open_run(ckpt_path)
        self._train(model, data, ckpt_path)
        return module.history if isinstance(module, LightModel) else None

    def _train(self, model: Any, data: dict[str, Any], ckpt_path: str | Path | None) -> None:
        """Lightning's ``fit``, also from where Ctrl-C stopped the one before."""
        steps = self.global_step
        if self.strategy.root_device.type == "cpu":
            hardware.tune_allocator()
        try:
            with console.without_banners(), hardware.tf32_matmul(self._tf32):
                super().fit(model, **data, ckpt_path=ckpt_path or self._stopped_at)
        except TrainingInterrupted as stop:
            if stop.signum != signal.SIGINT:
                raise SystemExit(128 + stop.signum) from None
            self._stopped_at = self._checkpoint.last_model_path if self._checkpoint else None
        else:
            self._stopped_at = None
            defaults.require_steps_made(self, since=steps)

    def open_run(self, ckpt_path: str | Path | None = None) -> Path:
        """Claims the run directory and puts the logger and the checkpoints there; ``fit`` does so too.

        Of several processes the first one claims it; the others learn of it when ``fit`` starts.

        With ``ckpt_path``, a checkpoint to go on from, its own run directory is used further.

        Raises:
            RunDirectoryError: the directory already holds something, or cannot be made.
        """
        if self._opened:
            return self.run_dir  # type: ignore[return-value]
        self.run_dir = run_directory.choose(self.run_dir, self._root, ckpt_path, distributed.rank() == 0)
        self._opened = True
        if self._makes_logger:
            self.logger = defaults.tensorboard_logger(self.run_dir)
        if self._checkpoint:
            self._checkpoint.dirpath = self.run_dir / "checkpoints"
        if self._pictures:
            self._pictures.directory = self.run_dir / "figures"
        return self.run_dir

    def test(  # type: ignore[override]
        self,
        model: pl.LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = "best",
        verbose: bool = True,
        datamodule: pl.LightningDataModule | None = None,
    ) -> Any:
        """Tests the best weights of this trainer's ``fit``; the model's own weights stay as they are.

        Arguments are those of ``pl.Trainer.test``; by default the model and the data module are those
        of ``fit``. ``ckpt_path=None`` tests the model's own weights, as does ``"best"`` if this
        trainer has fitted nothing.

        Raises:
            ValueError: no model, or no checkpoint of the kind that was asked for.
        """
        data = datamodule or self._data(dataloaders)
        with checkpoint_weights(ckpt_path, model, self) as tested, without_banners():
            return super().test(tested, dataloaders, None, verbose, data)

    def evaluate(
        self,
        model: pl.LightningModule | None = None,
        data: Any = None,
        batch_size: int = 32,
        ckpt_path: str | Path | None = None,
    ) -> dict[str, float]:
        """The test's values of data of any kind that ``fit`` takes, as plain numbers.

        As in Keras the weights are the model's own; ``ckpt_path="best"`` takes those of the best epoch.
        """
        loaders = data_arguments.as_loader(data, batch_size)
        values: dict[str, float] = self.test(model, loaders, ckpt_path, verbose=False)[0]
        return values

    def validate(  # type: ignore[override]
        self,
        model: pl.LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: pl.LightningDataModule | None = None,
    ) -> Any:
        """Validates the model's own weights, or those of ``ckpt_path``; otherwise as ``test``."""
        with checkpoint_weights(ckpt_path, model, self) as validated, without_banners():
            return super().validate(
                validated, dataloaders, None, verbose, datamodule or self._data(dataloaders)
            )

    def predict(  # type: ignore[override]
        self,
        model: pl.LightningModule | None = None,
        dataloaders: Any = None,
        datamodule: pl.LightningDataModule | None = None,
        return_predictions: bool | None = None,
        ckpt_path: str | Path | None = None,
        *,
        batch_size: int = 32,
    ) -> Any:
        """As ``pl.Trainer.predict``, but gives one tensor (or mapping of tensors) for the whole data set.

        Arrays and Datasets will do for loaders, in batches of ``batch_size``; of several arrays the last
        is the target. The rows are in the data set's order, complete on every process. Several loaders
        give a list of such results. The weights are the model's own, or those of ``ckpt_path``, as in
        ``test``.
        """
        dataloaders = data_arguments.as_loader(dataloaders, batch_size)
        data = datamodule or self._data(dataloaders)
        with checkpoint_weights(ckpt_path, model, self) as asked, without_banners():
            outputs = super().predict(asked, dataloaders, data, return_predictions)
        if outputs is None:
            return None
        return distributed.gather_predictions_of_loaders(outputs, self.predict_dataloaders, self)

    def _data(self, dataloaders: Any) -> pl.LightningDataModule | None:
        return None if dataloaders is not None else getattr(self, "datamodule", None)

    @contextmanager
    def drawing_on(self) -> Iterator[None]:
        """Lets a ``fit`` in its body return while its last pictures are being drawn; waits at the end."""
        if self._pictures is None:
            yield
            return
        self._pictures.waits = False
        try:
            yield
        finally:
            self._pictures.waits = True
            self._pictures.finish(self)
            for logger in self.loggers:
                logger.finalize("success")  # again, for what came after ``fit``

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, whose weights are the best so far; 0 before any."""
        return self._checkpoint.best_epoch if self._checkpoint else 0
