"""History: the values of each epoch, as a table."""

import csv
import html
import io
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch

from lightmodels.plots.style import COLOURS, new_figure
from lightmodels.utils.atomic_file import write_file

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, float]
SHOWN_ROWS = 10  # in a notebook


class History(Sequence[Row]):
    """One row of plain numbers per epoch.

    A row has ``epoch`` (counted from 1), the ``train_*`` and ``val_*`` values, ``lr`` (of the last step),
    ``seconds`` (training and validation) and ``samples_per_second`` (training samples over training time).
    ``history[-1]`` is the last row, ``history["val_loss"]`` a column, with ``nan`` for missing values.

    Examples:
        >>> history = History([{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": 0.25}])
        >>> history["val_loss"], history[-1]
        ([0.5, 0.25], {'epoch': 2, 'val_loss': 0.25})
    """

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self._rows: list[Row] = [dict(row) for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: slice) -> list[Row]: ...
    @overload
    def __getitem__(self, key: str) -> list[float]: ...
    def __getitem__(self, key: int | slice | str) -> Row | list[Row] | list[float]:
        if isinstance(key, str):
            if key not in self.columns:
                raise KeyError(f"{key} is not in the history; it has {', '.join(self.columns) or 'no rows'}")
            return [row.get(key, float("nan")) for row in self._rows]
        return self._rows[key]

    def __repr__(self) -> str:
        return f"History({self._rows!r})"

    def _repr_html_(self) -> str:
        """The last epochs as a table, with the best one marked, for notebooks."""
        best, shown = self.best_epoch, self._rows[-SHOWN_ROWS:]
        lines = [[*self.columns, ""]]
        for row in shown:
            values = [f"{row[name]:.4g}" if name in row else "-" for name in self.columns]
            lines.append([*values, "*" if row["epoch"] == best else ""])
        table = ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in lines]
        caption = f"{len(shown)} of {len(self)} epochs" + (f"; * best epoch {best}" if best else "")
        return "\n".join([f"<table><caption>{caption}</caption>", *table, "</table>"])

    @property
    def columns(self) -> list[str]:
        """The names of all values, in order of first appearance."""
        return list(dict.fromkeys(name for row in self._rows for name in row))

    @property
    def next_epoch(self) -> int:
        """The number of the next epoch."""
        return int(self._rows[-1]["epoch"]) + 1 if self._rows else 1

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest ``val_loss``, or ``train_loss`` without validation; 0 without rows."""
        losses = [name for name in self.columns if name.partition("/")[0] in ("val_loss", "train_loss")]
        name = min(losses, key=lambda loss: loss.startswith("train"), default="")  # the first of several loaders
        rows = [row for row in self._rows if math.isfinite(row.get(name, math.nan))]
        return int(min(rows, key=lambda row: row[name])["epoch"]) if rows else 0

    def append(self, row: Row) -> None:
        """Adds the row of an epoch."""
        self._rows.append(dict(row))

    def state_dict(self) -> dict[str, Any]:
        """The names of the columns, and tensors of shape ``(rows, columns)``, which are saved faster than numbers.

        ``rows`` has the values in float64; ``present`` tells which of them a row has.
        """
        columns = self.columns
        rows = torch.tensor([[row.get(name, 0.0) for name in columns] for row in self._rows], dtype=torch.float64)
        present = torch.tensor([[name in row for name in columns] for row in self._rows], dtype=torch.bool)
        return {"columns": columns, "rows": rows, "present": present}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replaces the rows by those of a ``state_dict``."""
        columns, values, present = state["columns"], state["rows"].tolist(), state["present"].tolist()
        self._rows[:] = [
            {
                name: int(value) if name == "epoch" else value
                for name, value, is_there in zip(columns, *row, strict=True)
                if is_there
            }
            for row in zip(values, present, strict=True)
        ]

    def to_csv(self, path: str | Path) -> None:
        """Writes the rows to a file, with a header line; missing values are empty."""
        lines = io.StringIO(newline="")
        writer = csv.DictWriter(lines, self.columns)
        writer.writeheader()
        writer.writerows(self._rows)
        write_file(path, lines.getvalue())

    def to_frame(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame; needs pandas."""
        import pandas as pd

        return pd.DataFrame(self._rows, columns=self.columns)

    def plot(self, best_epoch: int | None = None) -> "Figure":
        """A figure with one panel per metric: its training and validation values over the epochs.

        Args:
            best_epoch: the epoch to mark; by default that of the lowest ``val_loss``.
        """
        metrics = list(dict.fromkeys(n.partition("_")[2] for n in self.columns if n.startswith(("train_", "val_"))))
        if best_epoch is None:
            best_epoch = self.best_epoch if "val_loss" in self.columns else 0
        columns = 2 if len(metrics) > 1 else 1
        rows = -(-len(metrics) // columns)
        size = (max(4.8, 3.6 * columns), max(3.6, 2.8 * rows))
        figure, grid = new_figure("", size, len(metrics), columns)
        for axes, metric in zip(grid, metrics, strict=True):
            self._plot_metric(axes, metric, best_epoch)
        # Notebooks show only figures of pyplot by themselves.
        figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]
        return figure

    def _plot_metric(self, axes: "Axes", metric: str, best: int) -> None:
        for name, colour in zip((f"train_{metric}", f"val_{metric}"), COLOURS, strict=True):
            if name in self.columns:
                axes.plot(self["epoch"], self[name], marker=".", label=name, color=colour)
        if best:
            axes.axvline(best, color="black", linestyle=":", linewidth=1.2, label=f"best epoch {best}")
        if len(self) == 1:
            axes.set_xticks(self["epoch"])
        else:
            axes.locator_params(axis="x", integer=True)
        axes.set(xlabel="epoch", ylabel=metric)
        axes.grid(alpha=0.3)
        axes.legend()


def best_epoch(trainer: Any, history: History) -> int:
    """The epoch of the weights that a trainer keeps as the best; by default that of the lowest loss."""
    keeper = trainer.checkpoint_callback
    return int(keeper.best_epoch if hasattr(keeper, "best_epoch") else history.best_epoch)


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
