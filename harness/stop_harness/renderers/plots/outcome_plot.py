"""Scenario × stop timeout, a cell each, in the colour of its outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from stop_harness.model import Outcome, Report
from stop_harness.renderers.plots import drawing
from stop_harness.renderers.plots.marks import OUTCOME_COLOURS, OUTCOME_MARKERS, legend_marks, marker, row_label
from stop_harness.report import tables
from stop_harness.wording import EACH_ITS_OWN, OUTCOME_WORDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_ROWS = 60
_ROW = 20.0
"""Points: from one row to the next, without the name above it."""
_NARROWEST = 12.0
"""Points: a cell has room for a mark, and for its stop timeout upright above it."""
_MARK = 10.0
"""Points: a mark and the gap behind it."""

Column = tuple[float, str]
"""Place and name."""


def draw(report: Report, wide: float = drawing.WIDTH) -> Figure | None:
    """An empty cell was not tried. Where words have no room in the cells, marks stand for them."""
    rows = tables.summary_rows(report)
    if not rows:
        return None
    names = list(dict.fromkeys(row.scenario for row in rows))
    heights = {name: number for number, name in enumerate(names[:MAX_ROWS])}
    rows = tuple(row for row in rows if row.scenario in heights)
    figure, axes = drawing.figure(wide)
    axes.set_axis_off()
    band = drawing.NAME_ABOVE if drawing.is_narrow(axes) else 0.0
    middles = [number + (0.5 if band == 0 else 0.5 + band / (_ROW + band) / 2) for number in heights.values()]
    left = drawing.name_rows(axes, [row_label(name) for name in heights], middles, 9)
    tried = sorted({_column(row) for row in rows})
    columns = _columns(rows, int((wide - left - drawing.EDGE) / _NARROWEST))
    cell = (wide - left - drawing.EDGE) / len(columns)
    shown = [(row, columns.index(_column(row)), heights[row.scenario]) for row in rows if _column(row) in columns]
    axes.set(xlim=(0, len(columns)), ylim=(len(heights), 0))
    _cells(axes, shown, band / (_ROW + band))
    marks = _contents(axes, shown, cell, band / (_ROW + band))
    top = _names(axes, columns, cell, _ROW + band)
    notes = [f"first {len(heights)} of {len(names)} scenarios"] if len(heights) < len(names) else []
    notes += [f"{len(columns)} of {len(tried)} stop timeouts"] if len(columns) < len(tried) else []
    mixed = any(row.agreeing < row.trials for row, _, _ in shown)
    what = "Most frequent outcome" if marks and mixed else "Outcome"
    title = f"{what} by scenario and stop timeout" + (f" ({', '.join(notes)})" if notes else "")
    handles = legend_marks([Outcome(row.outcome) for row, _, _ in shown], OUTCOME_MARKERS) if marks else []
    drawing.arrange(axes, (_ROW + band) * len(heights), title, handles, left=left, top=top, bottom=6 if marks else 0)
    return figure


def _column(row: tables.SummaryRow) -> Column:
    """Behind all stop timeouts where each container had its own."""
    return (inf, EACH_ITS_OWN) if row.own_stop_timeouts else (row.stop_timeout_s, f"{row.stop_timeout_s:g} s")


def _columns(rows: Sequence[tables.SummaryRow], most: int) -> list[Column]:
    """The stop timeouts, from short to long; of too many those that most scenarios were tried with."""
    counts = Counter(map(_column, rows))
    return sorted(sorted(counts, key=lambda column: (-counts[column], column))[:most])


Shown = list[tuple[tables.SummaryRow, int, int]]
"""Cells with the numbers of their column and row."""


def _cells(axes: Axes, shown: Shown, band: float) -> None:
    """`band`: what the name above takes of a row."""
    from matplotlib.collections import PolyCollection

    high, low = band + 0.05 * (1 - band), 1 - 0.05 * (1 - band)
    corners = ((0.02, high), (0.98, high), (0.98, low), (0.02, low))
    cells = [[(x + at, y + down) for at, down in corners] for _, x, y in shown]
    colours = [OUTCOME_COLOURS[Outcome(row.outcome)] for row, _, _ in shown]
    axes.add_collection(PolyCollection(cells, facecolors=colours), autolim=False)


def _contents(axes: Axes, shown: Shown, cell: float, band: float) -> bool:
    """The outcome in words and how many trials agree, where all that has room; else a mark, and the numbers where they
    have room beside it. Whether marks were needed."""
    shares = [f"{row.agreeing}/{row.trials}" if row.trials != 1 else "" for row, _, _ in shown]
    words = [
        f"{OUTCOME_WORDS[Outcome(row.outcome)]} {share}".strip()
        for (row, _, _), share in zip(shown, shares, strict=True)
    ]
    middle, room = band + (1 - band) / 2, 0.96 * cell - 2
    in_words = all(drawing.width(text, 8) <= room for text in words)
    beside = all(_MARK + drawing.width(share, 8) <= room for share in shares)
    for (row, x, y), word, share in zip(shown, words, shares, strict=True):
        colour = _text_on(OUTCOME_COLOURS[Outcome(row.outcome)])
        text = word if in_words else share if beside else ""
        begin = x + 0.5 - (_MARK + drawing.width(text, 8)) / cell / 2
        if not in_words:
            style = {**marker(Outcome(row.outcome), OUTCOME_MARKERS), "markeredgecolor": colour}
            style["markerfacecolor"] = "none" if style["markerfacecolor"] == "none" else colour
            axes.plot([begin + 3 / cell if text else x + 0.5], [y + middle], linestyle="", **style)
        if text:
            at, where = (x + 0.5, "center") if in_words else (begin + _MARK / cell, "left")
            drawing.write(axes, at, y + middle, text, 8, ha=where, va="center", color=colour)
    return not in_words


def _names(axes: Axes, columns: list[Column], cell: float, row: float) -> float:
    """The stop timeouts above their columns, upright where they have no room side by side. The room that they take."""
    widest = max(drawing.width(name, 9) for _, name in columns)
    upright = widest > cell - 2
    for at, (_, name) in enumerate(columns):
        how = {"rotation": 90, "va": "bottom"} if upright else {}
        drawing.write(axes, at + 0.5, -4 / row, name, 9, ha="center", **how)
    return widest + 4 if upright else 12


def _text_on(colour: str) -> str:
    """Black or white, whichever stands out more (WCAG relative luminance)."""
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"
