"""Trainer: a pl.Trainer with plain device options, a run directory and exact checkpoints."""

import signal
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightmodels import processes, run_directory, trainer_options
from lightmodels.base import LightModel
from lightmodels.devices import DeviceChoice
from lightmodels.history import History
from lightmodels.keeper import BestAndLast, Mode
from lightmodels.stops import Stopped
from lightmodels.weights import weights_of


class Trainer(pl.Trainer):
    """Lightning's Trainer, with every option of it, and these besides.

    The run directory is claimed by the first ``fit`` and holds TensorBoard's event files and
    ``checkpoints/best.ckpt`` and ``last.ckpt``. A logger or checkpoint callback of one's own,
    ``logger=False`` or ``enable_checkpointing=False`` take the place of ours.

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
        options: any other option of ``pl.Trainer``.

    Raises:
        ValueError: devices that are not here, or ``accelerator`` beside ``gpus`` or ``tpu_cores``.
    """

    def __init__(
        self,
        *,
        gpus: DeviceChoice = None,
        tpu_cores: DeviceChoice = None,
        run_dir: str | Path | None = None,
        monitor: str | None = None,
        mode: Mode = "min",
        patience: int | None = None,
        save_every_n_steps: int | None = None,
        **options: Any,
    ) -> None:
        self.run_dir = None if run_dir is None else Path(run_dir)
        self._opened = False
        self._stopped_at: str | None = None  # the checkpoint to go on from after Ctrl-C
        self._makes_logger = options.get("logger") in (None, True) and not options.get("fast_dev_run")
        self._root = Path(options.get("default_root_dir") or "runs")
        keeper = BestAndLast(monitor, mode, save_every_n_steps)
        options["callbacks"] = trainer_options.callbacks(options, keeper, patience)
        self._keeper = keeper if keeper in options["callbacks"] else None
        options["plugins"] = trainer_options.plugins(options.get("plugins"))
        options |= trainer_options.unset(options) | trainer_options.devices(gpus, tpu_cores, options)
        super().__init__(**options)

    def fit(  # type: ignore[override]
        self,
        model: pl.LightningModule,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: pl.LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        *,
        max_epochs: int | None = None,
    ) -> History | None:
        """Trains as ``pl.Trainer.fit`` does; a second call trains on up to a larger ``max_epochs``.

        Arguments are those of ``pl.Trainer.fit``, and ``max_epochs``, a new limit that counts from the
        start of the first ``fit``. ``ckpt_path`` goes on in the run directory of that checkpoint.

        Returns:
            The model's history, if it is a ``LightModel``.

        Raises:
            ValueError: nothing is left to train, this trainer has fitted another model, or not a
                single step was made.
            SystemExit: SIGTERM, with exit code 143. Ctrl-C returns the history so far, and a further
                ``fit`` goes on from there; in both cases the state is saved first.
        """
        if max_epochs is not None:
            self.fit_loop.max_epochs = max_epochs
        limit, done, steps = self.fit_loop.max_epochs, self.current_epoch, self.global_step
        module = getattr(model, "_orig_mod", model)  # of torch.compile(model)
        if done and module is not self.lightning_module:
            raise ValueError("this trainer has fitted another model: make a new Trainer for this one")
        if done and limit is not None and 0 <= limit <= done:
            raise ValueError(f"max_epochs={limit}, and {done} epochs are already trained: name a larger one")
        if self._makes_logger or self._keeper:
            self.open_run(ckpt_path)
        try:
            super().fit(model, train_dataloaders, val_dataloaders, datamodule, ckpt_path or self._stopped_at)
            self._stopped_at = None
        except Stopped as stop:
            if stop.signum != signal.SIGINT:
                raise SystemExit(128 + stop.signum) from None
            self._stopped_at = self._keeper.last_model_path if self._keeper else None
            return module.history if isinstance(module, LightModel) else None
        if self.global_step == steps and not trainer_options.only_tunes(self):
            limits = f"max_epochs={self.max_epochs}, max_steps={self.max_steps}"
            raise ValueError(f"not a single step was made: {limits}, batches={self.num_training_batches}")
        return module.history if isinstance(module, LightModel) else None

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
        with weights_of(ckpt_path, model, self) as tested:
            return super().test(tested, dataloaders, None, verbose, data)

    def validate(  # type: ignore[override]
        self,
        model: pl.LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = None,
        verbose: bool = True,
        datamodule: pl.LightningDataModule | None = None,
    ) -> Any:
        """Validates the model's own weights, or those of ``ckpt_path``; otherwise as ``test``."""
        with weights_of(ckpt_path, model, self) as validated:
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
    ) -> Any:
        """As ``pl.Trainer.predict``, but gives one tensor (or mapping of tensors) for the whole data set.

        The rows are in the data set's order, complete on every process. Several loaders give a list
        of such results. The weights are the model's own, or those of ``ckpt_path``, as in ``test``.
        """
        data = datamodule or self._data(dataloaders)
        with weights_of(ckpt_path, model, self) as asked:
            outputs = super().predict(asked, dataloaders, data, return_predictions)
        if outputs is None:
            return None
        loaders: Any = self.predict_dataloaders
        if outputs and isinstance(outputs[0], list):
            pairs = zip(outputs, loaders, strict=True)
            return [processes.join_in_order(batches, loader, self) for batches, loader in pairs]
        return processes.join_in_order(outputs, loaders, self)

    def open_run(self, ckpt_path: str | Path | None = None) -> Path:
        """Claims the run directory and puts the logger and the checkpoints there; ``fit`` does so too.

        Of several processes the first one claims it; the others learn of it when ``fit`` starts.

        With ``ckpt_path``, a checkpoint to go on from, its own run directory is used further.

        Raises:
            RunDirectoryError: the directory already holds something, or cannot be made.
        """
        if self._opened:
            return self.run_dir  # type: ignore[return-value]
        resumed = None if ckpt_path is None else Path(ckpt_path).parent.parent
        if resumed is not None and self.run_dir in (None, resumed):
            self.run_dir = resumed
        elif processes.rank():
            self.run_dir = self.run_dir or self._root  # until it is known
        else:
            self.run_dir = run_directory.claim_or_next(self.run_dir, self._root)
        self._opened = True
        if self._makes_logger:
            from pytorch_lightning.loggers import TensorBoardLogger

            self.logger = TensorBoardLogger(self.run_dir, name="", version="", default_hp_metric=False)
        if self._keeper:
            self._keeper.dirpath = self.run_dir / "checkpoints"
        return self.run_dir

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, whose weights are the best so far; 0 before any."""
        return self._keeper.best_epoch if self._keeper else 0

    def _data(self, dataloaders: Any) -> pl.LightningDataModule | None:
        return None if dataloaders is not None else getattr(self, "datamodule", None)
