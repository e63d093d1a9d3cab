"""Tables over the trials of a report."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.model import Outcome, Report, TrialResult
from stop_harness.report import tables, trend
from tests.reports_factory import SAMPLES, Sample, nanoseconds, realistic_report, report_of, scenario, trial

DRAINS = next(sample for sample in SAMPLES if sample.name == "drains-5s")


def with_durations(*durations_s: float | None) -> Report:
    """Trials of one scenario at 30 s with these shutdown durations."""
    results = []
    for repetition, duration in enumerate(durations_s, start=1):
        made = trial(DRAINS, 30, repetition)
        taken = None if duration is None else nanoseconds(duration)
        facts = replace(made.verdict.facts, shutdown_duration_ns=taken)
        results.append(TrialResult(made.observation, replace(made.verdict, facts=facts)))
    return report_of(results, (scenario(DRAINS),))


def test_the_trials_table_has_one_row_a_trial_in_report_order() -> None:
    """Row n is result n."""
    made = realistic_report(repeat=2)
    table = tables.trials_table(made)
    assert list(table["trial_id"]) == [result.observation.trial_id for result in made.results]


def test_exit_codes_stay_whole_numbers_beside_unknown_ones() -> None:
    """143 must not become 143.0 because another trial has no exit code."""
    table = tables.trials_table(realistic_report())
    assert table["exit_code"].dtype == "Int64"
    assert table["exit_code"].isna().any()


def test_the_summary_describes_the_measured_durations() -> None:
    """Median, minimum, maximum and the 95th percentile of 1, 2 and 6 seconds."""
    (row,) = tables.summary_table(with_durations(1, 2, 6)).to_dict("records")
    assert (row["trials"], row["measured"], row["median_s"], row["min_s"], row["max_s"]) == (3, 3, 2, 1, 6)
    assert math.isclose(row["p95_s"], 5.6)


def test_a_killed_trial_has_no_duration_of_its_own() -> None:
    """It was cut off: its 2 s say when SIGKILL came, not how long the stop takes."""
    made = report_of([trial(DRAINS, 2)], (scenario(DRAINS),))
    (row,) = tables.summary_table(made).to_dict("records")
    assert (row["measured"], row["sigkills"], row["outcome"]) == (0, 1, "killed")
    assert pd.isna(row["median_s"])
    assert pd.isna(row["p95_s"])


def test_the_summary_names_the_most_frequent_outcome_and_the_worse_of_equals() -> None:
    """Two graceful and one killed: graceful 2/3. One each: killed."""
    kills = Sample("drains-5s", "", None)
    three = [trial(DRAINS, 30, 1), trial(DRAINS, 30, 2), trial(kills, 30, 3)]
    (row,) = tables.summary_table(report_of(three, (scenario(DRAINS),))).to_dict("records")
    assert (row["outcome"], row["agreeing"], row["outcomes"]) == ("graceful", 2, "graceful 2, killed 1")
    (row,) = tables.summary_table(report_of(three[1:], (scenario(DRAINS),))).to_dict("records")
    assert (row["outcome"], row["agreeing"]) == ("killed", 1)


def with_outcomes(*outcomes: Outcome) -> Report:
    """Trials of one stop that came to these."""
    results = []
    for repetition, outcome in enumerate(outcomes, start=1):
        made = trial(DRAINS, 30, repetition)
        results.append(TrialResult(made.observation, replace(made.verdict, outcome=outcome)))
    return report_of(results, (scenario(DRAINS),))


def test_a_run_without_trials_gives_empty_tables_with_their_columns() -> None:
    """The CSV of an empty run still has its header."""
    made = report_of([], ())
    assert tables.trials_table(made).empty
    assert tables.summary_table(made).empty
    assert "median_s" in tables.summary_table(made).columns


@given(st.lists(st.one_of(st.none(), st.floats(0.001, 29)), min_size=1, max_size=8))
def test_the_summary_counts_every_trial_and_keeps_its_order_of_size(durations: list[float | None]) -> None:
    """Minimum ≤ median ≤ 95th percentile ≤ maximum, over the trials whose duration is known."""
    (row,) = tables.summary_table(with_durations(*durations)).to_dict("records")
    known = [duration for duration in durations if duration is not None]
    assert (row["trials"], row["measured"]) == (len(durations), len(known))
    if known:
        assert row["min_s"] <= row["median_s"] + 1e-9
        assert row["median_s"] <= row["p95_s"] + 1e-9
        assert row["p95_s"] <= row["max_s"] + 1e-9


def test_every_outcome_has_a_severity_of_its_own() -> None:
    """A new outcome must be placed among the others; graceful is the best, doubt is next to it."""
    assert sorted(outcome.severity for outcome in Outcome) == list(range(len(Outcome)))
    assert (Outcome.GRACEFUL.severity, Outcome.INCONCLUSIVE.severity) == (0, 1)


@pytest.mark.parametrize("outcomes", [(Outcome.KILLED, Outcome.INCONCLUSIVE), (Outcome.OOM_KILLED, Outcome.CRASHED)])
def test_of_equally_frequent_outcomes_the_worse_leads(outcomes: tuple[Outcome, ...]) -> None:
    """In the summary of one run and beside a baseline."""
    for order in (outcomes, outcomes[::-1]):
        (row,) = tables.summary_table(with_outcomes(*order)).to_dict("records")
        assert row["outcome"] == outcomes[0].value
        assert trend.compare(with_outcomes(*order), with_outcomes(*order)).changes[0].now.outcome is outcomes[0]


# ── The recommended stop timeout ─────────────────────────────────────────────────────────────────────────────────────


def test_stops_that_were_cut_off_are_no_part_of_the_stops_a_recommendation_counts() -> None:
    """Five killed at 2 s, five graceful in 5 s at 10 s: those five are what the quantile rests on."""
    results = [trial(DRAINS, limit, repetition) for limit in (2, 10) for repetition in range(1, 6)]
    advice = tables.recommended_timeout("drains-5s", tuple(results))
    assert advice.recommended_ns == nanoseconds(9)
    assert "at least 55% of all stops" in advice.basis
    assert "(by the 5 stops that had more than 2 s)" in advice.basis


def test_quick_stops_beside_one_that_was_cut_off_do_not_count() -> None:
    """Of five stops at 2 s four left in 1 s and one was killed; one at 30 s took 5 s: one stop is not five."""
    quick = Sample("drains-5s", "", 1.0)
    results = [*(trial(quick, 2, repetition) for repetition in range(1, 5)), trial(DRAINS, 2, 5), trial(DRAINS, 30)]
    advice = tables.recommended_timeout("drains-5s", tuple(results))
    assert advice.recommended_ns is None
    assert advice.basis.startswith("1 graceful stop with more than 2 s was measured; it takes 5 to recommend one")


def test_a_stop_cut_off_after_longer_than_any_graceful_one_rules_a_recommendation_out() -> None:
    """Ten left in 5 s, one was still running at 10 s: no longer stop was seen to end."""
    never = Sample("drains-5s", "", None)
    results = [*(trial(DRAINS, 30, repetition) for repetition in range(1, 11)), trial(never, 10)]
    assert tables.recommended_timeout("drains-5s", tuple(results)).recommended_ns is None
