"""What changed between runs: broke, cured, slower, faster, new, gone. Pure.

A gate that cries wolf is switched off, so that a difference counts only if chance does not explain it, and a difference
in durations only if it is also large enough to matter. What a single stop says is reported as just that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb

from stop_harness.model import (
    NS_PER_MS,
    Comparison,
    DurationChange,
    Outcome,
    Report,
    RunInfo,
    Status,
    StatusChange,
    StopChange,
    StopId,
    StopSummary,
    TestResult,
    Trend,
    TrendPoint,
    TrendSeries,
    TrialResult,
)
from stop_harness.report.differences import differences
from stop_harness.report.survival import Durations, chance_of_ranks, durations
from stop_harness.wording import OUTCOME_WORDS, precise_seconds, timeout

FALSE_ALARMS = 0.01
"""How often a run that is no slower than its baseline is called slower at any of its stops. Likewise for faster, and
for stops that break or are cured in part."""
MIN_EFFECT = 0.10
"""A median that differs by less is not worth a message: container starts scatter more than that."""
ERRORS = 3
"""How many times the measurement error a difference must be."""
UNKNOWN_ERROR_NS = 120 * NS_PER_MS
"""Where the error of a duration is not known: the largest that is (`stop_sequence.DURATION_ERROR_NS`)."""

MANN_WHITNEY = "Mann–Whitney U test, one-sided"
FISHER = "Fisher's exact test, one-sided"


def compare(baseline: Report, now: Report) -> Comparison:
    """The run `now` beside `baseline`, stop by stop."""
    before_stops, now_stops = _by_stop(baseline), _by_stop(now)
    pairs = [_Pair(stop, before_stops[stop], results) for stop, results in now_stops.items() if stop in before_stops]
    statuses, lengths = _statuses(pairs), _durations(pairs)
    changes = tuple(
        StopChange(
            stop=pair.stop,
            before=_summary(pair.before),
            now=_summary(pair.now),
            status=status.change,
            status_basis=status.basis,
            status_test=status.test,
            duration=length.change,
            differs=length.differs,
            duration_basis=length.basis,
            duration_test=length.test,
        )
        for pair, status, length in zip(pairs, statuses, lengths, strict=True)
    )
    return Comparison(
        baseline=baseline.run,
        changes=changes,
        new=tuple(stop for stop in now_stops if stop not in before_stops),
        gone=tuple(stop for stop in before_stops if stop not in now_stops),
        warnings=differences(baseline, now),
    )


@dataclass(frozen=True)
class _Pair:
    """The trials of one stop in both runs."""

    stop: StopId
    before: tuple[TrialResult, ...]
    now: tuple[TrialResult, ...]


@dataclass(frozen=True)
class _Status:
    change: StatusChange
    basis: str
    test: TestResult | None = None


@dataclass(frozen=True)
class _Duration:
    change: DurationChange
    basis: str
    test: TestResult | None = None
    differs: bool = False


def _by_stop(report: Report) -> dict[StopId, tuple[TrialResult, ...]]:
    """The trials of each stop, in report order."""
    found: dict[StopId, list[TrialResult]] = defaultdict(list)
    for result in report.results:
        seen = result.observation
        found[StopId(seen.scenario, seen.stop_timeout_ns, seen.stop_after_ns)].append(result)
    return {stop: tuple(results) for stop, results in found.items()}


def _performed(results: Sequence[TrialResult]) -> Durations:
    """Durations of stops that were performed: a derived one has that of the stop it follows from."""
    return durations(result for result in results if result.observation.derivation.derived_from is None)


def _summary(results: Sequence[TrialResult]) -> StopSummary:
    statuses = Counter(result.verdict.status for result in results)
    known = _performed(results)
    return StopSummary(
        trials=len(results),
        passed=statuses[Status.PASS],
        failed=statuses[Status.FAIL],
        outcome=_leading(results),
        median_ns=median_ns(known),
        measured=len(known.measured_ns),
        cut_off=len(known.cut_off_ns),
    )


def _leading(results: Sequence[TrialResult]) -> Outcome:
    """The most frequent outcome, of equals the worse."""
    counts = Counter(result.verdict.outcome for result in results)
    return max(counts, key=lambda outcome: (counts[outcome], outcome.severity))


def median_ns(known: Durations) -> int | None:
    """With stops that were cut off as longer than all others; None where the middle is one of them, or nothing is."""
    middle = [(known.stops - 1) // 2, known.stops // 2]
    if not known.stops or middle[1] >= len(known.measured_ns):
        return None
    return sum(known.measured_ns[at] for at in middle) // 2


# ── Broke and cured ──────────────────────────────────────────────────────────────────────────────────────────────────


def _statuses(pairs: list[_Pair]) -> list[_Status]:
    tables = [(_judged(pair.before), _judged(pair.now)) for pair in pairs]
    undecided = [(before, now) for before, now in tables if sum(before) and sum(now) and not _switched(before, now)]
    tested = _tests_at_once([_smallest_fisher(before, now) for before, now in undecided])
    return [_status(before, now, tested) for before, now in tables]


def _judged(results: Sequence[TrialResult]) -> tuple[int, int]:
    """(passed, failed); inconclusive trials say nothing."""
    statuses = [result.verdict.status for result in results]
    return statuses.count(Status.PASS), statuses.count(Status.FAIL)


def _switched(before: tuple[int, int], now: tuple[int, int]) -> bool:
    """Every stop passed and now every one fails, or the other way round."""
    return (before[1] == 0 and now[0] == 0) or (before[0] == 0 and now[1] == 0)


def _status(before: tuple[int, int], now: tuple[int, int], tested: int) -> _Status:
    if not sum(before) or not sum(now):
        which = "then" if not sum(before) else "now"
        return _Status(StatusChange.UNCLEAR, f"No stop could be judged {which}.")
    counts = f"{before[0]} of {sum(before)} passed then, {now[0]} of {sum(now)} now"
    worse = now[0] * sum(before) < before[0] * sum(now)
    change = StatusChange.BROKE if worse else StatusChange.CURED
    if _switched(before, now):
        if sum(before) == sum(now) == 1:
            return _Status(change, f"{counts}; a single stop each, which may be chance.")
        # Not adjusted: what switches altogether is reported whatever the test says.
        test = TestResult(FISHER, _fisher(before, now))
        doubt = "" if test.p_value < FALSE_ALARMS else ", which so few repetitions do not rule out to be chance"
        return _Status(change, f"{counts}{doubt}.", test)
    if now[0] * sum(before) == before[0] * sum(now):
        return _Status(StatusChange.SAME, f"{counts}.")
    test = TestResult(FISHER, min(1.0, _fisher(before, now) * tested))
    if test.p_value < FALSE_ALARMS:
        return _Status(change, f"{counts}.", test)
    return _Status(StatusChange.SAME, f"{counts}; that may be chance.", test)


def _fisher(before: tuple[int, int], now: tuple[int, int]) -> float:
    """How often chance alone moves at least as many stops in the direction that is seen."""
    worse = now[0] * sum(before) < before[0] * sum(now)
    better, other = (before, now) if worse else (now, before)
    passed, total = better[0] + other[0], sum(better) + sum(other)
    # The chance of this table, and then of each with one more pass on the better side, which is less likely still.
    term = found = comb(sum(better), better[0]) * comb(sum(other), other[0]) / comb(total, passed)
    for count in range(better[0], min(sum(better), passed)):
        more, fewer = sum(better) - count, passed - count
        term *= more * fewer / ((count + 1) * (sum(other) - fewer + 1))
        found += term
    return found


def _smallest_fisher(before: tuple[int, int], now: tuple[int, int]) -> float:
    """The smallest p value that so many passed and failed stops could have given."""
    failed, total = before[1] + now[1], sum(before) + sum(now)
    ways = [
        comb(here, most := min(failed, here)) * comb(total - here, failed - most) for here in (sum(before), sum(now))
    ]
    return min(ways) / comb(total, failed)


def _tests_at_once(smallest: list[float]) -> int:
    """By how much p values are multiplied so that all tests of a run together alarm falsely at most as promised.

    Bonferroni's correction by Tarone (Biometrics 46, 1990): tests that cannot come out significant, because they have
    too few stops, need not be counted. `smallest`: for each test the smallest p value it could give.
    """
    factor = 1
    while sum(p_value * factor < FALSE_ALARMS for p_value in smallest) > factor:
        factor += 1
    return factor


# ── Slower and faster ────────────────────────────────────────────────────────────────────────────────────────────────


def _durations(pairs: list[_Pair]) -> list[_Duration]:
    known = [(_performed(pair.before), _performed(pair.now)) for pair in pairs]
    tested = _tests_at_once([_smallest_rank(before, now) for before, now in known if before.stops and now.stops])
    return [_duration(pair, before, now, tested) for pair, (before, now) in zip(pairs, known, strict=True)]


def _smallest_rank(before: Durations, now: Durations) -> float:
    """The p value of the strongest evidence that so many stops can give: all of one run before all of the other."""
    return 1 / comb(before.stops + now.stops, now.stops)


def _duration(pair: _Pair, before: Durations, now: Durations, tested: int) -> _Duration:
    if not before.stops or not now.stops or not (before.measured_ns or now.measured_ns):
        return _Duration(DurationChange.NOT_MEASURED, "No durations to compare.")
    medians = f"median {_median_words(before)} then, {_median_words(now)} now"
    change = _effect(before, now, _error_ns((*pair.before, *pair.now)))
    if _smallest_rank(before, now) * tested >= FALSE_ALARMS:
        need = _stops_needed(tested)
        return _Duration(
            DurationChange.TOO_FEW,
            f"{medians}; too few repetitions to tell, {need} in both runs would do (--repeat {need}).",
            differs=change is not None,
        )
    if change is None:
        return _Duration(DurationChange.SAME, f"{medians}.")
    test = _rank_test(before, now, pair.stop.stop_timeout_ns, slower=change is DurationChange.SLOWER, tested=tested)
    if test.p_value < FALSE_ALARMS:
        return _Duration(change, f"{medians}{_percent(before, now)}.", test, differs=True)
    return _Duration(DurationChange.SAME, f"{medians}; that may be chance.", test, differs=True)


def _median_words(known: Durations) -> str:
    found = median_ns(known)
    return precise_seconds(found) if found is not None else f"more than {timeout(max(known.cut_off_ns))}"


def _percent(before: Durations, now: Durations) -> str:
    then, later = median_ns(before), median_ns(now)
    return f" ({later / then - 1:+z.0%})" if then and later is not None else ""


def _effect(before: Durations, now: Durations, error_ns: int) -> DurationChange | None:
    """The direction of a difference in medians that is large enough to matter; None if it is not."""
    then, later = median_ns(before), median_ns(now)
    if then is None or later is None:
        if then is None and later is None:
            return None
        return DurationChange.SLOWER if later is None else DurationChange.FASTER
    if abs(later - then) <= max(MIN_EFFECT * then, ERRORS * error_ns):
        return None
    return DurationChange.SLOWER if later > then else DurationChange.FASTER


def _error_ns(results: Sequence[TrialResult]) -> int:
    """The largest error of their durations."""
    errors = [
        result.verdict.facts.duration_error_ns
        for result in results
        if result.verdict.facts.shutdown_duration_ns is not None
    ]
    return max((UNKNOWN_ERROR_NS if error is None else error for error in errors), default=UNKNOWN_ERROR_NS)


def _rank_test(before: Durations, now: Durations, limit_ns: int, *, slower: bool, tested: int) -> TestResult:
    """Mann and Whitney's test. A stop that was cut off ranks with the others at the stop timeout, the longest of all:
    both runs have the same stop timeout here, so that no other rank is possible for it.

    The log-rank test, made for stops that were cut off at different times, alarms too often with five to ten stops: up
    to 1.6 % where 1 % is promised, and more where p values are adjusted (simulated; docs/decisions/statistics.md).
    """
    then, later = ([min(took, limit_ns) for took in (*known.measured_ns, *known.cut_off_ns)] for known in (before, now))
    p_value = chance_of_ranks(later, then) if slower else chance_of_ranks(then, later)
    return TestResult(MANN_WHITNEY, min(1.0, p_value * tested))


def _stops_needed(tested: int) -> int:
    """Repetitions in both runs with which a difference could be told."""
    stops = 2
    while tested / comb(2 * stops, stops) >= FALSE_ALARMS:
        stops += 1
    return stops


# ── Whether the runs can be compared ─────────────────────────────────────────────────────────────────────────────────


# ── Many runs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def over(reports: Iterable[Report]) -> Trend:
    """The same scenarios over many runs, oldest first. Each is asked for when those before it are done with, so that
    two are in memory at a time where they are read one by one."""
    runs: list[RunInfo] = []
    names: dict[str, None] = {}
    points: dict[str, list[TrendPoint]] = defaultdict(list)
    last: dict[StopId, tuple[TrialResult, ...]] = {}
    comparisons: list[Comparison] = []
    before: Report | None = None
    for report in reports:
        stops = _by_stop(report)
        for name, own in _by_scenario(stops).items():
            pairs = [_Pair(stop, last[stop], trials) for stop, trials in own.items() if stop in last]
            results = tuple(result for trials in own.values() for result in trials)
            points[name].append(_point(report.run.started_at, results, "; ".join(_outcome_changes(pairs))))
        last |= stops
        if before is not None:
            comparisons.append(compare(before, report))
        runs.append(report.run)
        names = dict.fromkeys((*(scenario.name for scenario in report.scenarios), *names))  # as in the latest run
        before = report
    series = (TrendSeries(name, tuple(points[name])) for name in names)
    return Trend(tuple(runs), tuple(item for item in series if item.points), tuple(comparisons))


def _by_scenario(
    stops: Mapping[StopId, tuple[TrialResult, ...]],
) -> dict[str, dict[StopId, tuple[TrialResult, ...]]]:
    found: dict[str, dict[StopId, tuple[TrialResult, ...]]] = defaultdict(dict)
    for stop, trials in stops.items():
        found[stop.scenario][stop] = trials
    return found


def _outcome_changes(pairs: list[_Pair]) -> list[str]:
    """`10 s: graceful → killed` for each stop that broke or was cured, or none of whose trials ended as one before."""
    found = []
    for pair, status in zip(pairs, _statuses(pairs), strict=True):
        then, later = ({result.verdict.outcome for result in results} for results in (pair.before, pair.now))
        if status.change in {StatusChange.BROKE, StatusChange.CURED} or not then & later:
            words = f"{OUTCOME_WORDS[_leading(pair.before)]} → {OUTCOME_WORDS[_leading(pair.now)]}"
            found.append(f"{timeout(pair.stop.stop_timeout_ns)}: {words}")
    return found


def _point(started_at: str, results: tuple[TrialResult, ...], changed: str) -> TrendPoint:
    known = _performed(results)
    longest = max(result.observation.stop_timeout_ns for result in results)
    at_longest = [result for result in results if result.observation.stop_timeout_ns == longest]
    return TrendPoint(
        started_at=started_at,
        stops=len(results),
        outcome=_leading(at_longest),
        longest_timeout_ns=longest,
        median_ns=median_ns(Durations(known.measured_ns)),
        shortest_ns=known.measured_ns[0] if known.measured_ns else None,
        longest_ns=known.measured_ns[-1] if known.measured_ns else None,
        changed=changed,
    )
