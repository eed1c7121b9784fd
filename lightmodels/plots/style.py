"""What all figures have in common: colours, layout, and how long names and large data are cut."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00")  # Okabe and Ito's, which the colour-blind can tell apart
MAX_TICKS = 5  # longer numbers would touch each other
MAX_POINTS = 2_000


def new_figure(
    title: str, size: tuple[float, float], panels: int = 1, columns: int = 1, **options: Any
) -> "tuple[Figure, Sequence[Axes]]":
    """A figure of a size in inches, in constrained layout, and its axes, so many ``columns`` in a row.

    The axes are in a sub-figure, which is their ``figure``: there, a legend ``loc="outside lower center"``
    leaves room for a footer of the whole figure (``supxlabel``); in one figure the two would overlap.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    if title:
        figure.suptitle(title)
    body: Any = figure.subfigures()
    grid = body.subplots(max(1, -(-panels // columns)), columns, squeeze=False, **options).flatten()
    for axes in grid:
        axes.locator_params(nbins=MAX_TICKS)
        axes.ticklabel_format(scilimits=(-3, 4))
    for axes in grid[panels:]:
        axes.remove()
    return figure, grid[:panels]


def subsample(values: Tensor) -> Tensor:
    """At most 2,000 evenly spaced rows, as float32 on the CPU."""
    step = max(1, -(-len(values) // MAX_POINTS))
    return values.detach()[::step].float().cpu()


def shorten(name: str, length: int = 16) -> str:
    """The name on one line, cut with an ellipsis, with dollar signs that do not start a formula."""
    name = " ".join(str(name).split())
    return (name if len(name) <= length else f"{name[: length - 1]}…").replace("$", r"\$")
