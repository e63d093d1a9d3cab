"""The fraction still running against the seconds since the stop signal, one panel a scenario."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING, Any

from stop_harness.model import NS_PER_S, Report, ScenarioStatistics
from stop_harness.records import dataclass
from stop_harness.renderers.plots import drawing
from stop_harness.renderers.plots.drawing import INK
from stop_harness.report.survival import CONFIDENCE, DEFAULTS_NS, share
from stop_harness.wording import one_line

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 24
COLUMNS = 3
COLOUR = "#2f86c6"
"""A blue that is no outcome's, 3:1 and more on white and on black."""
SHORTEST_S = 0.001
"""Where the logarithmic axis starts at the latest; what is shorter is drawn here."""
SHARES = (0, 0.5, 1)
LEFT, RIGHT, ABOVE, GAP = 38.0, 13.0, 16.0, 9.0
"""Points: for the names of shares, for half of "1000 s", for the name of a panel, between two panels."""
HEIGHT, PITCH, SECONDS = 105.0, 133.0, 12.0
"""Points: of a panel, from one to that below it, and what the seconds below it take."""
_DEFAULT: dict[str, Any] = {"color": INK, "linewidth": 0.7, "linestyle": (0, (3, 3))}


@dataclass(frozen=True)
class _Panel:
    """Where something stands on the sheet, in points from its top left corner. Every panel has the same seconds."""

    item: ScenarioStatistics
    left: float
    top: float
    width: float
    low_s: float
    high_s: float

    @property
    def bottom(self) -> float:
        return self.top + HEIGHT

    def x(self, after_s: float) -> float:
        """What is shorter than the axis is drawn at its start, a little beside the frame."""
        start = self.low_s / 1.15
        return self.left + self.width * log(max(after_s, self.low_s) / start) / log(self.high_s / start)

    def y(self, running: float) -> float:
        """No line is cut at the edge."""
        return self.bottom - HEIGHT * (running + 0.03) / 1.06


def draw(report: Report, wide: float = drawing.WIDTH) -> Figure | None:
    """None where no scenario was stopped often enough for a curve.

    All panels are one plot, drawn by kind: an `Axes` each, with its ticks, takes several times as long.
    """
    curves = [item for item in report.statistics if item.curve]
    if not curves:
        return None
    figure, axes = drawing.figure(wide)
    columns = min(1 if drawing.is_narrow(axes) else COLUMNS, len(curves))
    # One below the other they are far from the seconds below the last one, so that each has its own.
    pitch = PITCH + (SECONDS if columns == 1 else 0)
    panels = _panels(curves[:MAX_PANELS], columns, wide, pitch)
    axes.set_axis_off()
    _frames(axes, panels)
    for panel in panels:
        _curve(axes, panel)
    _cut_off(axes, panels)
    for row in [[panel] for panel in panels] if columns == 1 else [panels[-columns:]]:
        _seconds(axes, row)
    _shares(axes, panels[::columns])
    height = panels[-1].bottom + 15
    axes.set(xlim=(0, wide), ylim=(height, 0))
    note = f" (first {len(panels)} of {len(curves)} scenarios)" if len(panels) < len(curves) else ""
    title = f"Still running, against the time since the stop signal{note}"
    drawing.arrange(axes, height, title, _marks(), left=0, right=0, bottom=6)
    return figure


def _panels(shown: list[ScenarioStatistics], columns: int, wide: float, down: float) -> list[_Panel]:
    """In rows, from the left."""
    times = [step.after_ns / NS_PER_S for item in shown for step in item.curve]
    low_s = max(SHORTEST_S, min(*times, 1.0) / 2)
    high_s = max(*times, DEFAULTS_NS[-1] / NS_PER_S) * 1.6
    pitch = (wide - LEFT - RIGHT + GAP) / columns
    return [
        _Panel(item, LEFT + at % columns * pitch, ABOVE + at // columns * down, pitch - GAP, low_s, high_s)
        for at, item in enumerate(shown)
    ]


def _frames(axes: Axes, panels: list[_Panel]) -> None:
    """Name, axes with their ticks, and the defaults of the platforms."""
    from matplotlib.markers import TICKDOWN, TICKLEFT

    lefts, bottoms = [panel.left for panel in panels], [panel.bottom for panel in panels]
    axes.hlines(bottoms, lefts, [panel.left + panel.width for panel in panels], colors=INK, linewidth=0.6)
    axes.vlines(lefts, [panel.top for panel in panels], bottoms, colors=INK, linewidth=0.6)
    ticks: dict[str, Any] = {"color": INK, "linestyle": "", "markersize": 3, "markeredgewidth": 0.8}
    places = [(panel.x(at), panel.bottom) for panel in panels for at in _ticks_s(panel)]
    axes.plot(*zip(*places, strict=True), marker=TICKDOWN, **ticks)
    places = [(panel.left, panel.y(running)) for panel in panels for running in SHARES]
    axes.plot(*zip(*places, strict=True), marker=TICKLEFT, **ticks)
    lines = [(panel.x(at / NS_PER_S), panel.top, panel.bottom) for panel in panels for at in DEFAULTS_NS]
    axes.vlines(*zip(*lines, strict=True), zorder=1, **_DEFAULT)
    for panel in panels:
        name = drawing.fitted(_label(panel.item.scenario), 8, panel.width)
        cut_off = f", {panel.item.stops_cut_off:,} cut off" if panel.item.cut_off else ""
        text = f"{name}\n{panel.item.stops:,} stops{cut_off}"
        drawing.write(axes, panel.left, panel.top - 6, text, 8)


def _curve(axes: Axes, panel: _Panel) -> None:
    """The estimate and its band."""
    item = panel.item
    times = [panel.low_s, *(step.after_ns / NS_PER_S for step in item.curve)]
    shares = [1.0, *(step.still_running for step in item.curve)]
    band_low = [share(item.stops, item.stops).low, *(step.low for step in item.curve)]
    band_high = [1.0, *(step.high for step in item.curve)]
    if shares[-1] == 0:  # nobody is left, so it is known beyond the last stop
        times.append(panel.high_s)
        for line in (shares, band_low, band_high):
            line.append(line[-1])
    places = [panel.x(at) for at in times]
    low, high = [panel.y(value) for value in band_low], [panel.y(value) for value in band_high]
    axes.fill_between(places, low, high, step="post", color=COLOUR, alpha=0.2, linewidth=0)
    axes.step(places, [panel.y(value) for value in shares], where="post", color=COLOUR, linewidth=1.5)


def _cut_off(axes: Axes, panels: list[_Panel]) -> None:
    """A mark on the curve where stops were cut off."""
    places = []
    for panel in panels:
        curve = panel.item.curve
        for cut in panel.item.cut_off:
            before = [step.still_running for step in curve if step.after_ns <= cut.after_ns]
            places.append((panel.x(cut.after_ns / NS_PER_S), panel.y(before[-1] if before else 1.0)))
    if places:
        axes.plot(*zip(*places, strict=True), linestyle="", marker="+", markersize=8, color=COLOUR)


def _ticks_s(panel: _Panel) -> list[float]:
    decades = [at for at in (0.001, 0.01, 0.1, 1.0) if at >= panel.low_s]
    defaults = [at / NS_PER_S for at in DEFAULTS_NS if at != 5 * NS_PER_S]
    return [*decades, *defaults, *(at for at in (100.0, 1000.0) if at < panel.high_s)]


def _seconds(axes: Axes, panels: list[_Panel]) -> None:
    """Below the panels that have none below them, where there is room beside the one before."""
    end = 0.0
    for panel in sorted(panels, key=lambda panel: panel.left):
        for at in _ticks_s(panel):
            text, x = f"{at:g} s", panel.x(at)
            half = drawing.width(text, 7) / 2
            if x - half > end:
                drawing.write(axes, x, panel.bottom + 6.5, text, 7, ha="center", va="top")
                end = x + half + 2


def _shares(axes: Axes, panels: list[_Panel]) -> None:
    """Beside the panels at the left."""
    names = [f"{running * 100:.0f} %" for _ in panels for running in SHARES]
    places = [panel.y(running) for panel in panels for running in SHARES]
    drawing.beside(axes, names, places, LEFT - 6.5, 7)


def _marks() -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    defaults = ", ".join(f"{default_ns / NS_PER_S:g}" for default_ns in DEFAULTS_NS)
    return [
        Line2D([], [], color=COLOUR, linewidth=1.5, label="Kaplan–Meier estimate"),
        Patch(color=COLOUR, alpha=0.2, linewidth=0, label=f"{CONFIDENCE:.0%} interval"),
        Line2D([], [], color=COLOUR, marker="+", markersize=8, linestyle="", label="cut off by SIGKILL"),
        Line2D([], [], label=f"platforms' defaults ({defaults} s)", **_DEFAULT),
    ]


def _label(name: str) -> str:
    line = one_line(name)
    return line if len(line) <= 28 else line[:27] + "…"
