"""Statistics of a scenario's stops in words, for the formats that people read."""

from __future__ import annotations

from collections.abc import Callable

from stop_harness.model import Percentile, Report, ScenarioStatistics, Share, StillRunning
from stop_harness.records import dataclass
from stop_harness.report.survival import MIN_STOPS
from stop_harness.wording import count_of, one_line, seconds, timeout, timeouts_in_table


@dataclass(frozen=True)
class StatisticsRow:
    """One scenario. `percentiles` and `still_running`: (label, value), empty where there were too few stops;
    `graceful`: (stop timeout, value) for each that was tried."""

    scenario: str
    stops: str
    percentiles: tuple[tuple[str, str], ...]
    still_running: tuple[tuple[str, str], ...]
    graceful: tuple[tuple[str, str], ...]


def rows(report: Report) -> list[StatisticsRow]:
    """The scenarios that were stopped often enough to say more than their trials do."""
    limit = timeouts_in_table(report)
    return [_row(item, limit) for item in report.statistics if is_worth_a_row(item)]


def is_worth_a_row(item: ScenarioStatistics) -> bool:
    """It has a curve, or a stop that was repeated."""
    return bool(item.curve) or any(at.share.total > 1 for at in item.at_timeouts)


def _row(item: ScenarioStatistics, limit: Callable[[str, int], str]) -> StatisticsRow:
    return StatisticsRow(
        scenario=one_line(item.scenario),
        stops=_stops(item),
        percentiles=tuple((f"{value.percent} %", percentile(value)) for value in item.percentiles),
        still_running=tuple((timeout(at.after_ns), still_running(at)) for at in item.at_defaults),
        graceful=tuple((limit(item.scenario, at.stop_timeout_ns), share(at.share)) for at in item.at_timeouts),
    )


def _stops(item: ScenarioStatistics) -> str:
    """`18 measured, 2 cut off at 10 s; left out: 1 crashed`."""
    parts = [f"{item.measured:,} measured"]
    if item.cut_off:
        limits = ", ".join(timeout(cut.after_ns) for cut in item.cut_off)
        parts.append(f"{item.stops_cut_off:,} cut off at {limits}")
    text = ", ".join(parts)
    if item.left_out:
        text += "; left out: " + ", ".join(f"{left.stops:,} {left.why}" for left in item.left_out)
    return text


def percentile(value: Percentile) -> str:
    """`5.0 s (4.9 to 5.2 s)`; `5.0 s (4.9 s or more)` without an upper bound; `not reached` where too many were cut
    off."""
    text = "not reached" if value.duration_ns is None else seconds(value.duration_ns)
    if value.low_ns is not None and value.high_ns is not None:
        low, high = seconds(value.low_ns), seconds(value.high_ns)
        return f"{text} ({high})" if low == high else f"{text} ({low.removesuffix(' s')} to {high})"
    if value.low_ns is not None:
        return f"{text} ({seconds(value.low_ns)} or more)"
    if value.high_ns is not None:
        return f"{text} ({seconds(value.high_ns)} or less)"
    return text


def still_running(at: StillRunning) -> str:
    """`12 % (4 to 25 %)`, or that nobody watched for so long."""
    if at.share is None or at.low is None or at.high is None:
        return "not known"
    return f"{percent(at.share)} ({_percent_range(at.low, at.high)})"


def share(value: Share) -> str:
    """`18 of 20 (68 to 99 %)`; a single stop needs no interval."""
    text = f"{value.count:,} of {value.total:,}"
    return text if value.total == 1 else f"{text} ({_percent_range(value.low, value.high)})"


def percent(value: float) -> str:
    """`12 %`; what is not quite nothing or everything is not rounded to it."""
    if 0 < value < 0.005:
        return "<1 %"
    if 0.995 <= value < 1:
        return ">99 %"
    return f"{value * 100:.0f} %"


def _percent_range(low: float, high: float) -> str:
    return f"{percent(low).removesuffix(' %')} to {percent(high)}"


def too_few(report: Report) -> str:
    """How many scenarios are not in the table, and why; empty where all are."""
    missing = sum(not is_worth_a_row(item) and item.stops > 0 for item in report.statistics)
    if not missing:
        return ""
    return f"{count_of(missing, 'scenario')} with fewer than {MIN_STOPS} stops and no repetition: see the trials."


def sentence(item: ScenarioStatistics) -> str:
    """For a terminal: `20 stops: half ended within 5.0 s (4.9 to 5.1 s), 95 % within 5.3 s (5.1 s or more).`"""
    known = {value.percent: percentile(value) for value in item.percentiles}
    durations = f": half ended within {known[50]}, 95 % within {known[95]}" if known else ""
    graceful = "; ".join(f"graceful {share(at.share)} at {timeout(at.stop_timeout_ns)}" for at in item.at_timeouts)
    return f"{_stops(item)}{durations}. {graceful[:1].upper()}{graceful[1:]}."
