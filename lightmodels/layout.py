"""Layout: room for the texts around axes; matplotlib's own search for it takes longer than the drawing."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Heights in units of the font size
PAD = 0.3
MARKS = 0.9  # of ticks, and to their labels
LINE = 1.4
TITLE = 2.0
LEGEND = 2.4
TICKS = 6  # of an axis at most, as they are what takes longest to draw
DIGIT = 0.64  # its width
NUMERALS = set("0123456789.,-\N{MINUS SIGN}")
COLOUR_BAR = (1.04, 0.08, 0.045, 0.84)  # left, bottom, width and height, in those of the axes


def fit(figure: "Figure", legend: bool = False, sides: float = 0.0) -> None:
    """Places the axes of a figure so that titles and labels have room; to be called last.

    Args:
        figure: with axes of one grid, each of one row and column, and bars of ``colour_bar``.
        legend: whether room is left for one line of a legend at the bottom.
        sides: inches by which texts stand out of the axes at the left and right.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.ticker import MaxNLocator

    if not figure.axes:
        return
    FigureCanvasAgg(figure)  # which can measure texts
    top = PAD + (TITLE if figure.get_suptitle() else 0.0)
    bottom = PAD + (LEGEND if legend else 0.0)
    _adjust(figure, "rows", (top, bottom), (_above, _below))
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(locator := axis.get_major_locator(), MaxNLocator):
                locator.set_params(nbins=TICKS)
        axes.apply_aspect()  # the choice of ticks depends on an axis' length
        if _above(axes) == TITLE:  # nothing is there but a title
            axes.set_title(axes.get_title(), y=1.0)  # else it is moved to where it is
    _adjust(figure, "cols", (PAD + sides / _em(), PAD + sides / _em()), (_left, _right))


def colour_bar(axes: "Axes", drawn: Any, label: str) -> None:
    """Puts the scale of what was drawn to the right of its axes."""
    axes.figure.colorbar(drawn, cax=axes.inset_axes(COLOUR_BAR), label=label)


def _adjust(
    figure: "Figure",
    lines: str,
    ends: tuple[float, float],
    needs: "tuple[Callable[[Axes], float], Callable[[Axes], float]]",
) -> None:
    """Divides the height among rows, or the width among columns.

    Args:
        figure: the figure.
        lines: ``"rows"`` or ``"cols"``.
        ends: room to leave before the first line and after the last one.
        needs: the room that axes need before and after themselves.
    """
    grids = [(axes, axes.get_subplotspec()) for axes in figure.axes]
    spans = [(axes, getattr(spec, f"{lines[:-1]}span").start) for axes, spec in grids if spec]
    count = 1 + max(index for _, index in spans)
    before, after = (
        [max((need(axes) for axes, index in spans if index == line), default=0.0) for line in range(count)]
        for need in needs
    )
    gap = max((a + b + PAD for a, b in zip(after, before[1:], strict=False)), default=0.0)
    size = figure.get_size_inches()[1 if lines == "rows" else 0] / _em()
    first, last = (ends[0] + before[0]) / size, 1 - (ends[1] + after[-1]) / size
    line = ((last - first) * size - (count - 1) * gap) / count
    if lines == "rows":
        figure.subplots_adjust(bottom=1 - last, top=1 - first, hspace=gap / line)
    else:
        figure.subplots_adjust(left=first, right=last, wspace=gap / line)


def _above(axes: "Axes") -> float:
    power = LINE if axes.axison and _labels(axes.yaxis, "left")[1] else 0.0  # such as 1e6 for all numbers
    return power + (TITLE if axes.get_title() else LINE / 2)


def _below(axes: "Axes") -> float:
    if not axes.axison:
        return 0.0
    height, slant = LINE, _slant(axes)
    if slant:
        height += math.sin(slant) * _width(axes, _labels(axes.xaxis, "bottom")[0])
    return MARKS + height + (LINE if axes.get_xlabel() else 0.0)


def _left(axes: "Axes") -> float:
    labels = _labels(axes.yaxis, "left")[0] if axes.axison else []
    width = MARKS + _width(axes, labels) if labels else 0.0
    return width + (LINE + PAD if axes.axison and axes.get_ylabel() else 0.0)


def _right(axes: "Axes") -> float:
    """Half of the last number may stand out; a colour bar is all outside."""
    for bar in axes.child_axes:
        left, _, width, _ = COLOUR_BAR
        inside = (left + width - 1) * axes.bbox.width / axes.figure.dpi / _em()
        return inside + MARKS + _width(axes, _labels(bar.yaxis, "right")[0]) + PAD + LINE
    labels = _labels(axes.xaxis, "bottom")[0] if axes.axison and not _slant(axes) else []
    return _width(axes, labels) / 2


def _slant(axes: "Axes") -> float:
    """The angle of the labels below; only names are slanted."""
    from matplotlib.ticker import FixedLocator

    labels = axes.get_xticklabels() if isinstance(axes.xaxis.get_major_locator(), FixedLocator) else []
    return math.radians(labels[0].get_rotation()) if labels else 0.0


def _labels(axis: "Axis", side: str) -> tuple[list[str], str]:
    """The texts at an axis' ticks, and the power of ten that belongs to all of them, if any."""
    if not axis.get_tick_params().get(f"label{side}", True):
        return [], ""  # they are at the neighbour
    places, (low, high) = axis.get_majorticklocs(), sorted(axis.get_view_interval())
    texts = axis.get_major_formatter().format_ticks(places.tolist())
    shown = [text for place, text in zip(places, texts, strict=True) if low <= place <= high and text]
    return shown, axis.get_major_formatter().get_offset()


def _width(axes: "Axes", texts: Sequence[str]) -> float:
    """Of the longest text; numbers are not worth the time to measure them."""
    if all(set(text) <= NUMERALS for text in texts):
        return DIGIT * max(map(len, texts), default=0)
    figure: Any = axes.figure
    text = figure.text(0, 0, "\n".join(texts))
    width = text.get_window_extent().width / figure.dpi / _em()
    text.remove()
    return float(width)


def _em() -> float:
    """The font size in inches."""
    from matplotlib import rcParams

    return float(rcParams["font.size"]) / 72
