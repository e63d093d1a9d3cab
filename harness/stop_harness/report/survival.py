"""Trials of one scenario → what they say about its shutdown duration and its outcome, with intervals. Pure.

A stop that SIGKILL ended is a right-censored observation: it would have needed longer than its stop timeout. Leaving it
out would make slow containers look fast, and counting its timeout as its duration would, too.

**Measured**: graceful stops of known duration. **Cut off**: killed stops, at their stop timeout; one that `--fast`
ended early as well, for its verdict says that it would have run into the timeout. **Left out**, and counted: lossy,
crashed and OOM-killed stops, which ended early *because* they did not finish their work, so that neither their end nor
"it would have needed longer" is the duration of a graceful stop; not running and inconclusive ones; graceful stops of
unknown duration; and stops whose stop signal is itself SIGKILL.

The stop timeouts of a scenario are pooled: the container does not know its timeout, so that the censoring tells nothing
about the duration. So are its stop moments, as the mixture that was asked for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from math import erfc, exp, log, sqrt
from statistics import NormalDist

from stop_harness import signals
from stop_harness.model import (
    NS_PER_S,
    CurvePoint,
    CutOff,
    GracefulShare,
    LeftOut,
    Outcome,
    Percentile,
    ScenarioStatistics,
    Share,
    StillRunning,
    TrialResult,
)
from stop_harness.records import dataclass
from stop_harness.report import reliability
from stop_harness.report.platforms import PLATFORMS
from stop_harness.wording import OUTCOME_WORDS

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2
_DEVIATIONS = NormalDist().inv_cdf(1 - _TAIL)
"""Standard deviations of a normal distribution that the interval reaches to each side."""
MIN_STOPS = 5
"""Stops from which a curve is drawn and percentiles are given; with fewer the durations speak for themselves."""
PERCENTS = (50, 90, 95, 99)
MAX_CURVE_POINTS = 200
"""Steps of a curve that are kept, evenly spaced and always the last; a plot shows no more, and results.json has every
duration."""
DEFAULTS_NS = tuple(sorted({platform.default_timeout_s * NS_PER_S for platform in PLATFORMS}))
"""The platforms' default stop timeouts."""

_NO_EVIDENCE = frozenset({Outcome.INCONCLUSIVE, Outcome.NOT_RUNNING})


@dataclass(frozen=True)
class Durations:
    """Shutdown durations of some trials, ascending: those that were measured, and stop timeouts that cut others off."""

    measured_ns: tuple[int, ...] = ()
    cut_off_ns: tuple[int, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    @property
    def stops(self) -> int:
        """Measured and cut off."""
        return len(self.measured_ns) + len(self.cut_off_ns)


def durations(results: Iterable[TrialResult]) -> Durations:
    """What each trial contributes, as the head of this module says."""
    measured, cut_off = [], []
    left_out: Counter[str] = Counter()
    for result in results:
        took, outcome = result.verdict.facts.shutdown_duration_ns, result.verdict.outcome
        if outcome is Outcome.KILLED and result.observation.record.stop_signal == signals.SIGKILL:
            left_out["stopped by SIGKILL"] += 1
        elif outcome is Outcome.KILLED:
            cut_off.append(result.observation.stop_timeout_ns)
        elif outcome is Outcome.GRACEFUL and took is not None:
            measured.append(took)
        elif outcome is Outcome.GRACEFUL:
            left_out["duration not known"] += 1
        else:
            left_out[OUTCOME_WORDS[outcome]] += 1
    return Durations(
        tuple(sorted(measured)),
        tuple(sorted(cut_off)),
        tuple(LeftOut(why, stops) for why, stops in sorted(left_out.items())),
    )


def statistics_of(scenario: str, results: Sequence[TrialResult]) -> ScenarioStatistics:
    """Everything for one scenario's row of the report."""
    known = durations(results)
    enough = known.stops >= MIN_STOPS
    steps = curve(known) if enough else ()
    return ScenarioStatistics(
        scenario=scenario,
        measured=len(known.measured_ns),
        cut_off=tuple(CutOff(after_ns, stops) for after_ns, stops in sorted(Counter(known.cut_off_ns).items())),
        left_out=known.left_out,
        at_timeouts=_graceful_shares(results),
        curve=_thinned(steps),
        percentiles=tuple(percentile(known, percent, steps) for percent in PERCENTS) if enough else (),
        at_defaults=tuple(_still_running(known, steps, after_ns) for after_ns in DEFAULTS_NS) if enough else (),
    )


# ── Survival curve ───────────────────────────────────────────────────────────────────────────────────────────────────


def curve(known: Durations) -> tuple[CurvePoint, ...]:
    """Kaplan–Meier estimate of the fraction still running, one point for every distinct time.

    The pointwise interval is Greenwood's on the log(−log) scale (Kalbfleisch and Prentice, The Statistical Analysis of
    Failure Time Data, 2002, section 1.4). Its formula has no value where nobody has left yet, and none where nobody is
    left. For the former this gives the exact binomial bound of the stops that were watched for so long. For the latter
    it gives 0 and, without stops that were cut off, the exact binomial bound; with such stops the upper bound of the
    step before, which the true curve cannot exceed.
    """
    ends = Counter(known.measured_ns)
    watched, running, variance = known.stops, 1.0, 0.0
    points: list[CurvePoint] = []
    for at, times in groupby(sorted((*known.measured_ns, *known.cut_off_ns))):
        ended = ends[at]  # whoever was cut off at this very time was watched up to it
        running *= (watched - ended) / watched
        if running == 1:  # nobody has exited yet: Greenwood's formula divides by log 1
            low, high = _TAIL ** (1 / watched), 1.0
        elif running == 0:  # nobody is left: it divides by 0
            before = points[-1].high if points else 1.0
            low, high = 0.0, before if known.cut_off_ns else share(0, known.stops).high
        else:
            variance += ended / (watched * (watched - ended))
            spread = _DEVIATIONS * sqrt(variance) / -log(running)
            low, high = running ** exp(spread), running ** exp(-spread)
        points.append(CurvePoint(at, running, low, high))
        watched -= len(tuple(times))  # who exited and who was cut off at this time: neither is watched any longer
    return tuple(points)


def _thinned(steps: tuple[CurvePoint, ...]) -> tuple[CurvePoint, ...]:
    """At most `MAX_CURVE_POINTS` of the steps."""
    if len(steps) <= MAX_CURVE_POINTS:
        return steps
    spacing = (len(steps) - 1) / (MAX_CURVE_POINTS - 1)
    return tuple(steps[round(index * spacing)] for index in range(MAX_CURVE_POINTS))


def _still_running(known: Durations, steps: tuple[CurvePoint, ...], after_ns: int) -> StillRunning:
    """The curve at one time. Beyond the last time on record it is known only where everything had ended by then."""
    if after_ns > steps[-1].after_ns and steps[-1].still_running > 0:
        return StillRunning(after_ns, None, None, None)
    before = [step for step in steps if step.after_ns <= after_ns]
    if before:
        return StillRunning(after_ns, before[-1].still_running, before[-1].low, before[-1].high)
    return StillRunning(after_ns, 1.0, _TAIL ** (1 / known.stops), 1.0)


# ── Percentiles ──────────────────────────────────────────────────────────────────────────────────────────────────────


def percentile(known: Durations, percent: int, steps: tuple[CurvePoint, ...]) -> Percentile:
    """Where the survival curve comes down to 1 − p, with bounds that assume no distribution.

    With n stops the r-th shortest lies below the p-quantile at most as often as a binomial (n, p) reaches r (order
    statistics: Hahn and Meeker, Statistical Intervals, 1991, section 5.2). A stop that was cut off counts at its
    timeout for the lower bound and as endless for the upper one, so that both hold whatever cut it off.
    """
    # 1e-9, because 1 − 0.9 is a little less than 0.1 as floating-point numbers go.
    reached = (step.after_ns for step in steps if step.still_running <= 1 - percent / 100 + 1e-9)
    below, above = _order_ranks(known.stops, percent / 100)
    # Lower bound: a stop that was cut off lasted at least its timeout, so it stands at that rank or a higher one.
    shortest = sorted((*known.measured_ns, *known.cut_off_ns))
    # Upper bound: it may have lasted for ever, so those that were cut off take the highest ranks, and a bound among
    # them is none.
    first_cut_off = len(known.measured_ns)
    return Percentile(
        percent,
        duration_ns=next(reached, None),
        low_ns=shortest[below - 1] if below else None,
        high_ns=known.measured_ns[above - 1] if above <= first_cut_off else None,
    )


@cache
def _order_ranks(n: int, p: float) -> tuple[int, int]:
    """(rank of the lower bound, 0 if none; rank of the upper bound, more than n if none), counted from 1."""
    # Lower: the largest r with P(B < r) ≤ α/2. Upper: the smallest r with P(B ≥ r) ≤ α/2.
    below = bisect_right(range(n + 1), _TAIL, key=lambda r: 1 - reliability.at_least_so_many(r + 1, n, p))
    above = bisect_left(range(n + 2), -_TAIL, key=lambda r: -reliability.at_least_so_many(r, n, p))
    return below, above


# ── Shares ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def share(count: int, total: int) -> Share:
    """`count` of `total` (at least 1) with the exact interval of Clopper and Pearson, Biometrika 26 (1934)."""
    low = reliability.chance_behind(count, total, _TAIL) if count else 0.0
    high = 1 - reliability.chance_behind(total - count, total, _TAIL) if count < total else 1.0
    return Share(count, total, low, high)


def _graceful_shares(results: Sequence[TrialResult]) -> tuple[GracefulShare, ...]:
    """k of n at each stop timeout that was tried and told something."""
    outcomes: dict[int, list[Outcome]] = defaultdict(list)
    for result in results:
        outcomes[result.observation.stop_timeout_ns].append(result.verdict.outcome)
    rows = []
    for stop_timeout_ns, found in sorted(outcomes.items()):
        telling = [outcome for outcome in found if outcome not in _NO_EVIDENCE]
        if telling:
            graceful = share(telling.count(Outcome.GRACEFUL), len(telling))
            rows.append(GracefulShare(stop_timeout_ns, graceful, len(found) - len(telling)))
    return tuple(rows)


# ── Two samples ──────────────────────────────────────────────────────────────────────────────────────────────────────

EXACT_UP_TO = 8
"""With as few stops in one of the samples, and no two equal, the p value is counted out, not approximated."""


def chance_of_ranks(longer: Sequence[int], shorter: Sequence[int]) -> float:
    """Mann and Whitney's test, one-sided: how often chance alone lets `longer` rank at least so high (the p value).

    Exact for few stops without ties; else the normal approximation with the corrections for ties and continuity (Mann
    and Whitney, Ann. Math. Stat. 18, 1947; Hollander, Wolfe and Chicken, Nonparametric Statistical Methods, 2014,
    section 4.1).
    """
    m, n = len(longer), len(shorter)
    ordered = sorted(shorter)
    # Pairs in which the one of `longer` is above the other; equal ones count half.
    wins = sum((bisect_left(ordered, took) + bisect_right(ordered, took)) / 2 for took in longer)
    equal = [count for count in Counter((*longer, *shorter)).values() if count > 1]
    if not equal and min(m, n) <= EXACT_UP_TO:
        ways = _ways_to_win(m, n)
        return sum(ways[round(wins) :]) / sum(ways)
    size = m + n
    variance = m * n / 12 * (size + 1 - sum(count**3 - count for count in equal) / (size * (size - 1)))
    if not variance:  # all are equal
        return 1.0
    return erfc((wins - m * n / 2 - 0.5) / sqrt(2 * variance)) / 2


def _ways_to_win(m: int, n: int) -> list[int]:
    """How many of the orders of m and n stops have 0, 1, … m n pairs that the first sample wins: the coefficients of
    the Gaussian binomial, the product of (1 - q^(n + i)) / (1 - q^i) for i from 1 to m."""
    m, n = min(m, n), max(m, n)
    ways = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        # Times 1 − q^(n + i), from the highest power down, so that no term is used after it was changed; …
        for power in range(m * n, n + i - 1, -1):
            ways[power] -= ways[power - n - i]
        # … and divided by 1 − q^i, from the lowest power up, because each term needs the one before it.
        for power in range(i, m * n + 1):
            ways[power] += ways[power - i]
    return ways
