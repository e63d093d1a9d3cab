"""Shutdown durations of each scenario over many runs, one panel a scenario."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from stop_harness.model import NS_PER_S, Outcome, Trend, TrendPoint, TrendSeries
from stop_harness.renderers.plots import drawing
from stop_harness.renderers.plots.drawing import INK
from stop_harness.renderers.plots.marks import OUTCOME_COLOURS, OUTCOME_MARKERS
from stop_harness.wording import OUTCOME_WORDS, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 40
COLUMNS = 2
_SECONDS_A_DAY = 86_400


def render(trend: Trend, wide: float = drawing.WIDTH) -> str | None:
    """SVG text; None where there is nothing to draw. `wide`: in points; `drawing.NARROW` for a phone."""
    return drawing.svg(partial(_draw, trend), "trend", wide)


def _draw(trend: Trend, wide: float) -> Figure | None:
    shown = trend.series[:MAX_PANELS]
    if not shown:
        return None
    columns = min(COLUMNS if wide >= drawing.WIDTH else 1, len(shown))
    rows = -(-len(shown) // columns)
    figure, grid = drawing.figures(115 * rows + 79, rows, columns, wide)
    first, last = _time(trend.runs[0].started_at), _time(trend.runs[-1].started_at)
    for index, axes in enumerate(axes for line in grid for axes in line):
        if index >= len(shown):
            axes.set_visible(False)
            continue
        _panel(axes, shown[index])
        _time_axis(axes, first, last)
        axes.tick_params(labelbottom=index + columns >= len(shown), labelsize=7)
    note = f" (first {len(shown)} of {len(trend.series)} scenarios)" if len(shown) < len(trend.series) else ""
    heading = f"Shutdown durations from run to run: median, and shortest to longest{note}"
    lines = drawing.wrapped(heading, 10, wide - 2 * drawing.EDGE)
    figure.suptitle("\n".join(lines), x=0.01, ha="left", color=INK, fontsize=10)
    _legend(grid[0][0], shown)
    return figure


def _panel(axes: Axes, series: TrendSeries) -> None:
    """A point a run with its range; a line through the medians; a dotted line where an outcome changed."""
    medians = [(_time(point.started_at), point.median_ns / NS_PER_S) for point in series.points if point.median_ns]
    if medians:
        axes.plot(*zip(*medians, strict=True), color=INK, linewidth=0.8, zorder=1)
    for point in series.points:
        at = _time(point.started_at)
        if point.shortest_ns is not None and point.longest_ns is not None:
            axes.plot([at, at], [point.shortest_ns / NS_PER_S, point.longest_ns / NS_PER_S], color=INK, linewidth=2.2)
        if point.changed:
            axes.axvline(at, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
        colour, killed = OUTCOME_COLOURS[point.outcome], point.outcome is Outcome.KILLED
        axes.plot(
            [at],
            [_height_s(point)],
            marker=OUTCOME_MARKERS[point.outcome],
            markersize=6,
            markerfacecolor="none" if killed else colour,
            markeredgecolor=colour,
            markeredgewidth=1.4 if killed else 0,
            clip_on=False,
            zorder=3,
        )
    tallest = max(max(_height_s(point), (point.longest_ns or 0) / NS_PER_S) for point in series.points)
    axes.set_ylim(0, (tallest or 1) * 1.12)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} s")
    axes.locator_params(axis="y", nbins=4)
    axes.grid(visible=True, axis="y", color=INK, alpha=0.2, linewidth=0.5)
    name = one_line(series.scenario)
    axes.set_title(name if len(name) <= 44 else name[:43] + "…", loc="left", color=INK, fontsize=8)


def _height_s(point: TrendPoint) -> float:
    """The median; a run in which none was graceful stands at its stop timeout if it was killed there, else at 0."""
    if point.median_ns is not None:
        return point.median_ns / NS_PER_S
    return point.longest_timeout_ns / NS_PER_S if point.outcome is Outcome.KILLED else 0.0


def _time_axis(axes: Axes, first: float, last: float) -> None:
    """The same span for every panel, with a little room at its ends."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    room = max((last - first) * 0.04, 30 / _SECONDS_A_DAY)
    axes.set_xlim(first - room, last + room)
    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call] # matplotlib.dates has no types
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call] # the same
    axes.xaxis.set_major_formatter(formatter)


def _legend(axes: Axes, shown: tuple[TrendSeries, ...]) -> None:
    from matplotlib.lines import Line2D

    found = {point.outcome for series in shown for point in series.points}
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=OUTCOME_MARKERS[outcome],
            markersize=6,
            markerfacecolor="none" if outcome is Outcome.KILLED else OUTCOME_COLOURS[outcome],
            markeredgecolor=OUTCOME_COLOURS[outcome],
            label=OUTCOME_WORDS[outcome],
        )
        for outcome in Outcome
        if outcome in found
    ]
    changed = Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label="an outcome changed")
    drawing.legend(axes, [*handles, changed])


def _time(started_at: str) -> float:
    """Days since 1970, UTC: the unit of matplotlib's date axes."""
    return datetime.fromisoformat(started_at).timestamp() / _SECONDS_A_DAY
