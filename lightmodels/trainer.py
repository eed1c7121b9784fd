"""Trainer: a pl.Trainer with plain device options, a run directory and exact checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightmodels import checkpoints, processes, run_directory, trainer_options
from lightmodels.base import LightModel
from lightmodels.checkpoints import BestAndLast, Mode
from lightmodels.devices import DeviceChoice
from lightmodels.history import History


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
        self._makes_logger = options.get("logger") in (None, True) and not options.get("fast_dev_run")
        if self._makes_logger:
            options["logger"] = False  # until the run directory is known
        options["callbacks"] = trainer_options.callbacks(
            options, BestAndLast(monitor, mode, save_every_n_steps), patience
        )
        options["plugins"] = trainer_options.plugins(options.get("plugins"))
        self._root = Path(options.get("default_root_dir") or "runs")
        for name in ("enable_progress_bar", "enable_model_summary"):
            if options.get(name) is None:
                options[name] = False
        options |= trainer_options.devices(gpus, tpu_cores, options)
        super().__init__(**options)

    def fit(  # type: ignore[override]
        self, model: pl.LightningModule, *args: Any, max_epochs: int | None = None, **kwargs: Any
    ) -> History | None:
        """Trains as ``pl.Trainer.fit`` does; a second call trains on up to a larger ``max_epochs``.

        Args:
            model: what to train.
            args: data loaders or a data module, as for ``pl.Trainer.fit``.
            max_epochs: a new limit, counted from the start of the first ``fit``.
            kwargs: further arguments of ``pl.Trainer.fit``.

        Returns:
            The model's history, if it is a ``LightModel``.

        Raises:
            ValueError: this trainer has already trained for as many epochs.
        """
        if max_epochs is not None:
            self.fit_loop.max_epochs = max_epochs
        limit, done = self.fit_loop.max_epochs, self.current_epoch
        if done and limit is not None and 0 <= limit <= done:
            raise ValueError(f"max_epochs={limit}, and {done} epochs are already trained: name a larger one")
        if self._makes_logger or self._keeper:
            self.open_run(kwargs.get("ckpt_path"))
        super().fit(model, *args, **kwargs)
        return model.history if isinstance(model, LightModel) else None

    def test(
        self,
        model: pl.LightningModule | None = None,
        dataloaders: Any = None,
        ckpt_path: str | Path | None = "best",
        verbose: bool = True,
        datamodule: pl.LightningDataModule | None = None,
        weights_only: bool | None = None,
    ) -> Any:
        """Tests the best weights of this trainer's ``fit``; the model's own weights stay as they are.

        Args:
            model: what to test; by default the model that was fitted.
            dataloaders: loaders or a data module; by default the data module of ``fit``.
            ckpt_path: a checkpoint whose weights are tested; ``None`` for the model's own, as also
                for ``"best"`` if this trainer has fitted nothing.
            verbose: print the values.
            datamodule: another way to give the data module.
            weights_only: not used, as our checkpoints are always read so.
        """
        trained = model is None or model is self.lightning_module
        if ckpt_path == "best":
            ckpt_path = (trained and self._keeper and self._keeper.best_model_path) or None
        if dataloaders is None and datamodule is None:
            datamodule = self._data()
        model = model or self.lightning_module
        with _weights_of(ckpt_path, model):
            return super().test(model, dataloaders, None, verbose, datamodule)

    def _data(self) -> pl.LightningDataModule | None:
        return getattr(self, "datamodule", None)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """As ``pl.Trainer.predict``, but gives one tensor (or mapping of tensors) for the whole data set.

        The rows are in the data set's order, complete on every process. Several loaders give a list of
        such results.
        """
        outputs = super().predict(*args, **kwargs)
        if outputs is None:
            return None
        loaders: Any = self.predict_dataloaders
        if outputs and isinstance(outputs[0], list):
            return [
                processes.join_in_order(batches, loader, self)
                for batches, loader in zip(outputs, loaders, strict=True)
            ]
        return processes.join_in_order(outputs, loaders, self)

    def open_run(self, ckpt_path: str | Path | None = None) -> Path:
        """Claims the run directory and puts the logger and the checkpoints there; ``fit`` does so too.

        Of several processes the first one claims it; the others learn of it when ``fit`` starts.

        Args:
            ckpt_path: a checkpoint to go on from; its own run directory is then used further.

        Returns:
            The run directory.

        Raises:
            RunDirectoryError: the directory already holds something, or cannot be made.
        """
        if self._opened:
            return self.run_dir  # type: ignore[return-value]
        resumed = None if ckpt_path is None else Path(ckpt_path).absolute().parent.parent
        if processes.rank():
            self.run_dir = self.run_dir or self._root  # until it is known
        elif self.run_dir is None:
            self.run_dir = run_directory.claim_next(self._root)
        elif self.run_dir.absolute() != resumed:
            run_directory.claim(self.run_dir)
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

    @property
    def _keeper(self) -> BestAndLast | None:
        callbacks: list[pl.Callback] = self.callbacks  # type: ignore[attr-defined]
        return next((callback for callback in callbacks if isinstance(callback, BestAndLast)), None)


@contextmanager
def _weights_of(path: str | Path | None, model: pl.LightningModule) -> Iterator[None]:
    """Puts the weights of a checkpoint into the model for a while."""
    if path is None:
        yield
        return
    own = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(checkpoints.load(path)["state_dict"])
    try:
        yield
    finally:
        model.load_state_dict(own)
