"""The plots of a report, as SVG text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from stop_harness.model import ECS_STOP_TIMEOUT_S, NS_PER_S, Outcome, Report, TrialResult
from stop_harness.renderers.plots import drawing, survival_plot
from stop_harness.renderers.plots.drawing import INK
from stop_harness.report import tables
from stop_harness.wording import OUTCOME_WORDS, one_line, seconds

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
_SHORTEST_S = 0.01
"""Where the logarithmic axis of durations starts; what is shorter is drawn here."""


def render_all(report: Report) -> dict[str, str]:
    """Name of the file without suffix → SVG text. A plot with nothing to show is left out."""
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


def _measured(report: Report) -> list[TrialResult]:
    """Stops that were performed and whose duration is known."""
    return [
        result
        for result in report.results
        if result.verdict.facts.shutdown_duration_ns is not None and result.observation.derivation.derived_from is None
    ]


# ── Shutdown duration against stop timeout ───────────────────────────────────────────────────────────────────────────


def _durations(report: Report) -> Figure | None:
    """One point a trial; killed trials stand at their stop timeout and point up, for the true duration is longer."""
    points = _measured(report)
    if not points:
        return None
    figure, axes = drawing.figure(4.6)
    limits = sorted({max(_timeout_s(result), _SHORTEST_S) for result in points})
    longest = max(*(_plotted_s(result) for result in points), ECS_STOP_TIMEOUT_S, *limits)
    axes.set(xscale="log", yscale="log")
    axes.set_xlim(limits[0] / 1.8, limits[-1] * 1.8)
    axes.set_ylim(_SHORTEST_S, longest * 2)
    lines = _reference_lines(axes)
    few, raster = len(points) < 200, len(points) > MAX_VECTOR_POINTS
    for outcome in Outcome:
        drawn = [(x, y) for result, x, y in _spread(points, limits) if result.verdict.outcome is outcome]
        if drawn:
            style = {**_marker(outcome, OUTCOME_MARKERS), "markersize": 5.5 if few else 3.5}
            axes.plot(*zip(*drawn, strict=True), linestyle="", alpha=0.85 if few else 0.6, rasterized=raster, **style)
    _second_ticks(axes, limits)
    axes.set_xlabel("stop timeout", color=INK)
    axes.set_ylabel("stop signal to exit", color=INK)
    drawing.title(axes, "Shutdown duration against stop timeout, one point a trial")
    drawing.legend(axes, [*_outcome_handles(points, OUTCOME_MARKERS), *lines])
    return figure


def _reference_lines(axes: Axes) -> list[Line2D]:
    """The diagonal, where SIGKILL comes, and the default of Amazon ECS; explained in the legend."""
    low, high = axes.get_xlim()
    style: dict[str, Any] = {"color": INK, "linewidth": 0.8, "zorder": 1}
    (diagonal,) = axes.plot([low, high], [low, high], linestyle=(0, (4, 3)), label="stop timeout (SIGKILL)", **style)
    default = axes.axhline(ECS_STOP_TIMEOUT_S, label=f"{ECS_STOP_TIMEOUT_S} s, Amazon ECS default", **style)
    return [diagonal, default]


def _spread(points: list[TrialResult], limits: list[float]) -> list[tuple[TrialResult, float, float]]:
    """Each trial with its place: trials of one stop timeout stand side by side in report order, so that a scenario's
    trials stay together and none hides another."""
    placed = []
    half_width = _half_column(limits)
    for limit in limits:
        column = [result for result in points if max(_timeout_s(result), _SHORTEST_S) == limit]
        for index, result in enumerate(column):
            share = (index + 0.5) / len(column) * 2 - 1
            placed.append((result, limit * half_width**share, _plotted_s(result)))
    return placed


def _half_column(limits: list[float]) -> float:
    """Factor from the middle of a column to its edge, narrow enough that neighbouring columns stay apart."""
    gaps = [high / low for low, high in pairwise(limits)]
    return float(min([*gaps, 3.0]) ** 0.32)


def _plotted_s(result: TrialResult) -> float:
    """Where the trial stands on the axis of durations."""
    if result.verdict.outcome is Outcome.KILLED:
        return max(_timeout_s(result), _SHORTEST_S)
    return max((result.verdict.facts.shutdown_duration_ns or 0) / NS_PER_S, _SHORTEST_S)


def _timeout_s(result: TrialResult) -> float:
    return result.observation.stop_timeout_ns / NS_PER_S


def _second_ticks(axes: Axes, limits: list[float]) -> None:
    """Ticks where people look: the stop timeouts that were tried, and decades of seconds."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    for axis, places in ((axes.xaxis, limits), (axes.yaxis, [0.01, 0.1, 1, 10, 100, 1000])):
        axis.set_major_locator(FixedLocator(places))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
        axis.set_minor_locator(NullLocator())
    axes.grid(visible=True, axis="y", color=INK, alpha=0.2, linewidth=0.5)


# ── Outcome matrix ───────────────────────────────────────────────────────────────────────────────────────────────────


def _outcome_matrix(report: Report) -> Figure | None:
    """Scenario × stop timeout; an empty cell was not tried."""
    from matplotlib.patches import Rectangle

    rows = tables.summary_rows(report)
    if not rows:
        return None
    names = list(dict.fromkeys(row.scenario for row in rows))
    shown = names[:MAX_MATRIX_ROWS]
    limits = sorted({row.stop_timeout_s for row in rows})
    figure, axes = drawing.figure(0.27 * len(shown) + 1.1)
    for cell in (row for row in rows if row.scenario in shown):
        x, y = limits.index(cell.stop_timeout_s), shown.index(cell.scenario)
        outcome = Outcome(cell.outcome)
        axes.add_patch(Rectangle((x + 0.02, y + 0.05), 0.96, 0.9, color=OUTCOME_COLOURS[outcome], linewidth=0))
        share = f" {cell.agreeing}/{cell.trials}" if cell.trials != 1 else ""
        axes.text(
            x + 0.5,
            y + 0.5,
            OUTCOME_WORDS[outcome] + share,
            ha="center",
            va="center",
            fontsize=8,
            color=_text_on(OUTCOME_COLOURS[outcome]),
            in_layout=False,
        )
    axes.set(xlim=(0, len(limits)), ylim=(len(shown), 0))
    axes.set_xticks([index + 0.5 for index in range(len(limits))], [f"{limit:g} s" for limit in limits])
    drawing.row_names(axes, [_label(name) for name in shown], [index + 0.5 for index in range(len(shown))], 9)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    note = f" (first {len(shown)} of {len(names)} scenarios)" if len(shown) < len(names) else ""
    drawing.title(axes, f"Outcome by scenario and stop timeout{note}", above_labels=True)
    return figure


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
    from matplotlib.lines import Line2D

    measured = _measured(report)
    if not measured:
        return None
    # The first repetitions come first: where not all fit, every scenario and stop timeout should.
    chosen = {result.observation.trial_id for result in sorted(measured, key=_repetition)[:MAX_TIMELINES]}
    shown = [result for result in measured if result.observation.trial_id in chosen][:MAX_TIMELINES]
    figure, axes = drawing.figure(0.19 * len(shown) + 1.4)
    _bars(axes, shown)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    longest = max(axes.get_xlim()[1], ECS_STOP_TIMEOUT_S)
    axes.set_xlim(-0.01 * longest, longest)
    rows = range(len(shown))
    drawing.row_names(axes, [_timeline_label(shown, row) for row in rows], rows, 8)
    axes.spines["left"].set_visible(False)
    axes.axvline(ECS_STOP_TIMEOUT_S, color=INK, linewidth=0.8)
    axes.set_xlabel(f"seconds after the stop signal (line: {ECS_STOP_TIMEOUT_S} s, the Amazon ECS default)", color=INK)
    axes.grid(visible=True, axis="x", color=INK, alpha=0.2, linewidth=0.5)
    note = f" ({len(shown)} of {len(report.results):,} trials)" if len(shown) < len(report.results) else ""
    drawing.title(axes, f"From stop signal to exit{note}")
    deadline = Line2D([], [], color=INK, marker="|", linestyle="", markersize=9, label="stop timeout")
    drawing.legend(axes, [*_outcome_handles(shown, _TIMELINE_MARKERS), deadline])
    return figure


def _repetition(result: TrialResult) -> int:
    return result.observation.repetition


def _bars(axes: Axes, shown: list[TrialResult]) -> None:
    """A row each: the bar from signal to exit, its deadline, the mark of its outcome, and the duration.

    Drawn by kind, not by row: each call of matplotlib costs more than what it draws.
    """
    places = range(len(shown))
    ends = [_exit_s(result) for result in shown]
    colours = [OUTCOME_COLOURS[result.verdict.outcome] for result in shown]
    axes.hlines(places, 0, ends, colors=colours, linewidth=4, capstyle="butt", alpha=0.55)
    low, high = [place - 0.36 for place in places], [place + 0.36 for place in places]
    axes.vlines([_timeout_s(result) for result in shown], low, high, colors=INK, linewidth=1.2, capstyle="projecting")
    for outcome in Outcome:
        marked = [(_mark_s(shown[at]), at) for at in places if shown[at].verdict.outcome is outcome]
        if marked:
            axes.plot(*zip(*marked, strict=True), linestyle="", clip_on=False, **_marker(outcome, _TIMELINE_MARKERS))
    # The durations stand in a column of their own at the right: beside the bars they would cover the deadlines.
    texts, right = [seconds(result.verdict.facts.shutdown_duration_ns or 0) for result in shown], 1.06
    longest = max(places, key=lambda at: len(texts[at]))
    for at, text in enumerate(texts):
        axes.text(
            right,
            at,
            text,
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            color=INK,
            fontsize=8,
            in_layout=at == longest,
        )


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
    return f"{_label(seen.scenario) + '   ' if first else ''}{_timeout_s(shown[index]):g} s"
