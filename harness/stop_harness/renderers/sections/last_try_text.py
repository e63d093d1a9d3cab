"""What a try came to beside the one before it, for somebody who edits and waits. Pure."""

from __future__ import annotations

from stop_harness.model import NS_PER_MS, Report, StopChange, StopId
from stop_harness.renderers.sections import trend_text
from stop_harness.renderers.sections.columns import DIM, GREEN, RED, YELLOW, hanging, painter
from stop_harness.report import trend
from stop_harness.wording import count_of

LABEL = "since the last try"

NOTICED_NS = 100 * NS_PER_MS
"""What somebody who waits notices. Two starts of the same container differ by some milliseconds."""


def render(then: Report, now: Report, *, width: int = 80, colour: bool = False) -> str:
    """A line for each stop that came to something else, and how many did not.

    No statistics: that something was edited in between is known, and somebody waits for what a single stop shows.
    """
    found, causes = trend.compare(then, now), (_causes(then), _causes(now))
    told: list[tuple[str, str]] = []
    same: list[str] = []
    for change in found.changes:
        before, after = (
            trend_text.side(side) + known.get(change.stop, "")
            for side, known in zip((change.before, change.now), causes, strict=True)
        )
        name = trend_text.stop_name(change.stop)
        if _differs(change) or causes[0].get(change.stop) != causes[1].get(change.stop):
            told.append((f"{name}: was {before}, is {after}", _colour(change)))
        else:
            same.append(f"{name}: {after}, as before")
    told += [(f"{trend_text.stop_name(stop)}: is new", YELLOW) for stop in found.new]
    told += [(f"{trend_text.stop_name(stop)}: was not stopped this time", YELLOW) for stop in found.gone]
    if same:
        told.append((same[0] if len(same) == 1 else f"{count_of(len(same), 'stop')} as before", DIM))
    paint = painter(colour)
    return "".join(f"{line}\n" for text, tone in told for line in hanging(LABEL, text, width, paint, tone))


def _differs(change: StopChange) -> bool:
    before, now = change.before, change.now
    counts = [(side.outcome, side.trials, side.passed, side.failed) for side in (before, now)]
    took_ns = before.median_ns, now.median_ns
    noticed = None not in took_ns and abs((took_ns[0] or 0) - (took_ns[1] or 0)) >= NOTICED_NS
    return counts[0] != counts[1] or (change.differs and noticed)


def _colour(change: StopChange) -> str:
    """By what became of those that were not as expected."""
    bad = [side.trials - side.passed for side in (change.before, change.now)]
    return YELLOW if bad[0] == bad[1] else GREEN if bad[1] < bad[0] else RED


def _causes(report: Report) -> dict[StopId, str]:
    """` (pid1-no-handler)` by stop, of the trial whose outcome is the worst; of a stop without a cause nothing."""
    found: dict[StopId, str] = {}
    for result in sorted(report.results, key=lambda result: result.verdict.outcome.severity):
        seen, cause = result.observation, result.verdict.cause
        if cause is not None:
            found[StopId(seen.scenario, seen.stop_timeout_ns, seen.stop_after_ns)] = f" ({cause.id})"
    return found
