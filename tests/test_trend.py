"""Runs beside each other: what counts as a change, and how seldom chance is taken for one."""

from __future__ import annotations

import json
import math
import random
import weakref
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.model import (
    NS_PER_S,
    Comparison,
    DurationChange,
    Outcome,
    Readiness,
    Report,
    RunWarning,
    Scenario,
    Status,
    StatusChange,
    StopChange,
    StopId,
    StopPlan,
    Subject,
    TrialResult,
)
from stop_harness.renderers import html, markdown, terminal, trend_html
from stop_harness.renderers.plots import trend_plot
from stop_harness.renderers.results import results_json
from stop_harness.renderers.sections import trend_text
from stop_harness.report import trend
from tests.parts import changed
from tests.reports_factory import DOCKER, Sample, report_of, run_info, trial
from tests.test_renderers import HOSTILE

TEN = 10 * NS_PER_S


def stop(took_s: float | None, *, name: str = "web", timeout_s: float = 10, repetition: int = 1) -> TrialResult:
    """A stop that takes so long, None for ever; killed at its stop timeout where that is less."""
    made = trial(Sample(name, "", 0.0), timeout_s, repetition)
    killed = took_s is None or took_s >= timeout_s
    facts = replace(made.verdict.facts, shutdown_duration_ns=round((timeout_s if killed else took_s or 0) * NS_PER_S))
    outcome, status = (Outcome.KILLED, Status.FAIL) if killed else (Outcome.GRACEFUL, Status.PASS)
    return TrialResult(made.observation, replace(made.verdict, outcome=outcome, status=status, facts=facts))


def stops(took_s: Sequence[float | None], **which: float | str) -> list[TrialResult]:
    """Repetitions of one stop."""
    return [stop(took, repetition=number, **which) for number, took in enumerate(took_s, start=1)]  # type: ignore[arg-type]


def report(*results: TrialResult, started_at: str = "2026-11-23T11:00:00+00:00", **run: object) -> Report:
    """A report of these trials, without what a comparison does not look at."""
    names = dict.fromkeys(result.observation.scenario for result in results)
    return Report(
        run=replace(run_info(), started_at=started_at, **run),  # type: ignore[arg-type] # fields of RunInfo
        scenarios=tuple(Scenario(name, Subject(image=f"{name}:1")) for name in names),
        results=results,
        compliance=(),
        platforms=(),
        trials_planned=len(results),
    )


def whole(*results: TrialResult) -> Report:
    """A report with everything that is shown."""
    return report_of(list(results), report(*results).scenarios)


def only_change(before: list[TrialResult], now: list[TrialResult]) -> StopChange:
    (change,) = trend.compare(report(*before), report(*now)).changes
    return change


# ── Slower and faster ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slowdown_beyond_chance_is_named_with_its_test() -> None:
    """Ten stops around 5 s, now ten around 7 s."""
    change = only_change(stops([5 + index / 50 for index in range(10)]), stops([7 + index / 50 for index in range(10)]))
    assert change.duration is DurationChange.SLOWER
    assert change.duration_test is not None
    assert change.duration_test.name == trend.MANN_WHITNEY
    assert change.duration_test.p_value < 0.001
    assert change.duration_basis == "median 5.09 s then, 7.09 s now (+39%)."
    back = only_change(stops([7 + index / 50 for index in range(10)]), stops([5 + index / 50 for index in range(10)]))
    assert back.duration is DurationChange.FASTER


def test_a_small_difference_is_none_however_certain() -> None:
    """5 % in a hundred stops: no chance, and no matter."""
    before, now = ([start + index / 1000 for index in range(100)] for start in (5, 5.25))
    change = only_change(stops(before), stops(now))
    assert (change.duration, change.duration_test, change.differs) == (DurationChange.SAME, None, False)


def test_a_difference_within_the_measurement_error_is_none() -> None:
    """2 ms against 4 ms is twice as long, and no more than three times the error of 1 ms."""
    change = only_change(stops([0.002 + i / 1e6 for i in range(20)]), stops([0.004 + i / 1e6 for i in range(20)]))
    assert change.duration is DurationChange.SAME
    change = only_change(stops([0.002 + i / 1e6 for i in range(20)]), stops([0.006 + i / 1e6 for i in range(20)]))
    assert change.duration is DurationChange.SLOWER


def test_too_few_repetitions_are_said_to_be_too_few() -> None:
    """One stop each proves nothing, even twice as long; four cannot reach p < 0.01, five can."""
    single = only_change(stops([3]), stops([6]))
    assert (single.duration, single.differs) == (DurationChange.TOO_FEW, True)
    assert "5 in both runs would do (--repeat 5)" in single.duration_basis
    assert only_change(stops([3.0, 3.1, 3.2, 3.3]), stops([6.0, 6.1, 6.2, 6.3])).duration is DurationChange.TOO_FEW
    five = only_change(stops([3.0, 3.1, 3.2, 3.3, 3.4]), stops([6.0, 6.1, 6.2, 6.3, 6.4]))
    assert five.duration is DurationChange.SLOWER


def test_stops_that_were_cut_off_count_as_the_slowest() -> None:
    """Ten around 5 s; now four of ten around 9 s and six killed at 10 s: the median is beyond the stop timeout."""
    change = only_change(stops([5 + i / 50 for i in range(10)]), stops([9 + i / 50 for i in range(4)] + [None] * 6))
    assert change.duration is DurationChange.SLOWER
    assert change.duration_basis == "median 5.09 s then, more than 10 s now."


def test_stops_that_were_all_killed_in_both_runs_have_no_durations_to_compare() -> None:
    """They are as bad as they were."""
    change = only_change(stops([None] * 10), stops([None] * 10))
    assert (change.status, change.duration) == (StatusChange.SAME, DurationChange.NOT_MEASURED)


def test_derived_trials_add_no_durations() -> None:
    """They repeat that of the stop they follow from."""
    derived = [
        replace(item, observation=changed(item.observation, derived_from="web.t30s.r1")) for item in stops([5.0] * 10)
    ]
    assert only_change(derived, stops([9.0] * 10)).duration is DurationChange.NOT_MEASURED


SHAPES: dict[str, Callable[[random.Random], float]] = {
    "skewed": lambda draw: draw.lognormvariate(1.5, 0.5),
    "two values": lambda draw: draw.choice([0.5, 12.0]) + draw.random() / 10,
    "often cut off": lambda draw: draw.expovariate(1 / 8),
}


@pytest.mark.long
@pytest.mark.parametrize("repetitions", [5, 10, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_equal_runs_alarm_no_more_often_than_promised(shape: str, repetitions: int) -> None:
    """1,000 simulated pairs of equal runs with two stops each: at most 1 % are called slower anywhere, and at most 1 %
    broken; 1.8 % are let pass, which a true rate of 1 % exceeds once in a hundred times."""
    draw, slower, broken = random.Random(f"{shape} {repetitions}"), 0, 0
    for _ in range(1000):
        runs = [
            report(
                *stops([SHAPES[shape](draw) for _ in range(repetitions)]),
                *stops([SHAPES[shape](draw) for _ in range(repetitions)], timeout_s=11),
            )
            for _ in range(2)
        ]
        found = trend.compare(*runs)
        slower += bool(found.with_duration(DurationChange.SLOWER))
        broken += bool(found.with_status(StatusChange.BROKE))
    assert slower <= 18
    assert broken <= 18


@pytest.mark.long
@pytest.mark.parametrize("spread", [0.02, 0.1, 0.15])
def test_a_slowdown_of_a_third_is_found_with_twenty_repetitions(spread: float) -> None:
    """30 % longer, durations that scatter by 2 to 15 %: found in more than 95 % of 300 simulated pairs."""
    draw, found = random.Random(30), 0
    for _ in range(300):
        before = stops([5 * draw.lognormvariate(0, spread) for _ in range(20)], timeout_s=30)
        now = stops([6.5 * draw.lognormvariate(0, spread) for _ in range(20)], timeout_s=30)
        found += only_change(before, now).duration is DurationChange.SLOWER
    assert found / 300 > 0.95


# ── Broke and cured ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_single_stop_that_fails_now_broke_and_is_called_a_single_one() -> None:
    """No test can tell, and silence would be worse."""
    change = only_change(stops([1]), stops([None]))
    assert (change.status, change.status_test) == (StatusChange.BROKE, None)
    assert change.status_basis == "1 of 1 passed then, 0 of 1 now; a single stop each, which may be chance."
    assert only_change(stops([None]), stops([1])).status is StatusChange.CURED


def test_stops_that_all_fail_now_broke_with_fishers_p_value() -> None:
    """3 of 3, now 0 of 3: one chance in twenty; 10 and 10 leave no doubt."""
    few = only_change(stops([1] * 3), stops([None] * 3))
    assert few.status is StatusChange.BROKE
    assert few.status_test is not None
    assert few.status_test.p_value == pytest.approx(1 / 20)
    assert "do not rule out to be chance" in few.status_basis
    assert "chance" not in only_change(stops([1] * 10), stops([None] * 10)).status_basis


def test_a_stop_that_fails_now_and_then_must_fail_more_often_than_chance_explains() -> None:
    """One failure in ten after none in ten is nothing; eight are."""
    assert only_change(stops([1] * 10), stops([1] * 9 + [None])).status is StatusChange.SAME
    assert only_change(stops([1] * 10), stops([1] * 2 + [None] * 8)).status is StatusChange.BROKE
    assert only_change(stops([1] * 2 + [None] * 8), stops([1] * 10)).status is StatusChange.CURED


def test_a_stop_that_cannot_be_judged_has_neither_broken_nor_been_cured() -> None:
    """Inconclusive is no failure."""
    (unclear,) = stops([1])
    unclear = replace(unclear, verdict=replace(unclear.verdict, status=Status.INCONCLUSIVE))
    change = only_change(stops([1]), [unclear])
    assert (change.status, change.status_basis) == (StatusChange.UNCLEAR, "No stop could be judged now.")


def hypergeometric(before: tuple[int, int], now: tuple[int, int], failed_now: int) -> Fraction:
    """P(exactly so many of all failures fall on the run `now`)."""
    failed, here, there = before[1] + now[1], sum(now), sum(before)
    ways = math.comb(here, failed_now) * math.comb(there, failed - failed_now)
    return Fraction(ways, math.comb(here + there, failed))


@given(*[st.tuples(st.integers(0, 8), st.integers(0, 8)).filter(sum)] * 2)
def test_fishers_p_value_is_the_sum_of_its_tail_and_never_below_the_smallest(
    before: tuple[int, int], now: tuple[int, int]
) -> None:
    """Summed up by hand, in the direction that is seen."""
    failed = before[1] + now[1]
    worse = Fraction(now[0], sum(now)) < Fraction(before[0], sum(before))
    possible = range(max(0, failed - sum(before)), min(failed, sum(now)) + 1)
    tail = sum(
        hypergeometric(before, now, count) for count in possible if (count >= now[1] if worse else count <= now[1])
    )
    assert trend._fisher(before, now) == pytest.approx(float(tail))
    assert trend._smallest_fisher(before, now) <= float(tail) * (1 + 1e-9)


def test_p_values_are_adjusted_for_the_tests_that_could_alarm() -> None:
    """Tarone: of a hundred tests ninety-nine cannot reach 0.01, so that one is tested as if alone."""
    assert trend._tests_at_once([0.05] * 99 + [0.001]) == 1
    assert trend._tests_at_once([1e-9] * 100) == 100
    assert trend._tests_at_once([0.004] * 10) == 3
    assert trend._tests_at_once([]) == 1


# ── Whether the runs can be compared ─────────────────────────────────────────────────────────────────────────────────


def test_new_and_gone_stops_are_named() -> None:
    """By scenario and stop timeout."""
    found = trend.compare(report(stop(1), stop(1, name="old")), report(stop(1), stop(1, timeout_s=30)))
    assert found.new == (StopId("web", 3 * TEN, 0),)
    assert found.gone == (StopId("old", TEN, 0),)
    assert [change.stop for change in found.changes] == [StopId("web", TEN, 0)]


def test_runs_of_another_engine_machine_or_version_are_compared_with_a_warning() -> None:
    """Each with what to do about it; equal runs have none."""
    run = report(stop(1))
    assert trend.compare(run, run).warnings == ()
    other = report(stop(1), engine=replace(DOCKER, version="27.0"), cpu_count=64, harness_version="9.9")
    found = {warning.rule: warning for warning in trend.compare(run, other).warnings}
    assert found.keys() == {"other-engine", "other-machine", "other-harness"}
    assert "Docker Engine 27.0" in found["other-engine"].message
    assert all(warning.advice for warning in found.values())


def test_a_busy_machine_in_one_of_the_runs_is_a_warning() -> None:
    """Slower may then mean no more than busier; where both were busy, or neither, there is nothing to say."""
    quiet = report(stop(1))
    busy = replace(quiet, warnings=(RunWarning("overload", "", ""),))
    assert [warning.rule for warning in trend.compare(quiet, busy).warnings] == ["other-load"]
    assert "the baseline only" in trend.compare(busy, quiet).warnings[0].message
    assert trend.compare(busy, busy).warnings == ()


def test_a_scenario_that_changed_is_a_warning_and_its_repetitions_are_no_change() -> None:
    """Another readiness makes another stop; --repeat and a new description do not."""
    run = report(stop(1))
    (scenario,) = run.scenarios
    more = replace(scenario, repeat=20, description="new", stop=StopPlan(timeouts_ns=(TEN, 3 * TEN)))
    assert trend.compare(run, replace(run, scenarios=(more,))).warnings == ()
    other = replace(scenario, readiness=Readiness(tcp_port=80))
    (warning,) = trend.compare(run, replace(run, scenarios=(other,))).warnings
    assert (warning.rule, "web" in warning.message) == ("changed-scenario", True)


# ── Many runs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def day(number: int) -> str:
    return f"2026-11-{number:02d}T08:00:00+00:00"


def test_a_trend_marks_changed_outcomes() -> None:
    """A stop that was killed on the third day and graceful again on the fourth. That runs are in the order of their
    starts is proved in `test_trend_cli.py`."""
    runs = [report(*stops([took] * 3), started_at=day(at)) for at, took in ((1, 1), (2, 1.5), (3, None), (4, 1))]
    found = trend.over(runs)
    (series,) = found.series
    assert [point.started_at for point in series.points] == [day(at) for at in (1, 2, 3, 4)]
    assert [point.changed for point in series.points] == ["", "", "10 s: graceful → killed", "10 s: killed → graceful"]
    assert [point.median_ns for point in series.points] == [NS_PER_S, NS_PER_S * 3 // 2, None, NS_PER_S]
    assert len(found.comparisons) == 3


def test_a_trend_keeps_one_run_beside_the_next() -> None:
    """Of those before it only the one that it is compared with is still there when it is made."""
    kept: list[weakref.ref[Report]] = []
    living: list[int] = []

    def one_by_one() -> Iterator[Report]:
        for at in range(1, 9):
            made = report(*stops([1.0] * 3), started_at=day(at))
            kept.append(weakref.ref(made))
            yield made
            del made
            living.append(sum(known() is not None for known in kept))

    assert len(trend.over(one_by_one()).comparisons) == 7
    assert living == [1] * 8


def test_the_scenarios_of_a_trend_are_those_of_the_latest_run_first() -> None:
    """Then those that it does not hold, as the run before had them."""
    runs = [
        report(stop(1, name="old"), stop(1, name="both"), started_at=day(1)),
        report(stop(1, name="both"), stop(1, name="new"), started_at=day(2)),
    ]
    assert [item.scenario for item in trend.over(runs).series] == ["both", "new", "old"]


def test_a_flaky_outcome_is_no_change_of_the_outcome() -> None:
    """Five of ten killed, then six: the same flakiness."""
    runs = [report(*stops([1] * (10 - bad) + [None] * bad), started_at=day(bad)) for bad in (5, 6)]
    (series,) = trend.over(runs).series
    assert [point.changed for point in series.points] == ["", ""]


def test_a_scenario_is_compared_with_the_last_run_that_holds_it() -> None:
    """A run of another scenario in between does not hide the change."""
    runs = [
        report(stop(1), started_at=day(1)),
        report(stop(1, name="other"), started_at=day(2)),
        report(stop(None), started_at=day(3)),
    ]
    series = {item.scenario: item for item in trend.over(runs).series}
    assert [point.changed for point in series["web"].points] == ["", "10 s: graceful → killed"]


# ── In every format ──────────────────────────────────────────────────────────────────────────────────────────────────


def compared() -> Report:
    """A run in which one stop broke, one is slower, one unproved, one new and one gone."""
    two, four = ([start + index / 50 for index in range(10)] for start in (2, 4))
    before = [*stops([1] * 10, name="broke"), *stops(two, name="slow"), stop(3), stop(1, name="old")]
    now = [*stops([None] * 10, name="broke"), *stops(four, name="slow"), stop(6), stop(1, name="new")]
    baseline = report(*before, started_at=day(1), cpu_count=2)
    made = whole(*now)
    return replace(made, comparison=trend.compare(baseline, made))


def test_the_worst_news_come_first_and_each_once() -> None:
    """A stop that broke is not also listed as slower."""
    comparison = compared().comparison
    assert comparison is not None
    assert [item.word for item in trend_text.news(comparison)] == ["broke", "slower", "unproved", "gone", "new"]
    assert trend_text.headline(comparison).endswith(": 1 broke, 1 slower, 1 new, 1 gone; 1 stop as before.")


def test_every_format_says_what_changed() -> None:
    """With the name of the test, the p value and the warning that the machines differ."""
    made = compared()
    document = json.loads(results_json.render(made))
    jsonschema.validate(document, results_json.schema())
    found = {item["stop"]["scenario"]: item for item in document["comparison"]["changes"]}
    assert (found["broke"]["status"], found["slow"]["duration"]) == ("broke", "slower")
    assert found["slow"]["duration_test"]["name"] == trend.MANN_WHITNEY
    assert document["comparison"]["warnings"][0]["rule"] == "other-machine"
    texts = (terminal.summary(made, width=200), markdown.render(made), html.render(made))
    for text in texts:
        plain = " ".join(text.split())
        assert "1 broke, 1 slower" in plain
        assert "Mann–Whitney U test, one-sided, p " in plain
        assert "another machine" in plain


def test_two_runs_stand_side_by_side() -> None:
    """Each stop once, with its outcome in either run: what changed with how that is known, then the rest."""
    made = compared()
    comparison = made.comparison
    assert comparison is not None
    changed, same = trend_text.side_by_side(comparison)
    assert [item.word for item in changed] == ["broke", "slower", "unproved", "new", "gone"]
    stops = [item.stop for item in (*changed, *same)]
    every = [*(change.stop for change in comparison.changes), *comparison.new, *comparison.gone]
    assert sorted(stops) == sorted(map(trend_text.stop_name, every))
    broke = changed[0]
    assert broke.before.startswith("graceful, ")
    assert broke.now.startswith("killed, 0 of ")
    assert not any(item.word or item.why for item in same)
    page = html.render(made, {})
    for text in (page, markdown.render(made)):
        part = text.partition("Against the baseline</h2>" if text is page else "### Against the baseline")[2]
        assert part.index("Baseline") < part.index("This run") < part.index(broke.now)
        assert broke.before in part
        assert broke.now in part
        assert f"{len(same)} stop" in part
    assert comparison.baseline.run_id in page, "what the runs were made with stands side by side, too"


def test_without_a_baseline_nothing_is_said_of_one() -> None:
    """No empty section, and null for programs."""
    made = whole(stop(1))
    assert json.loads(results_json.render(made))["comparison"] is None
    for text in (terminal.summary(made), markdown.render(made), html.render(made)):
        assert "baseline" not in text.replace("vertical-align: baseline", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_the_page_of_a_trend_shows_names_as_text(text: str) -> None:
    """It carries no script at all, and the plot is well-formed."""
    found = trend.over([report(stop(took, name=text), started_at=day(at)) for at, took in ((1, 1), (2, None))])
    page = trend_html.render(found)
    assert "<script" not in page
    assert "<img" not in page
    assert "default-src 'none'" in page
    svg = trend_plot.render(found)
    assert svg is not None
    ET.fromstring(svg)
    assert svg == trend_plot.render(found)


def test_a_trend_of_one_run_is_a_page_all_the_same() -> None:
    """It says that there is nothing to set it beside."""
    assert "nothing to be set beside" in trend_html.render(trend.over([report(stop(1))]))


def test_a_comparison_of_runs_without_trials_is_empty() -> None:
    """Interrupted before the first trial."""
    found = trend.compare(report(), report())
    assert found == Comparison(baseline=report().run, changes=())
    assert trend_text.headline(found).endswith(": nothing changed.")
