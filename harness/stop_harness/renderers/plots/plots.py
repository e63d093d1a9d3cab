"""The plots of a report, as SVG text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import log, nan
from typing import TYPE_CHECKING

from stop_harness.model import ECS_STOP_TIMEOUT_S, NS_PER_S, Outcome, Report, TrialResult
from stop_harness.renderers.plots import drawing, outcome_plot, survival_plot
from stop_harness.renderers.plots.drawing import INK
from stop_harness.renderers.plots.marks import (
    OUTCOME_COLOURS,
    OUTCOME_MARKERS,
    STOP_TIMEOUT,
    marker,
    outcome_handles,
    row_label,
    stop_timeout_handle,
)
from stop_harness.wording import EACH_ITS_OWN, only_pods, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SURVIVAL = "still-running"
MAX_TIMELINES = 60
MAX_ROWS = 60
MAX_VECTOR_POINTS = 1500
"""More points than this are drawn as one picture inside the SVG: the file stays small and no trial is left out."""
_DURATIONS_ROW, _TIMELINES_ROW = 20.0, 14.0
"""Points: from one row to the next."""
_HALF_A_TICK_LABEL = 22.0
"""Points: what the longest, "≤ 0.001 s", takes beside the plot where it stands at the end of an axis."""
_BELOW_AXIS = 40.0
"""Points: tick labels, and what the axis shows."""
_SHORTEST_S = 0.001
"""Where the logarithmic axis of durations starts; what is shorter is drawn here, and its tick says so."""


def render_all(report: Report, wide: float = drawing.WIDTH) -> dict[str, str]:
    """Name of the file without suffix → SVG text, of the undisturbed stops. A plot with nothing to show is left out.
    `wide`: in points; `drawing.NARROW` for a phone."""
    report = replace(report, results=report.undisturbed)
    figures: dict[str, Callable[[Report, float], Figure | None]] = {
        "outcomes": outcome_plot.draw,
        "shutdown-durations": _durations,
        "timelines": _timelines,
        SURVIVAL: survival_plot.draw,
    }
    drawn = {name: drawing.svg(partial(draw, report), name, wide) for name, draw in figures.items()}
    return {name: text for name, text in drawn.items() if text is not None}


def _measured(report: Report) -> list[TrialResult]:
    """Stops that were performed and whose duration is known."""
    return [
        result
        for result in report.results
        if result.verdict.facts.shutdown_duration_ns is not None and result.observation.derivation.derived_from is None
    ]


# ── Shutdown durations ───────────────────────────────────────────────────────────────────────────────────────────────


def _durations(report: Report, wide: float = drawing.WIDTH) -> Figure | None:
    """A row a scenario, a point a trial, each exactly at its duration; within a row trials stand one below the other.

    Killed trials stand at their stop timeout and point to the right, for the true duration is longer. Where each
    container of a task had its own there is no place for it.
    """
    points = [result for result in _measured(report) if not result.observation.own_timeouts]
    if not points:
        return None
    rows, note = _rows(points)
    shown = [result for result in points if result.observation.scenario in rows]
    figure, axes = drawing.figure(wide)
    left = drawing.name_rows(axes, [row_label(name) for name in rows], range(len(rows)), 8, _HALF_A_TICK_LABEL)
    defaults = [] if only_pods(report) else [ECS_STOP_TIMEOUT_S]
    axis = wide - left - _HALF_A_TICK_LABEL
    _seconds_axis(axes, [*map(_plotted_s, shown), *map(_timeout_s, shown), *defaults], axis)
    lines = [
        axes.axvline(at, label=f"{at} s, Amazon ECS default", color=INK, linewidth=0.8, zorder=1) for at in defaults
    ]
    _stop_timeouts(axes, shown, rows)
    few, raster = len(shown) < 200, len(shown) > MAX_VECTOR_POINTS
    pitch = _DURATIONS_ROW + (drawing.NAME_ABOVE if drawing.is_narrow(axes) else 0)
    for outcome, places in _spread(shown, rows, 0.6 * _DURATIONS_ROW / pitch).items():
        style = {**marker(outcome, _DURATION_MARKERS), "markersize": 5.5 if few else 3.5}
        alpha = 0.85 if few else 0.6
        axes.plot(*zip(*places, strict=True), linestyle="", alpha=alpha, rasterized=raster, clip_on=False, **style)
    axes.set_ylim(len(rows) - 0.4, -0.75 if drawing.is_narrow(axes) else -0.6)
    axes.spines["left"].set_visible(False)
    more = drawing.x_label(axes, "from stop signal to exit (logarithmic)", left, _HALF_A_TICK_LABEL)
    marks = [*outcome_handles(shown, _DURATION_MARKERS), *lines, stop_timeout_handle()]
    title, height = f"Shutdown durations, one point a trial{note}", pitch * len(rows)
    drawing.arrange(axes, height, title, marks, left=left, right=_HALF_A_TICK_LABEL, bottom=_BELOW_AXIS + more)
    return figure


_DURATION_MARKERS = {**OUTCOME_MARKERS, Outcome.KILLED: ">"}


def _rows(points: list[TrialResult]) -> tuple[list[str], str]:
    """The scenarios that have a row, in report order; of too many those with the longest durations, and a note."""
    longest: dict[str, float] = {}
    for result in points:
        name = result.observation.scenario
        longest[name] = max(longest.get(name, 0.0), _plotted_s(result))
    chosen = set(sorted(longest, key=lambda name: -longest[name])[:MAX_ROWS])
    note = f" (the slowest {len(chosen)} of {len(longest)} scenarios)" if len(chosen) < len(longest) else ""
    return [name for name in longest if name in chosen], note


def _seconds_axis(axes: Axes, values_s: list[float], length: float) -> None:
    """A logarithmic axis of this length that holds every value, with a little room so that no mark is cut."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = max(min(values_s), _SHORTEST_S), max(values_s)
    shorter = min(values_s) <= _SHORTEST_S
    axes.set_xscale("log")
    axes.set_xlim(low / 1.5, high * 1.5)

    def named(place_s: float) -> str:
        return f"{'≤ ' if shorter and place_s <= _SHORTEST_S else ''}{place_s:g} s"

    places: list[float] = []
    end = -drawing.EDGE
    for place in (0.001, 0.01, 0.1, 1, 10, 30, 100, 1000):
        at = length * log(place * 1.5 / low) / log(2.25 * high / low)
        half = drawing.width(named(place), 9) / 2
        if low / 1.5 <= place <= high * 1.5 and (not places or at - half > end + drawing.EDGE):
            places.append(place)
            end = at + half
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: named(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True, axis="x", color=INK, alpha=0.2, linewidth=0.5)


def _stop_timeouts(axes: Axes, shown: list[TrialResult], rows: list[str]) -> None:
    """A tick at every stop timeout that a scenario was tried with."""
    heights = {name: row for row, name in enumerate(rows)}
    tried = {(heights[result.observation.scenario], max(_timeout_s(result), _SHORTEST_S)) for result in shown}
    tried_rows, places = zip(*sorted(tried), strict=True)
    axes.plot(places, tried_rows, markersize=0.72 * _DURATIONS_ROW, zorder=1, **STOP_TIMEOUT)


def _spread(shown: list[TrialResult], rows: list[str], high: float) -> dict[Outcome, list[tuple[float, float]]]:
    """Where each trial stands, by outcome: none is moved along the axis of seconds, and none hides another.
    `high`: what they take of a row."""
    counts, numbers = Counter(result.observation.scenario for result in shown), Counter[str]()
    heights = {name: row for row, name in enumerate(rows)}
    placed: dict[Outcome, list[tuple[float, float]]] = {}
    for result in shown:
        name = result.observation.scenario
        share = (numbers[name] + 0.5) / counts[name] - 0.5
        numbers[name] += 1
        place = (_plotted_s(result), heights[name] + high * share)
        placed.setdefault(result.verdict.outcome, []).append(place)
    return placed


def _plotted_s(result: TrialResult) -> float:
    """Where the trial stands on the axis of durations."""
    if result.verdict.outcome is Outcome.KILLED:
        return max(_timeout_s(result), _SHORTEST_S)
    return max((result.verdict.facts.shutdown_duration_ns or 0) / NS_PER_S, _SHORTEST_S)


def _timeout_s(result: TrialResult) -> float:
    return result.observation.stop_timeout_ns / NS_PER_S


# ── Timelines ────────────────────────────────────────────────────────────────────────────────────────────────────────


_TIMELINE_MARKERS = {**OUTCOME_MARKERS, Outcome.KILLED: "x"}
"""Here a killed trial ends in a cross where SIGKILL was seen, else where the process exited."""


def _timelines(report: Report, wide: float = drawing.WIDTH) -> Figure | None:
    """One bar a trial from stop signal to exit, with its deadline."""
    measured = _measured(report)
    if not measured:
        return None
    # The first repetitions come first: where not all fit, every scenario and stop timeout should.
    chosen = {result.observation.trial_id for result in sorted(measured, key=_repetition)[:MAX_TIMELINES]}
    shown = [result for result in measured if result.observation.trial_id in chosen][:MAX_TIMELINES]
    figure, axes = drawing.figure(wide)
    rows = _bar_rows(shown, narrow=drawing.is_narrow(axes))
    _bars(axes, shown, rows)
    axes.set_ylim(rows[-1] + 0.6, -0.6)
    defaults = [] if only_pods(report) else [ECS_STOP_TIMEOUT_S]
    longest = max(axes.get_xlim()[1], *defaults, 0)
    axes.set_xlim(-0.01 * longest, longest)
    left = _name_bars(axes, shown, rows)
    # The durations stand in a column of their own at the right: beside the bars they would cover the deadlines.
    texts = [seconds(result.verdict.facts.shutdown_duration_ns or 0) for result in shown]
    drawing.beside(axes, texts, rows, wide - drawing.EDGE, 8)
    right = max(drawing.width(text, 8) for text in texts) + drawing.EDGE + 12
    axes.spines["left"].set_visible(False)
    for at in defaults:
        axes.axvline(at, color=INK, linewidth=0.8)
    line = "".join(f" (line: {at} s, the Amazon ECS default)" for at in defaults)
    more = drawing.x_label(axes, f"seconds after the stop signal{line}", left, right)
    axes.grid(visible=True, axis="x", color=INK, alpha=0.2, linewidth=0.5)
    note = f" ({len(shown)} of {len(report.results):,} trials)" if len(shown) < len(report.results) else ""
    marks = [*outcome_handles(shown, _TIMELINE_MARKERS), stop_timeout_handle()]
    title, height = f"From stop signal to exit{note}", _TIMELINES_ROW * (rows[-1] + 1)
    drawing.arrange(axes, height, title, marks, left=left, right=right, bottom=_BELOW_AXIS + more)
    return figure


def _repetition(result: TrialResult) -> int:
    return result.observation.repetition


def _bar_rows(shown: list[TrialResult], *, narrow: bool) -> list[float]:
    """Where each bar stands; `narrow`: with room for the scenario's name above the first of it."""
    rows: list[float] = []
    for index in range(len(shown)):
        before = rows[-1] + 1 if rows else 0.0
        named = narrow and _is_first(shown, index)
        rows.append(before + (drawing.NAME_ABOVE / _TIMELINES_ROW if named else 0))
    return rows


def _name_bars(axes: Axes, shown: list[TrialResult], rows: list[float]) -> float:
    """The scenario's name once, and the stop timeout beside every bar. What they take at the left."""
    first = [_is_first(shown, index) for index in range(len(shown))]
    names = [row_label(result.observation.scenario) for result in shown]
    if drawing.is_narrow(axes):
        places = [row - 0.5 - drawing.NAME_ABOVE / _TIMELINES_ROW / 2 for row in rows]
        named = [(name, place) for name, place, new in zip(names, places, first, strict=True) if new]
        drawing.above(axes, [name for name, _ in named], [place for _, place in named], 8)
        names = ["" for _ in names]
    texts = [
        f"{name}   {_limit(result)}" if new and name else _limit(result)
        for name, result, new in zip(names, shown, first, strict=True)
    ]
    left = max(*(drawing.width(text, 8) for text in texts), 0) + 2 * drawing.EDGE + 2
    left = max(left, _HALF_A_TICK_LABEL)
    drawing.beside(axes, texts, rows, left - drawing.EDGE - 2, 8)
    return left


def _bars(axes: Axes, shown: list[TrialResult], places: list[float]) -> None:
    """A row each: the bar from signal to exit, its deadline, and the mark of its outcome.

    Drawn by kind, not by row: each call of matplotlib costs more than what it draws.
    """
    ends = [_exit_s(result) for result in shown]
    colours = [OUTCOME_COLOURS[result.verdict.outcome] for result in shown]
    axes.hlines(places, 0, ends, colors=colours, linewidth=4, capstyle="butt", alpha=0.55)
    deadlines = [nan if result.observation.own_timeouts else _timeout_s(result) for result in shown]
    axes.plot(deadlines, places, markersize=0.8 * _TIMELINES_ROW, **STOP_TIMEOUT)
    for outcome in Outcome:
        marked = [(_mark_s(it), at) for it, at in zip(shown, places, strict=True) if it.verdict.outcome is outcome]
        if marked:
            axes.plot(*zip(*marked, strict=True), linestyle="", clip_on=False, **marker(outcome, _TIMELINE_MARKERS))


def _exit_s(result: TrialResult) -> float:
    return (result.verdict.facts.shutdown_duration_ns or 0) / NS_PER_S


def _mark_s(result: TrialResult) -> float:
    """Where the outcome stands: at SIGKILL where that was seen, else at the exit."""
    killed_ns = result.verdict.facts.sigkill_after_ns
    return _exit_s(result) if killed_ns is None else killed_ns / NS_PER_S


def _is_first(shown: list[TrialResult], index: int) -> bool:
    """Of its scenario, where trials of one stand together."""
    return index == 0 or shown[index - 1].observation.scenario != shown[index].observation.scenario


def _limit(result: TrialResult) -> str:
    return EACH_ITS_OWN if result.observation.own_timeouts else f"{_timeout_s(result):g} s"
