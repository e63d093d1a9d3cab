"""Doubts about a run's measurements: a clock that was set, durations that scatter, too few repetitions. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import median

from stop_harness.evidence.stop_sequence import first
from stop_harness.model import NS_PER_S, Clock, EventKind, Observation, Outcome, RunWarning, TrialResult
from stop_harness.report.survival import MIN_STOPS
from stop_harness.wording import count_of, one_line, precise_seconds, timeout

WIDE_FACTOR, WIDE_NS = 2, NS_PER_S
"""The longest of the same stops took more than this many times the median, and this much longer: a median no longer
tells what to expect. Below a second of difference no stop timeout is in danger."""

TIGHT_SHARE = 0.8
"""Above this share of its stop timeout a stop is close: a machine that is a quarter slower would tip it over."""

CLOCK_FORWARD_NS = NS_PER_S
"""The stop lasts longer by the engine's clock than the harness waited for it. Without a step of a clock that cannot be,
and the stamps themselves are milliseconds apart."""

CLOCK_BACK_NS = 5 * NS_PER_S
"""The harness waited this much longer than the stop lasted by the engine's clock. The return of the stop call is late
by 0.02 to 0.5 s, and by seconds on a crowded machine, so that less proves nothing."""

MAX_NAMES = 5

_SameStop = dict[tuple[str, int, int], list[TrialResult]]


def measurement_doubts(results: Sequence[TrialResult]) -> tuple[RunWarning, ...]:
    """Every warning that applies, gravest first. Derived trials were not measured."""
    results = [result for result in results if result.observation.derivation.derived_from is None]
    same: _SameStop = defaultdict(list)
    for result in results:
        seen = result.observation
        same[seen.scenario, seen.stop_timeout_ns, seen.stop_after_ns].append(result)
    found = (_clock_step(results), _wide_spread(same), _few_repetitions(same))
    return tuple(warning for warning in found if warning is not None)


def _clock_step(results: Iterable[TrialResult]) -> RunWarning | None:
    steps = [step for result in results if (step := clock_step_ns(result.observation)) is not None]
    if not steps:
        return None
    furthest = max(steps, key=abs)
    return RunWarning(
        "clock-step",
        f"A clock was set during {count_of(len(steps), 'stop')}: the engine's clock and the harness's disagree by up "
        f"to {precise_seconds(abs(furthest))}; shutdown durations taken from the engine's clock may be wrong.",
        "Keep the engine's clock in step (NTP that slews, no suspended virtual machine) and repeat these stops.",
    )


def clock_step_ns(seen: Observation) -> int | None:
    """How far the engine's wall clock was set during the stop, forward positive, by the harness's monotonic clock.

    None: no sign of it, or only one clock saw the stop."""
    record = seen.record
    asked = first(record, EventKind.STOP_REQUESTED, Clock.HARNESS)
    returned = first(record, EventKind.STOP_RETURNED, Clock.HARNESS)
    left = first(record, EventKind.EXITED, Clock.ENGINE)
    begun = first(record, EventKind.STOP_REQUESTED, Clock.ENGINE) or first(record, EventKind.SIGNAL_SENT, Clock.ENGINE)
    if asked is None or returned is None or left is None or begun is None or record.exited_before_stop:
        return None
    step_ns = (left.at_ns - begun.at_ns) - (returned.at_ns - asked.at_ns)
    return step_ns if step_ns > CLOCK_FORWARD_NS or step_ns < -CLOCK_BACK_NS else None


def _wide_spread(same: _SameStop) -> RunWarning | None:
    wide = {}
    for (name, _, _), results in same.items():
        took = _graceful_ns(results)
        if len(took) >= MIN_STOPS and max(took) > max(WIDE_FACTOR * median(took), median(took) + WIDE_NS):
            wide[name] = f"{one_line(name)} ({precise_seconds(min(took))} to {precise_seconds(max(took))})"
    if not wide:
        return None
    return RunWarning(
        "wide-spread",
        f"The same stop took very different times: {_listed(list(wide.values()))}.",
        "Look for what it waits for; choose the stop timeout by the high percentiles, not by the median.",
    )


def _few_repetitions(same: _SameStop) -> RunWarning | None:
    """Only where it was repeated at all, and the answer hangs on it: a stop that came close to its timeout."""
    close = {}
    for (name, stop_timeout_ns, _), results in same.items():
        took = _graceful_ns(results)
        if 2 <= len(results) < MIN_STOPS and max(took, default=0) > TIGHT_SHARE * stop_timeout_ns:
            longest = f"{precise_seconds(max(took))} of {timeout(stop_timeout_ns)}"
            close[name] = f"{one_line(name)} ({longest}, {len(results)} times)"
    if not close:
        return None
    return RunWarning(
        "few-repetitions",
        f"So close to its stop timeout that it may fail now and then: {_listed(list(close.values()))}.",
        f"Repeat it {MIN_STOPS} times at least (--repeat), to see how often.",
    )


def _graceful_ns(results: Iterable[TrialResult]) -> list[int]:
    return [
        took
        for result in results
        if result.verdict.outcome is Outcome.GRACEFUL
        and (took := result.verdict.facts.shutdown_duration_ns) is not None
    ]


def _listed(names: list[str]) -> str:
    """The first of them, and how many more."""
    return ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")
