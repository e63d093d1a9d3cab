"""What all plots share. SVG text: transparent, in mid-tones that read on light and on dark, the same bytes for the same
report.

Text stays text, in the reader's sans-serif font. `INK` is the one neutral colour, so that a page can replace it by its
own (`renderers/html.py` does).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from stop_harness.errors import missing_extra

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#767676"
"""Contrast 4.5:1 on white and 4.6:1 on black: the grey that both themes can read."""
WIDTH = 9.0
"""Inches; at 72 points an inch a plot is 648 wide and scales from there."""


def unavailable() -> str | None:
    """Why there are no plots, in a sentence with what to do about it; None where they can be drawn."""
    error = missing_extra("report", "drawing them")
    return f"no plots: {error}" if error else None


def svg(draw: Callable[[], Figure | None], name: str) -> str | None:
    """One figure as SVG without date, so that the same report gives the same bytes. None where there is nothing to
    draw, or nothing to draw it with."""
    if unavailable():
        return None
    import matplotlib

    settings: dict[Any, Any] = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.unicode_minus": False,
        "text.parse_math": False,  # a `$` in a name is a dollar sign
    }
    with matplotlib.rc_context(settings):
        drawn = draw()
        if drawn is None:
            return None
        text, metadata = StringIO(), {"Date": None, "Creator": None, "Type": None, "Format": None}
        with warnings.catch_warnings():
            # Text stays text: a character that the measuring font lacks is the reader's font's business.
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            # The layout by itself, which `savefig` would find by drawing everything once for nothing.
            if (layout := drawn.get_layout_engine()) is not None:
                _leave_out_of_layout(drawn)
                layout.execute(drawn)
                drawn.set_layout_engine(None)
            drawn.savefig(text, format="svg", transparent=True, metadata=metadata)
    return _tidy(text.getvalue())


def _leave_out_of_layout(drawn: Figure) -> None:
    """What lies within its axes needs no room of its own; to measure it is a third of the work of a layout."""
    for axes in drawn.axes:
        for artist in (*axes.lines, *axes.patches, *axes.collections):
            artist.set_in_layout(False)


def _tidy(text: str) -> str:
    """Fonts of the reader's system in place of the one matplotlib measured with, which is wider than most."""
    return re.sub(r"(\d+(?:\.\d+)?px) [^;\"]*sans-serif", r"\1 system-ui, 'DejaVu Sans', sans-serif", text)


def figure(height: float) -> tuple[Figure, Axes]:
    """An empty plot of this height in inches."""
    drawn, ((axes,),) = figures(height, 1, 1)
    return drawn, axes


def figures(height: float, rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    """A grid of empty plots on the Agg canvas: no display, no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(drawn)
    grid = [[drawn.add_subplot(rows, columns, row * columns + at + 1) for at in range(columns)] for row in range(rows)]
    for axes in (axes for line in grid for axes in line):
        axes.tick_params(colors=INK, length=3)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(INK)
            spine.set_linewidth(0.6)
    return drawn, grid


def title(axes: Axes, text: str, *, above_labels: bool = False) -> None:
    """Above the plot, at its left; `above_labels`: of ticks there. Its place is given, for matplotlib would look for
    one, among all tick labels, each time that it measures or draws."""
    axes.set_title(text, loc="left", color=INK, fontsize=10, y=1.0, pad=24 if above_labels else 12)


def row_names(axes: Axes, names: Sequence[str], places: Sequence[float], size: float) -> None:
    """Beside the rows, at their left. A text each and no tick, which has five parts."""
    axes.set_yticks([])
    for name, place in zip(names, places, strict=True):
        axes.text(
            -0.01, place, name, transform=axes.get_yaxis_transform(), ha="right", va="center", color=INK, fontsize=size
        )


def legend(axes: Axes, handles: Sequence[Artist]) -> None:
    """What the marks mean, under the plot."""
    axes.get_figure(root=True).legend(  # type: ignore[union-attr] # every axes here has its figure
        handles=handles, loc="outside lower left", ncols=5, frameon=False, labelcolor=INK, handletextpad=0.5
    )
