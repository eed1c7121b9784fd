"""TableDataModule: a table of your own, from a file or a DataFrame."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lightmodels.data.duplicates import row_hashes, warn_of_copies
from lightmodels.data.labels import row_weights
from lightmodels.data.table_splits import as_times, group_numbers, hold_out, said_parts
from lightmodels.data.targets import Target, find_target
from lightmodels.data.tensor_datamodule import Splits, TensorDataModule, Tensors
from lightmodels.inputs.frames import UNNAMED, Frames, as_frame, fit_columns
from lightmodels.inputs.table_files import Names, choose_columns, import_pandas, read_frame
from lightmodels.utils.data_error import DataError

CHUNK = 2**14  # rows that are turned into tensors at a time
ROLES = ("split", "group", "time", "sample_weight")  # arguments that name a column which is no feature


class TableDataModule(TensorDataModule):
    """Rows of a table as ``(x, y)`` or ``(x, y, weights)``.

    x, float32 ``(N, num_features)``, has the standardized numbers, with the median where one is missing; an indicator
    for each column in which training rows lack one; and, last, the categories as whole numbers, of which 0 is for those
    that training rows have not, or once only. Dates become parts: days, month, day of the month and week, hour. All of
    this is measured on the training rows; see ``lightmodels.inputs.frames``.

    y has classes, int64 ``(N,)``, or numbers, float32 ``(N, 1)``. Texts and booleans are classes, and so are numbers
    that are all whole, with at most 20 different ones; all others are numbers, unless ``kind`` says what they are.
    Several target columns of zeros and ones, or texts with a ``separator``, make it multi-label, float32
    ``(N, labels)``: a row can be of any number of classes.

    The test rows are a random share, each class by the same share; with ``group``, such as patients, whole groups; with
    ``time``, of dates or numbers, the latest rows. The validation rows are split off the other rows in the same way. A
    column named by ``group``, ``time``, ``split`` or ``sample_weight`` is no feature, nor is one without a name.

    Class weights, scikit-learn's, are in the training loss only, weights of rows in every loss.

    Args:
        path: CSV, TSV, Parquet, JSON lines, or a DataFrame.
        target: column to predict, or several.
        kind: ``classes`` or ``number``.
        test_path: file of the test rows, if ``path`` has none.
        test_fraction: share of the rows for testing.
        split: column that says train, val or test.
        group: column of groups, each of which stays in one split.
        time: column whose latest rows are the test rows.
        ignore: columns to leave out.
        categories: columns of numbers that are categories.
        separator: text between the labels of a row.
        class_weights: ``balanced`` for equal classes.
        sample_weight: column of the rows' weights in the loss.
        batch_size: rows in a global batch.
        val_fraction: share of the rows for validation.
        seed: seed of the splits and of the order of the training rows.
    """

    def __init__(  # noqa: PLR0913 (each is a flag of train.py)
        self,
        path: str | Any,
        target: Sequence[str] | str,
        *,
        kind: Literal["auto", "classes", "number"] = "auto",
        test_path: str | Any | None = None,
        test_fraction: float = 0.2,
        split: str | None = None,
        group: str | None = None,
        time: str | None = None,
        ignore: Names = None,
        categories: Names = None,
        separator: str | None = None,
        class_weights: Literal["none", "balanced"] = "none",
        sample_weight: str | None = None,
        batch_size: int = 32,
        val_fraction: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_fraction, seed)
        if not 0 < test_fraction < 1:
            raise ValueError(f"test_fraction must be between 0 and 1, got {test_fraction}")
        named = {"test_path": test_path, "split": split, "time": time, "group": group}
        for first, second in (("test_path", "split"), ("split", "time"), ("split", "group"), ("time", "group")):
            if named[first] is not None and named[second] is not None:
                raise ValueError(f"{first} and {second} exclude each other")
        self._path, self._test_path = path, test_path
        # Hyper-parameters are plain data, neither a Path nor a DataFrame.
        path, test_path = (str(each) if isinstance(each, Path) else each for each in (path, test_path))
        frames = [name for name, each in (("path", path), ("test_path", test_path)) if not isinstance(each, str | None)]
        self.save_hyperparameters(ignore=frames)
        self._target, self._info = Target(()), dict[str, Any]()  # set by load

    @property
    def sizes(self) -> dict[str, Any]:
        """With the mean and standard deviation of a target that is a number, over the training rows."""
        x, y = self.splits.train[:2]
        cardinalities = Frames(self._info).cardinalities
        sizes: dict[str, Any] = {
            "num_features": x.shape[1],
            "num_classes": len(self._target.classes),
            "cardinalities": cardinalities,
        }
        if self._target.classes:
            return sizes
        std = y.double().std(correction=0).item()
        return sizes | {"target_mean": y.double().mean().item(), "target_std": std or 1.0}

    @property
    def info(self) -> dict[str, Any]:
        """What the columns hold, see ``fit_columns``, and the names of the ``classes``, or of the ``target``."""
        _ = self.splits
        return self._info

    def load(self) -> Splits:
        """Reads the table; DataError names file, row and column of what cannot be used."""
        frame, where = _read(self._path)
        texts = [name for name in frame.columns if import_pandas().api.types.is_string_dtype(frame[name])]
        frame = frame.astype(dict.fromkeys(texts, "category"))  # looked at several times, and smaller
        self._target, features, others = self._choose_columns(frame, where)
        y = self._target.encode(frame, where)
        train, val, test = self._split_rows(frame, y, where)
        self.train_rows, self.val_rows = train, val
        self._target.require_rows(y, train, where, "add rows, remove it, or set kind to number")
        columns = fit_columns(frame[features], train.numpy(), self._names("categories", frame, where), where)
        self._info = {"kind": "frame", "features": features, "columns": columns, "others": others, **self._target.info}
        inputs, weights = Frames(self._info), self._weights(frame, where)
        training = self._target.training_weights(y, train, weights, self.hparams["class_weights"])
        rows = (train, val, test)
        x = _inputs(inputs, frame, rows, where)
        parts = [
            (values, y[part], *(weight[part] for weight in part_weights))
            for values, part, part_weights in zip(x, rows, (training, weights, weights), strict=True)
        ]
        if self._test_path is not None:
            parts[2] = self._test_file(inputs)
        warn_of_copies(row_hashes(parts[2][:2]), row_hashes(parts[0][:2]), where, "rows")
        return Splits(*parts)

    def _choose_columns(self, frame: Any, where: str) -> tuple[Target, list[str], list[str]]:
        """The target; the names of the features; and of the columns that are neither."""
        targets, hparams = self._names("target", frame, where), self.hparams
        others = [*targets, *self._names("ignore", frame, where), *(name for name in frame if name.startswith(UNNAMED))]
        for role in ROLES:
            others += self._names(role, frame, where)
        features = [name for name in frame.columns if name not in others]
        if not features:
            raise DataError(f"{where} has no column to learn from, beside {', '.join(map(repr, others))}")
        target = find_target(frame, targets, hparams["kind"], hparams["separator"], where)
        return target, features, list(dict.fromkeys(others))

    def _names(self, argument: str, frame: Any, where: str) -> list[str]:
        """The columns that an argument names."""
        return choose_columns(frame, self.hparams[argument], argument, where)

    def _split_rows(self, frame: Any, y: Tensor, where: str) -> list[Tensor]:
        """The row numbers of the three parts, each in order; none to test on if another file has them."""
        hparams, rows = self.hparams, torch.arange(len(frame))
        labels = None if y.dim() > 1 else y
        groups = times = None
        if hparams["split"] is not None:
            rest, val, test = said_parts(frame[hparams["split"]], where)
        else:
            val = rows[:0]
            if hparams["group"] is not None:
                groups = group_numbers(frame[hparams["group"]], where)
            if hparams["time"] is not None:
                times = as_times(frame[hparams["time"]], where)
            rest, test = rows, rows[:0]
            if self._test_path is None:
                rest, test = hold_out(rows, hparams["test_fraction"], self.seed, "test_fraction", labels, groups, times)
        if not len(val):
            rest, val = hold_out(rest, self.val_fraction, self.seed, "val_fraction", labels, groups, times)
        return [_in_order(part, len(frame)) for part in (rest, val, test)]

    def _test_file(self, inputs: Frames) -> Tensors:
        """The tensors of the other file."""
        frame, where = _read(self._test_path, inputs.texts)
        inputs.check_columns(frame.columns, where)
        (x,) = _inputs(inputs, frame, [torch.arange(len(frame))], where)
        return x, self._target.encode(frame, where), *self._weights(frame, where)

    def _weights(self, frame: Any, where: str) -> list[Tensor]:
        """The weights of all rows, float32 ``(N,)``, if a column has them."""
        return [row_weights(frame[name], where) for name in self._names("sample_weight", frame, where)]


def _read(source: Any, texts: Sequence[str] = ()) -> tuple[Any, str]:
    """The table in a file or DataFrame, and what messages call it."""
    if isinstance(source, str | Path):
        return read_frame(source, texts), str(source)
    return as_frame(source, "data"), "data"


def _in_order(rows: Tensor, count: int) -> Tensor:
    """Sorted row numbers below ``count``, faster than by sorting."""
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[rows] = True
    return chosen.nonzero().flatten()


def _inputs(inputs: Frames, frame: Any, parts: Sequence[Tensor], where: str) -> list[Tensor]:
    """The inputs of the rows of each part, in order, float32 ``(N, num_features)``, made in one pass of the table."""
    found = [torch.empty(len(rows), inputs.num_features) for rows in parts]
    columns = {name: frame[name] for name in inputs.info["features"]}
    for start in range(0, len(frame), CHUNK):
        chunk = {name: column.iloc[start : start + CHUNK] for name, column in columns.items()}
        x = inputs.preprocess(inputs.encode(chunk, where))
        for rows, part in zip(parts, found, strict=True):
            first, end = torch.searchsorted(rows, torch.tensor([start, start + CHUNK])).tolist()
            torch.index_select(x, 0, rows[first:end] - start, out=part[first:end])
    return found
