"""California housing: 20,640 districts of the census of 1990 and their median house values."""

import io
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lightmodels.data.remote_files import RemoteFile, download_missing
from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, train_val_split
from lightmodels.inputs.rows import derive_features
from lightmodels.utils.data_error import DataError, one_line

COLUMNS = (  # of the file, which has no header; the last is the target
    "longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms", "population", "households",
    "median_income", "median_house_value",
)  # fmt: skip
FORMULAS: dict[str, list[str]] = {  # feature -> its column, or the two columns that it is the quotient of
    "median_income": ["median_income"],  # in 10,000 dollars
    "house_age": ["housing_median_age"],  # in years
    "rooms_per_household": ["total_rooms", "households"],
    "bedrooms_per_household": ["total_bedrooms", "households"],
    "population": ["population"],
    "people_per_household": ["population", "households"],
    "latitude": ["latitude"],
    "longitude": ["longitude"],
}
TARGET_SCALE = 100_000.0  # dollars; the unit in which the literature gives errors
TEST_FRACTION = 0.2


class HousingDataModule(TensorDataModule):
    """Districts as ``(features, values)``: float32 ``(N, 8)``, see ``FORMULAS``, and ``(N, 1)`` in dollars.

    A fifth of the rows, drawn by the seed, is the test set.

    Args:
        data_dir: its folder ``cal_housing`` has ``cal_housing.data`` or ``cal_housing.tgz``, which is downloaded
            otherwise.
        batch_size: rows in a global batch, over all devices.
        val_fraction: share of the other rows for validation.
        seed: seed of the splits and of the order of the training rows.
    """

    files: ClassVar[Mapping[str, RemoteFile]] = {
        "cal_housing.tgz": RemoteFile(
            "cal_housing/cal_housing.tgz",
            ("https://ndownloader.figshare.com/files/5976036",),
            ("sha256:a2b44dcc7e1c9091b43c4f458b25cbd1f7e8068d08edd26bc4703108d3fa6214",),
            member="CaliforniaHousing/cal_housing.data",
        )
    }

    def __init__(self, data_dir: str = "data", batch_size: int = 32, val_fraction: float = 0.2, seed: int = 0) -> None:
        super().__init__(batch_size, val_fraction, seed)
        self.data_dir = data_dir = str(data_dir)  # hyper-parameters are plain data, not a Path
        self.save_hyperparameters()

    @property
    def sizes(self) -> dict[str, Any]:
        """With the mean and standard deviation of each feature over the training rows."""
        x = self.splits.train[0].double()
        moments = {"feature_mean": x.mean(0).tolist(), "feature_std": x.std(0, correction=0).tolist()}
        return {"num_features": len(FORMULAS), "num_classes": 0, **moments, "target_scale": TARGET_SCALE}

    @property
    def info(self) -> dict[str, Any]:
        """New rows may have the file's ``columns``, from which the features follow by the ``formulas``."""
        columns = {"columns": list(COLUMNS[:-1]), "formulas": list(FORMULAS.values())}
        return {"kind": "table", "features": list(FORMULAS), **columns, "target": "house value ($)"}

    def prepare_data(self) -> None:
        """Downloads the file if it is missing."""
        download_missing(self.files.values(), self.data_dir)

    def load(self) -> Splits:
        """Reads the file; raises DataError if it is missing or damaged."""
        (file,) = self.files.values()
        table = parse_table(file.read(self.data_dir), file.name)
        x = derive_features(table, COLUMNS, list(FORMULAS.values()))
        rows = x.float(), table[:, -1:].float(), torch.arange(len(table))
        rest, test = train_val_split(rows, TEST_FRACTION, self.seed)
        train, val = train_val_split(rest, self.val_fraction, self.seed)
        self.train_rows, self.val_rows = train[-1], val[-1]
        return Splits(train[:-1], val[:-1], test[:-1])


def parse_table(content: bytes, name: str) -> Tensor:
    """The rows of the file, float64 ``(N, 9)``; DataError, with the file's ``name``, for anything else."""
    try:
        table = np.loadtxt(io.BytesIO(content), delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"{name} is not a table of numbers ({one_line(error)})") from error
    if table.shape[1:] != (len(COLUMNS),):
        raise DataError(f"{name} has {table.shape[1]} columns, expected {len(COLUMNS)}")
    if not np.isfinite(table).all() or (table[:, COLUMNS.index("households")] <= 0).any():
        raise DataError(f"{name} has a row with a value that is not finite, or without households")
    return torch.from_numpy(table)
