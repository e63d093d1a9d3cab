"""The fraction still running against the seconds since the stop signal, one panel a scenario."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stop_harness.model import NS_PER_S, Report, ScenarioStatistics
from stop_harness.renderers.plots import drawing
from stop_harness.renderers.plots.drawing import INK
from stop_harness.report.survival import CONFIDENCE, DEFAULTS_NS, share
from stop_harness.wording import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 24
COLUMNS = 3
COLOUR = "#2f86c6"
"""A blue that is no outcome's, 3:1 and more on white and on black."""
SHORTEST_S = 0.001
"""Where the logarithmic axis starts at the latest; what is shorter is drawn here."""


def draw(report: Report) -> Figure | None:
    """None where no scenario was stopped often enough for a curve."""
    curves = [item for item in report.statistics if item.curve]
    if not curves:
        return None
    shown = curves[:MAX_PANELS]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure, grid = drawing.figures(1.75 * rows + 1.0, rows, columns)
    low, high = _limits(shown)
    for index, axes in enumerate(axes for line in grid for axes in line):
        if index >= len(shown):
            axes.set_visible(False)
            continue
        _panel(axes, shown[index], low, high)
        axes.tick_params(labelleft=index % columns == 0, labelbottom=index + columns >= len(shown))
    note = f" (first {len(shown)} of {len(curves)} scenarios)" if len(shown) < len(curves) else ""
    heading = f"Still running, against the time since the stop signal{note}"
    figure.suptitle(heading, x=0.01, ha="left", color=INK, fontsize=10)
    _legend(grid[0][0])
    return figure


def _limits(shown: list[ScenarioStatistics]) -> tuple[float, float]:
    """One axis of seconds for all panels, so that they can be compared."""
    times = [step.after_ns / NS_PER_S for item in shown for step in item.curve]
    return max(SHORTEST_S, min(*times, 1.0) / 2), max(*times, DEFAULTS_NS[-1] / NS_PER_S) * 1.6


def _panel(axes: Axes, item: ScenarioStatistics, low: float, high: float) -> None:
    """The curve, its band, the defaults of the platforms, and a tick where stops were cut off."""
    times = [low, *(max(step.after_ns / NS_PER_S, low) for step in item.curve)]
    shares = [1.0, *(step.still_running for step in item.curve)]
    band_low = [share(item.stops, item.stops).low, *(step.low for step in item.curve)]
    band_high = [1.0, *(step.high for step in item.curve)]
    if shares[-1] == 0:  # nobody is left, so it is known beyond the last stop
        times.append(high)
        for line in (shares, band_low, band_high):
            line.append(line[-1])
    for default_ns in DEFAULTS_NS:
        axes.axvline(default_ns / NS_PER_S, color=INK, linewidth=0.7, linestyle=(0, (3, 3)), zorder=1)
    axes.fill_between(times, band_low, band_high, step="post", color=COLOUR, alpha=0.2, linewidth=0)
    axes.step(times, shares, where="post", color=COLOUR, linewidth=1.5)
    for cut in item.cut_off:
        at = cut.after_ns / NS_PER_S
        height = next(running for time, running in zip(times[::-1], shares[::-1], strict=True) if time <= max(at, low))
        axes.plot([max(at, low)], [height], marker="+", markersize=8, color=COLOUR, clip_on=False)
    axes.set(xscale="log", xlim=(low / 1.15, high), ylim=(-0.03, 1.03))  # no line is cut at the edge
    _ticks(axes, low, high)
    cut_off = f", {item.stops_cut_off:,} cut off" if item.cut_off else ""
    axes.set_title(f"{_label(item.scenario)}\n{item.stops:,} stops{cut_off}", loc="left", color=INK, fontsize=8, y=1.0)


def _ticks(axes: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    decades = [place for place in (0.001, 0.01, 0.1, 1.0) if place >= low]
    places = [*decades, *(default_ns / NS_PER_S for default_ns in DEFAULTS_NS if default_ns != 5 * NS_PER_S)]
    axes.xaxis.set_major_locator(FixedLocator([*places, *(place for place in (100.0, 1000.0) if place < high)]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.0f} %"))
    axes.tick_params(labelsize=7)


def _legend(axes: Axes) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    defaults = ", ".join(f"{default_ns / NS_PER_S:g}" for default_ns in DEFAULTS_NS)
    style: dict[str, Any] = {"color": INK, "linewidth": 0.7, "linestyle": (0, (3, 3))}
    drawing.legend(
        axes,
        [
            Line2D([], [], color=COLOUR, linewidth=1.5, label="Kaplan–Meier estimate"),
            Patch(color=COLOUR, alpha=0.2, linewidth=0, label=f"{CONFIDENCE:.0%} interval"),
            Line2D([], [], color=COLOUR, marker="+", markersize=8, linestyle="", label="cut off by SIGKILL"),
            Line2D([], [], label=f"platforms' defaults ({defaults} s)", **style),
        ],
    )


def _label(name: str) -> str:
    line = one_line(name)
    return line if len(line) <= 28 else line[:27] + "…"
