"""Survival curve, percentiles and shares: against textbook examples, brute force, and how often the intervals hold."""

from __future__ import annotations

import math
import random
import warnings
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stop_harness.model import NS_PER_S, CurvePoint, LeftOut, Outcome, TrialResult
from stop_harness.report import survival
from stop_harness.report.survival import MAX_CURVE_POINTS, Durations
from tests.parts import changed
from tests.reports_factory import Sample, report_of, scenario, trial

SECOND = NS_PER_S

FREIREICH = Durations(
    measured_ns=tuple(week * SECOND for week in (6, 6, 6, 7, 10, 13, 16, 22, 23)),
    cut_off_ns=tuple(week * SECOND for week in (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)),
)
"""Weeks in remission under 6-mercaptopurine (Freireich et al., Blood 21, 1963), the example of most textbooks."""

durations = st.builds(
    lambda measured, cut_off: Durations(tuple(sorted(measured)), tuple(sorted(cut_off))),
    st.lists(st.integers(0, 12).map(lambda value: value * SECOND), max_size=12),
    st.lists(st.sampled_from([2, 5, 10]).map(lambda value: value * SECOND), max_size=8),
)


def stop(outcome: Outcome, took_s: float | None, *, timeout_s: float = 10, repetition: int = 1) -> TrialResult:
    """A trial with this outcome and duration."""
    made = trial(Sample("web", "", 1.0), timeout_s, repetition)
    took = None if took_s is None else round(took_s * SECOND)
    facts = replace(made.verdict.facts, shutdown_duration_ns=took)
    return TrialResult(made.observation, replace(made.verdict, outcome=outcome, facts=facts))


# ── Survival curve ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("week", "running", "low", "high"),
    [
        (6, 0.8571, 0.6197, 0.9516),
        (7, 0.8067, 0.5631, 0.9228),
        (10, 0.7529, 0.5032, 0.8894),
        (13, 0.6902, 0.4316, 0.8491),
        (16, 0.6275, 0.3675, 0.8049),
        (22, 0.5378, 0.2678, 0.7468),
        (23, 0.4482, 0.1881, 0.6801),
    ],
)
def test_the_curve_and_its_band_are_those_of_the_textbook(week: int, running: float, low: float, high: float) -> None:
    """Estimates and log(−log) intervals as statistics packages print them for these data."""
    point = next(point for point in survival.curve(FREIREICH) if point.after_ns == week * SECOND)
    assert (point.still_running, point.low, point.high) == pytest.approx((running, low, high), abs=6e-5)


def product_limit(known: Durations, after_ns: int) -> Fraction:
    """Kaplan and Meier's product, multiplied out as in their paper."""
    every = (*known.measured_ns, *known.cut_off_ns)
    left = Fraction(1)
    for at in sorted(set(known.measured_ns)):
        if at <= after_ns:
            at_risk = sum(time >= at for time in every)
            left *= Fraction(at_risk - known.measured_ns.count(at), at_risk)
    return left


@given(durations)
def test_the_curve_is_the_product_of_those_who_stay(known: Durations) -> None:
    """At every time; it starts at 1 at most, never rises, and lies within its band."""
    points = survival.curve(known)
    assert [point.after_ns for point in points] == sorted({*known.measured_ns, *known.cut_off_ns})
    for point in points:
        assert point.still_running == pytest.approx(float(product_limit(known, point.after_ns)))
        assert 0 <= point.low <= point.still_running <= point.high <= 1
        assert not any(math.isnan(value) for value in (point.low, point.high))
    shares = [point.still_running for point in points]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.oracle
@given(durations)
def test_the_curve_and_its_band_are_scipys(known: Durations) -> None:
    """Where Greenwood's formula has a value."""
    from scipy import stats

    points = survival.curve(known)
    if not points:
        return
    expected = stats.ecdf(stats.CensoredData(uncensored=known.measured_ns, right=known.cut_off_ns)).sf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it has none at both ends
        band = expected.confidence_interval(survival.CONFIDENCE, method="log-log")
    assert [point.still_running for point in points] == pytest.approx(expected.probabilities.tolist())
    for point, low, high in zip(points, band.low.probabilities, band.high.probabilities, strict=True):
        if 0 < point.still_running < 1:
            assert (point.low, point.high) == pytest.approx((float(low), float(high)))


def running_at(points: tuple[CurvePoint, ...], after_ns: int) -> CurvePoint:
    """The curve at one time that a point stands at or before."""
    return points[bisect_right([point.after_ns for point in points], after_ns) - 1]


@pytest.mark.long
@pytest.mark.parametrize(("stops", "limit_s"), [(10, 40), (50, 40), (20, 12)])
def test_the_band_holds_the_true_curve_about_as_often_as_it_says(stops: int, limit_s: int) -> None:
    """Exponential durations with a mean of 10 s, cut off at `limit_s`: the truth at 7 s lies within the pointwise band
    in about 95 % of 2,000 simulated scenarios; the formula is an approximation, so a little less is let pass."""
    draw, at, held = random.Random(20261123), 7 * SECOND, 0
    truth = math.exp(-0.7)
    for _ in range(2000):
        took = [round(draw.expovariate(0.1) * SECOND) for _ in range(stops)]
        known = Durations(
            tuple(sorted(time for time in took if time < limit_s * SECOND)),
            tuple(limit_s * SECOND for time in took if time >= limit_s * SECOND),
        )
        points = (CurvePoint(0, 1.0, survival.share(stops, stops).low, 1.0), *survival.curve(known))
        point = running_at(points, at)
        held += point.low <= truth <= point.high
    assert 0.93 <= held / 2000 <= 0.99


def test_before_anybody_left_the_band_is_the_exact_binomial_bound() -> None:
    """None of 25 left within 10 s: with 97.5 % confidence at least 86.3 % stay that long."""
    (point,) = survival.curve(Durations((), (10 * SECOND,) * 25))
    assert (point.still_running, point.high) == (1.0, 1.0)
    assert point.low == pytest.approx(0.025 ** (1 / 25))


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    """Ten thousand stops need no ten thousand steps in every report."""
    results = [stop(Outcome.GRACEFUL, 1 + index / 1000, repetition=index) for index in range(1, 3001)]
    points = survival.statistics_of("web", results).curve
    assert len(points) == MAX_CURVE_POINTS
    assert (points[0].after_ns, points[-1].after_ns) == (1_001_000_000, 4 * SECOND)


# ── Percentiles ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_ranks_are_those_of_the_tables() -> None:
    """Median of 10: 2nd and 9th; of 20: 6th and 15th; of 25: 8th and 18th, as tables of the sign test print them.

    Five stops bound no median, and the 95th percentile of 20 has no upper bound.
    """
    assert survival._order_ranks(10, 0.5) == (2, 9)
    assert survival._order_ranks(20, 0.5) == (6, 15)
    assert survival._order_ranks(25, 0.5) == (8, 18)
    assert survival._order_ranks(5, 0.5) == (0, 6)
    below, above = survival._order_ranks(20, 0.95)
    assert (below, above > 20) == (17, True)


def tail(n: int, p: Fraction, at_least: int) -> Fraction:
    """P(B ≥ at_least) for a binomial (n, p), summed up."""
    return sum((math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(max(at_least, 0), n + 1)), Fraction(0))


@given(st.integers(1, 60), st.sampled_from(survival.PERCENTS))
def test_the_ranks_are_the_innermost_that_keep_their_promise(n: int, percent: int) -> None:
    """Each side errs at most 2.5 %, and one rank further in would err more often."""
    p, alpha = Fraction(percent, 100), Fraction(25, 1000)
    below, above = survival._order_ranks(n, percent / 100)
    assert 1 - tail(n, p, below) <= alpha < 1 - tail(n, p, below + 1)
    assert tail(n, p, above) <= alpha < tail(n, p, above - 1)


@pytest.mark.oracle
@pytest.mark.parametrize("n", [1, 37, 368, 5_000, 10_000])
@pytest.mark.parametrize("percent", survival.PERCENTS)
def test_the_ranks_of_many_stops_keep_their_promise_by_scipys_distribution(n: int, percent: int) -> None:
    """As above, for more stops than fractions are quick for."""
    from scipy.stats import binom

    p = percent / 100
    below, above = survival._order_ranks(n, p)
    assert binom.cdf(below - 1, n, p) <= 0.025 < binom.cdf(below, n, p)
    assert binom.sf(above - 1, n, p) <= 0.025 < binom.sf(above - 2, n, p)


@given(durations.filter(lambda known: known.stops > 0), st.sampled_from(survival.PERCENTS))
def test_a_percentile_lies_between_its_bounds(known: Durations, percent: int) -> None:
    """Without stops that were cut off it is the order statistic of rank ⌈n p⌉."""
    found = survival.percentile(known, percent, survival.curve(known))
    if not known.cut_off_ns:
        assert found.duration_ns == known.measured_ns[math.ceil(Fraction(known.stops * percent, 100)) - 1]
    if found.low_ns is not None and found.duration_ns is not None:
        assert found.low_ns <= found.duration_ns
    if found.high_ns is not None:
        assert found.duration_ns is not None
        assert found.duration_ns <= found.high_ns


def test_a_percentile_that_too_many_did_not_live_to_see_is_not_made_up() -> None:
    """Six of ten were cut off at 5 s: the median is not known, only that it is no less than the shortest bound."""
    known = Durations(tuple(second * SECOND for second in (1, 2, 3, 4)), (5 * SECOND,) * 6)
    found = survival.percentile(known, 50, survival.curve(known))
    assert (found.duration_ns, found.low_ns, found.high_ns) == (None, 2 * SECOND, None)


@pytest.mark.long
@pytest.mark.parametrize("percent", [50, 90])
@pytest.mark.parametrize(
    "draw",
    [lambda source: source.lognormvariate(1, 0.7), lambda source: source.choice([0.5, 1.0, 12.0])],
    ids=["skewed", "three values"],
)
def test_the_bounds_hold_at_least_as_often_as_they_say(percent: int, draw: Callable[[random.Random], float]) -> None:
    """Whatever the distribution, and although stops are cut off at 2 s and 8 s: 95 % of 2,000 simulations and more."""
    source = random.Random(7)
    many = sorted(draw(random.Random(seed)) for seed in range(200_001))
    truth = many[math.ceil(len(many) * percent / 100) - 1] * SECOND
    held = 0
    for _ in range(2000):
        took = [(draw(source), limit) for limit in (2, 8, 30) for _ in range(12)]
        known = Durations(
            tuple(sorted(round(time * SECOND) for time, limit in took if time < limit)),
            tuple(sorted(limit * SECOND for time, limit in took if time >= limit)),
        )
        found = survival.percentile(known, percent, ())
        low, high = found.low_ns or 0, found.high_ns or math.inf
        held += low <= truth * (1 + 1e-9) and truth * (1 - 1e-9) <= high
    assert held / 2000 >= 0.945


# ── Shares ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1), (1, 20, 0.0013, 0.2487), (1, 1, 0.025, 1)],
)
def test_the_interval_of_a_share_is_that_of_the_tables(count: int, total: int, low: float, high: float) -> None:
    """Clopper and Pearson's, as printed in tables of exact binomial limits."""
    found = survival.share(count, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 40).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
@settings(max_examples=50)
def test_the_interval_of_a_share_ends_where_the_tails_are_too_thin(pair: tuple[int, int]) -> None:
    """At each end the observed count or a more extreme one would come up in 2.5 % of all samples."""
    count, total = pair
    found = survival.share(count, total)
    if count:
        assert float(tail(total, Fraction(found.low), count)) == pytest.approx(0.025, rel=1e-6)
    if count < total:
        assert float(1 - tail(total, Fraction(found.high), count + 1)) == pytest.approx(0.025, rel=1e-6)


# ── Two samples ──────────────────────────────────────────────────────────────────────────────────────────────────────

with_ties, mostly_without = (st.lists(st.integers(1, most), min_size=1, max_size=25) for most in (9, 10**10))


@pytest.mark.oracle
@given(with_ties | mostly_without, with_ties | mostly_without)
def test_the_p_value_of_ranks_is_scipys(longer: list[int], shorter: list[int]) -> None:
    """With ties and without, counted out and approximated. Where all are equal scipy has no value; ours is 1."""
    from scipy.stats import mannwhitneyu

    found = survival.chance_of_ranks(longer, shorter)
    if len({*longer, *shorter}) == 1:
        assert found == 1
    else:
        assert found == pytest.approx(float(mannwhitneyu(longer, shorter, alternative="greater").pvalue), rel=1e-9)


# ── What counts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_only_graceful_stops_are_durations_and_only_kills_are_cut_off() -> None:
    """The others are left out, and counted by the reason."""
    results = [
        stop(Outcome.GRACEFUL, 1.5),
        stop(Outcome.GRACEFUL, None),
        stop(Outcome.KILLED, 10.02),
        stop(Outcome.KILLED, None),
        stop(Outcome.LOSSY, 0.1),
        stop(Outcome.CRASHED, 0.2),
        stop(Outcome.OOM_KILLED, 0.3),
        stop(Outcome.NOT_RUNNING, None),
        stop(Outcome.INCONCLUSIVE, None),
    ]
    found = survival.durations(results)
    assert found.measured_ns == (1_500_000_000,)
    assert found.cut_off_ns == (10 * SECOND, 10 * SECOND)
    assert {left.why: left.stops for left in found.left_out} == {
        "duration not known": 1,
        "lossy": 1,
        "crashed": 1,
        "oom killed": 1,
        "not running": 1,
        "inconclusive": 1,
    }


def test_a_stop_whose_signal_is_sigkill_says_nothing_about_the_duration() -> None:
    """It ended at once, but neither gracefully nor because it was cut off."""
    killed = stop(Outcome.KILLED, 0.001)
    killed = replace(killed, observation=changed(killed.observation, stop_signal=9))
    assert survival.durations([killed]) == Durations(left_out=(LeftOut("stopped by SIGKILL", 1),))


def test_the_share_at_a_stop_timeout_leaves_out_what_says_nothing() -> None:
    """Two graceful, one killed, one inconclusive: 2 of 3."""
    results = [stop(Outcome.GRACEFUL, 1), stop(Outcome.GRACEFUL, 1), stop(Outcome.KILLED, None)]
    (row,) = survival.statistics_of("web", [*results, stop(Outcome.INCONCLUSIVE, None)]).at_timeouts
    assert (row.share.count, row.share.total, row.left_out) == (2, 3, 1)


def test_fewer_than_five_stops_have_no_curve() -> None:
    """Their durations speak for themselves."""
    four = [stop(Outcome.GRACEFUL, 1 + index, repetition=index) for index in range(4)]
    found = survival.statistics_of("web", four)
    assert (found.measured, found.curve, found.percentiles, found.at_defaults) == (4, (), (), ())
    assert len(survival.statistics_of("web", [*four, stop(Outcome.KILLED, None)]).curve) == 5


def test_beyond_the_last_stop_on_record_nothing_is_known() -> None:
    """Five stops at 10 s of which one was cut off say nothing about 30 s; five that all left do."""
    left = [stop(Outcome.GRACEFUL, 1 + index, repetition=index) for index in range(4)]
    known = {
        at.after_ns // SECOND: at.share
        for at in survival.statistics_of("web", [*left, stop(Outcome.KILLED, None)]).at_defaults
    }
    assert known == {5: pytest.approx(0.2), 10: pytest.approx(0.2), 30: None}
    all_left = survival.statistics_of("web", [*left, stop(Outcome.GRACEFUL, 6)]).at_defaults
    assert all_left[-1].share == 0


def test_every_scenario_of_a_report_has_its_statistics_in_order() -> None:
    """Also one that was never run."""
    first, second = Sample("a", "", 1.0), Sample("b", "", None)
    results = [trial(first, 10, repetition) for repetition in range(1, 7)]
    made = report_of(results, (scenario(first), scenario(second)))
    assert [(item.scenario, item.measured) for item in made.statistics] == [("a", 6), ("b", 0)]
