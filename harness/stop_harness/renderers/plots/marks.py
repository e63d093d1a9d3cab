"""Colours and marks of the outcomes, the same in every plot, and what a plot says that they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stop_harness.model import Outcome, TrialResult
from stop_harness.renderers.plots.drawing import INK
from stop_harness.wording import OUTCOME_WORDS, one_line

if TYPE_CHECKING:
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

STOP_TIMEOUT: dict[str, Any] = {"color": INK, "marker": "|", "linestyle": ""}


def outcome_handles(results: Sequence[TrialResult], markers: dict[Outcome, str]) -> list[Line2D]:
    """One legend entry for every outcome that occurs."""
    return legend_marks([result.verdict.outcome for result in results], markers)


def legend_marks(outcomes: Sequence[Outcome], markers: dict[Outcome, str]) -> list[Line2D]:
    """The same, of these."""
    from matplotlib.lines import Line2D

    found = set(outcomes)
    return [
        Line2D([], [], linestyle="", label=OUTCOME_WORDS[outcome], **marker(outcome, markers))
        for outcome in Outcome
        if outcome in found
    ]


def marker(outcome: Outcome, markers: dict[Outcome, str]) -> dict[str, Any]:
    """Killed is hollow: its duration was cut off."""
    colour, killed = OUTCOME_COLOURS[outcome], outcome is Outcome.KILLED
    return {
        "marker": markers[outcome],
        "markersize": 6,
        "markerfacecolor": "none" if killed else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 1.4 if killed else 0,
    }


def stop_timeout_handle() -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], markersize=9, label="stop timeout", **STOP_TIMEOUT)


def row_label(name: str) -> str:
    """The name of a scenario, as long as a row has room for it."""
    line = one_line(name)
    return line if len(line) <= 32 else line[:31] + "…"
