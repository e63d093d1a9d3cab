"""The plots of a report, as SVG text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf, nan
from typing import TYPE_CHECKING, Any

from stop_harness.model import ECS_STOP_TIMEOUT_S, NS_PER_S, Outcome, Report, TrialResult
from stop_harness.renderers.plots import drawing, survival_plot
from stop_harness.renderers.plots.drawing import INK
from stop_harness.report import tables
from stop_harness.wording import EACH_ITS_OWN, OUTCOME_WORDS, one_line, only_pods, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

OUTCOME_COLOURS = {
    Outcome.GRACEFUL: "#009e73",
    Outcome.LOSSY: "#e69f00",
    Outcome.KILLED: "#d55e00",
    Outcome.CRASHED: "#cc79a7",
    Outcome.OOM_KILLED: "#0072b2",
    Outcome.NOT_RUNNING: "#56b4e9",
    Outcome.INCONCLUSIVE: "#999999",
}
"""Okabe and Ito's palette, told apart with every common kind of colour blindness."""
OUTCOME_MARKERS = {
    Outcome.GRACEFUL: "o",
    Outcome.LOSSY: "D",
    Outcome.KILLED: "^",
    Outcome.CRASHED: "X",
    Outcome.OOM_KILLED: "s",
    Outcome.NOT_RUNNING: "v",
    Outcome.INCONCLUSIVE: "P",
}

SURVIVAL = "still-running"
MAX_TIMELINES = 60
MAX_MATRIX_ROWS = 60
MAX_VECTOR_POINTS = 1500
"""More points than this are drawn as one picture inside the SVG: the file stays small and no trial is left out."""
_OUTCOMES_ROW, _DURATIONS_ROW, _TIMELINES_ROW = 20.0, 20.0, 14.0
"""Points: from one row to the next."""
_HALF_A_TICK_LABEL = 22.0
"""Points: what the longest, "≤ 0.001 s", takes beside the plot where it stands at the end of an axis."""
_BELOW_AXIS = 40.0
"""Points: tick labels, and what the axis shows."""
_STOP_TIMEOUT: dict[str, Any] = {"color": INK, "marker": "|", "linestyle": ""}
_SHORTEST_S = 0.001
"""Where the logarithmic axis of durations starts; what is shorter is drawn here, and its tick says so."""


def render_all(report: Report) -> dict[str, str]:
    """Name of the file without suffix → SVG text, of the undisturbed stops. A plot with nothing to show is left out."""
    report = replace(report, results=report.undisturbed)
    figures: dict[str, Callable[[Report], Figure | None]] = {
        "outcomes": _outcome_matrix,
        "shutdown-durations": _durations,
        "timelines": _timelines,
        SURVIVAL: survival_plot.draw,
    }
    drawn = {name: drawing.svg(partial(draw, report), name) for name, draw in figures.items()}
    return {name: text for name, text in drawn.items() if text is not None}


def _outcome_handles(results: Sequence[TrialResult], markers: dict[Outcome, str]) -> list[Line2D]:
    """One legend entry for every outcome that occurs."""
    from matplotlib.lines import Line2D

    found = {result.verdict.outcome for result in results}
    return [
        Line2D([], [], linestyle="", label=OUTCOME_WORDS[outcome], **_marker(outcome, markers))
        for outcome in Outcome
        if outcome in found
    ]


def _marker(outcome: Outcome, markers: dict[Outcome, str]) -> dict[str, Any]:
    """Killed is hollow: its duration was cut off."""
    colour, killed = OUTCOME_COLOURS[outcome], outcome is Outcome.KILLED
    return {
        "marker": markers[outcome],
        "markersize": 6,
        "markerfacecolor": "none" if killed else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 1.4 if killed else 0,
    }


def _stop_timeout_handle() -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], markersize=9, label="stop timeout", **_STOP_TIMEOUT)


def _row_names(axes: Axes, names: Sequence[str], rows: Sequence[float], size: float) -> float:
    """At the left of the rows. The room that they take, in points."""
    widest = max(drawing.width(name, size) for name in names)
    left = max(widest + 2 * drawing.EDGE + 2, _HALF_A_TICK_LABEL)
    drawing.beside(axes, names, rows, left - drawing.EDGE - 2, size)
    return left


def _measured(report: Report) -> list[TrialResult]:
    """Stops that were performed and whose duration is known."""
    return [
        result
        for result in report.results
        if result.verdict.facts.shutdown_duration_ns is not None and result.observation.derivation.derived_from is None
    ]


# ── Shutdown durations ───────────────────────────────────────────────────────────────────────────────────────────────


def _durations(report: Report) -> Figure | None:
    """A row a scenario, a point a trial, each exactly at its duration; within a row trials stand one below the other.

    Killed trials stand at their stop timeout and point to the right, for the true duration is longer. Where each
    container of a task had its own there is no place for it.
    """
    points = [result for result in _measured(report) if not result.observation.own_timeouts]
    if not points:
        return None
    rows, note = _rows(points)
    shown = [result for result in points if result.observation.scenario in rows]
    figure, axes = drawing.figure()
    defaults = [] if only_pods(report) else [ECS_STOP_TIMEOUT_S]
    _seconds_axis(axes, [*map(_plotted_s, shown), *map(_timeout_s, shown), *defaults])
    lines = [
        axes.axvline(at, label=f"{at} s, Amazon ECS default", color=INK, linewidth=0.8, zorder=1) for at in defaults
    ]
    _stop_timeouts(axes, shown, rows)
    few, raster = len(shown) < 200, len(shown) > MAX_VECTOR_POINTS
    for outcome, places in _spread(shown, rows).items():
        style = {**_marker(outcome, _DURATION_MARKERS), "markersize": 5.5 if few else 3.5}
        alpha = 0.85 if few else 0.6
        axes.plot(*zip(*places, strict=True), linestyle="", alpha=alpha, rasterized=raster, clip_on=False, **style)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    left = _row_names(axes, [_label(name) for name in rows], range(len(rows)), 8)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("from stop signal to exit (logarithmic)", color=INK)
    marks = [*_outcome_handles(shown, _DURATION_MARKERS), *lines, _stop_timeout_handle()]
    title, height = f"Shutdown durations, one point a trial{note}", _DURATIONS_ROW * len(rows)
    drawing.arrange(axes, height, title, marks, left=left, right=_HALF_A_TICK_LABEL, bottom=_BELOW_AXIS)
    return figure


_DURATION_MARKERS = {**OUTCOME_MARKERS, Outcome.KILLED: ">"}


def _rows(points: list[TrialResult]) -> tuple[list[str], str]:
    """The scenarios that have a row, in report order; of too many those with the longest durations, and a note."""
    longest: dict[str, float] = {}
    for result in points:
        name = result.observation.scenario
        longest[name] = max(longest.get(name, 0.0), _plotted_s(result))
    chosen = set(sorted(longest, key=lambda name: -longest[name])[:MAX_MATRIX_ROWS])
    note = f" (the slowest {len(chosen)} of {len(longest)} scenarios)" if len(chosen) < len(longest) else ""
    return [name for name in longest if name in chosen], note


def _seconds_axis(axes: Axes, values_s: list[float]) -> None:
    """A logarithmic axis that holds every value, with a little room so that no mark is cut."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = max(min(values_s), _SHORTEST_S), max(values_s)
    shorter = min(values_s) <= _SHORTEST_S
    axes.set_xscale("log")
    axes.set_xlim(low / 1.5, high * 1.5)
    places = [place for place in (0.001, 0.01, 0.1, 1, 10, 30, 100, 1000) if low / 1.5 <= place <= high * 1.5]
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{'≤ ' if shorter and value <= _SHORTEST_S else ''}{value:g} s")
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True, axis="x", color=INK, alpha=0.2, linewidth=0.5)


def _stop_timeouts(axes: Axes, shown: list[TrialResult], rows: list[str]) -> None:
    """A tick at every stop timeout that a scenario was tried with."""
    heights = {name: row for row, name in enumerate(rows)}
    tried = {(heights[result.observation.scenario], max(_timeout_s(result), _SHORTEST_S)) for result in shown}
    tried_rows, places = zip(*sorted(tried), strict=True)
    axes.plot(places, tried_rows, markersize=0.72 * _DURATIONS_ROW, zorder=1, **_STOP_TIMEOUT)


def _spread(shown: list[TrialResult], rows: list[str]) -> dict[Outcome, list[tuple[float, float]]]:
    """Where each trial stands, by outcome: none is moved along the axis of seconds, and none hides another."""
    counts, numbers = Counter(result.observation.scenario for result in shown), Counter[str]()
    heights = {name: row for row, name in enumerate(rows)}
    placed: dict[Outcome, list[tuple[float, float]]] = {}
    for result in shown:
        name = result.observation.scenario
        share = (numbers[name] + 0.5) / counts[name] - 0.5
        numbers[name] += 1
        place = (_plotted_s(result), heights[name] + 0.6 * share)
        placed.setdefault(result.verdict.outcome, []).append(place)
    return placed


def _plotted_s(result: TrialResult) -> float:
    """Where the trial stands on the axis of durations."""
    if result.verdict.outcome is Outcome.KILLED:
        return max(_timeout_s(result), _SHORTEST_S)
    return max((result.verdict.facts.shutdown_duration_ns or 0) / NS_PER_S, _SHORTEST_S)


def _timeout_s(result: TrialResult) -> float:
    return result.observation.stop_timeout_ns / NS_PER_S


# ── Outcome matrix ───────────────────────────────────────────────────────────────────────────────────────────────────


def _outcome_matrix(report: Report) -> Figure | None:
    """Scenario × stop timeout; an empty cell was not tried."""
    from matplotlib.collections import PolyCollection

    rows = tables.summary_rows(report)
    if not rows:
        return None
    names = list(dict.fromkeys(row.scenario for row in rows))
    heights = {name: row for row, name in enumerate(names[:MAX_MATRIX_ROWS])}
    limits = sorted({_column(row) for row in rows})
    figure, axes = drawing.figure()
    axes.set_axis_off()
    cells, colours = [], []
    for cell in (row for row in rows if row.scenario in heights):
        x, y = limits.index(_column(cell)), heights[cell.scenario]
        outcome = Outcome(cell.outcome)
        cells.append([(x + at, y + down) for at, down in ((0.02, 0.05), (0.98, 0.05), (0.98, 0.95), (0.02, 0.95))])
        colours.append(OUTCOME_COLOURS[outcome])
        share = f" {cell.agreeing}/{cell.trials}" if cell.trials != 1 else ""
        text, colour = OUTCOME_WORDS[outcome] + share, _text_on(OUTCOME_COLOURS[outcome])
        drawing.write(axes, x + 0.5, y + 0.5, text, 8, ha="center", va="center", color=colour)
    axes.add_collection(PolyCollection(cells, facecolors=colours), autolim=False)
    axes.set(xlim=(0, len(limits)), ylim=(len(heights), 0))
    for at, (_, name) in enumerate(limits):
        drawing.write(axes, at + 0.5, -0.2, name, 9, ha="center")
    left = _row_names(axes, [_label(name) for name in heights], [row + 0.5 for row in heights.values()], 9)
    note = f" (first {len(heights)} of {len(names)} scenarios)" if len(heights) < len(names) else ""
    title = f"Outcome by scenario and stop timeout{note}"
    drawing.arrange(axes, _OUTCOMES_ROW * len(heights), title, left=left, top=12)
    return figure


def _column(row: tables.SummaryRow) -> tuple[float, str]:
    """Place and name of its column; behind all stop timeouts where each container had its own."""
    return (inf, EACH_ITS_OWN) if row.own_stop_timeouts else (row.stop_timeout_s, f"{row.stop_timeout_s:g} s")


def _text_on(colour: str) -> str:
    """Black or white, whichever stands out more (WCAG relative luminance)."""
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"


def _label(name: str) -> str:
    line = one_line(name)
    return line if len(line) <= 32 else line[:31] + "…"


# ── Timelines ────────────────────────────────────────────────────────────────────────────────────────────────────────


_TIMELINE_MARKERS = {**OUTCOME_MARKERS, Outcome.KILLED: "x"}
"""Here a killed trial ends in a cross where SIGKILL was seen, else where the process exited."""


def _timelines(report: Report) -> Figure | None:
    """One bar a trial from stop signal to exit, with its deadline."""
    measured = _measured(report)
    if not measured:
        return None
    # The first repetitions come first: where not all fit, every scenario and stop timeout should.
    chosen = {result.observation.trial_id for result in sorted(measured, key=_repetition)[:MAX_TIMELINES]}
    shown = [result for result in measured if result.observation.trial_id in chosen][:MAX_TIMELINES]
    figure, axes = drawing.figure()
    _bars(axes, shown)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    defaults = [] if only_pods(report) else [ECS_STOP_TIMEOUT_S]
    longest = max(axes.get_xlim()[1], *defaults, 0)
    axes.set_xlim(-0.01 * longest, longest)
    rows = range(len(shown))
    left = _row_names(axes, [_timeline_label(shown, row) for row in rows], rows, 8)
    # The durations stand in a column of their own at the right: beside the bars they would cover the deadlines.
    texts = [seconds(result.verdict.facts.shutdown_duration_ns or 0) for result in shown]
    drawing.beside(axes, texts, rows, drawing.WIDTH - drawing.EDGE, 8)
    right = max(drawing.width(text, 8) for text in texts) + drawing.EDGE + 12
    axes.spines["left"].set_visible(False)
    for at in defaults:
        axes.axvline(at, color=INK, linewidth=0.8)
    line = "".join(f" (line: {at} s, the Amazon ECS default)" for at in defaults)
    axes.set_xlabel(f"seconds after the stop signal{line}", color=INK)
    axes.grid(visible=True, axis="x", color=INK, alpha=0.2, linewidth=0.5)
    note = f" ({len(shown)} of {len(report.results):,} trials)" if len(shown) < len(report.results) else ""
    marks = [*_outcome_handles(shown, _TIMELINE_MARKERS), _stop_timeout_handle()]
    title, height = f"From stop signal to exit{note}", _TIMELINES_ROW * len(shown)
    drawing.arrange(axes, height, title, marks, left=left, right=right, bottom=_BELOW_AXIS)
    return figure


def _repetition(result: TrialResult) -> int:
    return result.observation.repetition


def _bars(axes: Axes, shown: list[TrialResult]) -> None:
    """A row each: the bar from signal to exit, its deadline, and the mark of its outcome.

    Drawn by kind, not by row: each call of matplotlib costs more than what it draws.
    """
    places = range(len(shown))
    ends = [_exit_s(result) for result in shown]
    colours = [OUTCOME_COLOURS[result.verdict.outcome] for result in shown]
    axes.hlines(places, 0, ends, colors=colours, linewidth=4, capstyle="butt", alpha=0.55)
    deadlines = [nan if result.observation.own_timeouts else _timeout_s(result) for result in shown]
    axes.plot(deadlines, places, markersize=0.8 * _TIMELINES_ROW, **_STOP_TIMEOUT)
    for outcome in Outcome:
        marked = [(_mark_s(shown[at]), at) for at in places if shown[at].verdict.outcome is outcome]
        if marked:
            axes.plot(*zip(*marked, strict=True), linestyle="", clip_on=False, **_marker(outcome, _TIMELINE_MARKERS))


def _exit_s(result: TrialResult) -> float:
    return (result.verdict.facts.shutdown_duration_ns or 0) / NS_PER_S


def _mark_s(result: TrialResult) -> float:
    """Where the outcome stands: at SIGKILL where that was seen, else at the exit."""
    killed_ns = result.verdict.facts.sigkill_after_ns
    return _exit_s(result) if killed_ns is None else killed_ns / NS_PER_S


def _timeline_label(shown: list[TrialResult], index: int) -> str:
    """The scenario's name once per group, and the stop timeout on every line."""
    seen = shown[index].observation
    first = index == 0 or shown[index - 1].observation.scenario != seen.scenario
    limit = EACH_ITS_OWN if seen.own_timeouts else f"{_timeout_s(shown[index]):g} s"
    return f"{_label(seen.scenario) + '   ' if first else ''}{limit}"
