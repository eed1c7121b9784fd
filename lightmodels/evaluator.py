"""Evaluator: the part of our Trainer that tests and predicts."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightmodels import data_arguments, processes
from lightmodels.utils.console import without_banners
from lightmodels.weights import weights_of


class Evaluator(pl.Trainer):
    """Tests, validates and predicts; the model's own weights stay as they are."""

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
        with weights_of(ckpt_path, model, self) as tested, without_banners():
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
        loaders = data_arguments.loader_of(data, batch_size)
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
        with weights_of(ckpt_path, model, self) as validated, without_banners():
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
        dataloaders = data_arguments.loader_of(dataloaders, batch_size)
        data = datamodule or self._data(dataloaders)
        with weights_of(ckpt_path, model, self) as asked, without_banners():
            outputs = super().predict(asked, dataloaders, data, return_predictions)
        if outputs is None:
            return None
        return processes.join_loaders(outputs, self.predict_dataloaders, self)

    def _data(self, dataloaders: Any) -> pl.LightningDataModule | None:
        return None if dataloaders is not None else getattr(self, "datamodule", None)
