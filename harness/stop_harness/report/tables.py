"""Tables over the trials of a report: rows for the CSV file and the plots, data frames of pandas for whoever goes on
from there in Python (`stop-harness[report]`). Pure.

Times are seconds. A missing number is None in a row, NaN or NA in a frame, and an empty cell in a file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median, quantiles
from typing import TYPE_CHECKING, NamedTuple

from stop_harness import signals
from stop_harness.errors import require_extra
from stop_harness.model import NS_PER_S, Outcome, Report, TimeoutAdvice, TrialResult, Twin
from stop_harness.report.survival import CONFIDENCE, MIN_STOPS
from stop_harness.verdict import faults
from stop_harness.verdict.traffic import lost_requests
from stop_harness.wording import OUTCOME_WORDS, count_of, precise_seconds, timeout, to_seconds, was_or_were

if TYPE_CHECKING:
    import pandas as pd

_WHOLE_NUMBERS = ("repetition", "exit_code", "requests_in_flight", "requests_lost", "trials", "measured", "sigkills")
"""Columns of a frame kept as nullable integers, so that an unknown exit code does not turn 143 into 143.0."""


class TrialRow(NamedTuple):
    """One trial.

    `shutdown_duration_s`: stop signal → exit of PID 1; None where unknown. Where `censored` is true the stop was cut
    off by SIGKILL, and the container would have needed longer. `sigkill_after_s`: None where no SIGKILL was seen.
    `oom_killed`: None where the engine cannot tell. `requests_in_flight` (sent before the stop call, not answered by
    then) and `requests_lost`: None where there was no traffic. `findings`: their rules, with a space between.
    `own_stop_timeouts`: each container had the stop timeout of its own definition; `stop_timeout_s` is then how long
    all of them together can take. `undisturbed`, `fault`, `over_before_fault`: of a stop under a standard fault its
    undisturbed scenario, the fault, and whether it was over before the fault could matter; else None.
    """

    trial_id: str
    scenario: str
    engine: str
    stop_timeout_s: float
    stop_after_s: float
    repetition: int
    stop_signal: str | None
    outcome: str
    status: str
    shutdown_duration_s: float | None
    shutdown_duration_error_s: float | None
    censored: bool
    sigkill_evidence: str
    sigkill_after_s: float | None
    exit_code: int | None
    exit_signal: str | None
    oom_killed: bool | None
    requests_in_flight: int | None
    requests_lost: int | None
    reason: str
    cause: str | None
    findings: str
    derived_from: str | None
    started_at: str
    load_average: float | None
    own_stop_timeouts: bool = False
    undisturbed: str | None = None
    fault: str | None = None
    over_before_fault: bool | None = None


class SummaryRow(NamedTuple):
    """The trials of one scenario at one stop timeout.

    `trials`: how many; `outcomes`: how often each came up, most frequent first ("graceful 2, killed 1"); `outcome`: the
    most frequent, the worse one of equals; `agreeing`: how many trials came to it. `median_s`, `min_s`, `max_s`,
    `p95_s`: shutdown duration over the `measured` trials, i.e. those that ended without SIGKILL at the stop timeout and
    with both ends known; None where there is none. A killed trial has no duration of its own: it was cut off.
    `sigkills`: trials that ended by SIGKILL at the stop timeout. `own_stop_timeouts`: as of a trial.
    """

    scenario: str
    stop_timeout_s: float
    trials: int
    outcomes: str
    outcome: str
    agreeing: int
    measured: int
    median_s: float | None
    min_s: float | None
    max_s: float | None
    p95_s: float | None
    sigkills: int
    own_stop_timeouts: bool = False


def trial_rows(report: Report) -> tuple[TrialRow, ...]:
    """One row a trial, in report order."""
    twins = {scenario.name: scenario.twin for scenario in report.disturbed}
    return tuple(_trial_row(result, twins.get(result.observation.scenario)) for result in report.results)


def summary_rows(report: Report) -> tuple[SummaryRow, ...]:
    """One row per scenario and stop timeout that was tried, in report order."""
    groups: dict[tuple[str, float], list[TrialRow]] = defaultdict(list)
    for row in trial_rows(report):
        groups[row.scenario, row.stop_timeout_s].append(row)
    return tuple(_summary_row(*group, rows) for group, rows in groups.items())


def trials_table(report: Report) -> pd.DataFrame:
    """`trial_rows` as a data frame."""
    return _frame(trial_rows(report), TrialRow._fields)


def summary_table(report: Report) -> pd.DataFrame:
    """`summary_rows` as a data frame."""
    return _frame(summary_rows(report), SummaryRow._fields)


MARGIN_FACTOR, MARGIN_NS = 1.5, NS_PER_S
"""Room for a slower machine and for the platform's own clock: half as much again, and a second for short stops."""


def recommended_timeout(scenario: str, results: tuple[TrialResult, ...]) -> TimeoutAdvice:
    """The stop timeout that would have been enough, with its basis in words.

    The longest graceful stop is a distribution-free bound: with n stops it lies above the p-quantile of all stops with
    confidence 1 - p**n (order statistics; Hahn and Meeker, Statistical Intervals, 1991, chapter 5). Stops that were cut
    off count twice: one whose stop timeout was longer than every graceful stop rules a recommendation out, and among
    the n are only stops with more time than any that was cut off, for graceful ones beside it are the quick ones.
    """
    if not results:
        return TimeoutAdvice(scenario, None, "No trial of it was run.")
    graceful = [result for result in results if result.verdict.outcome is Outcome.GRACEFUL]
    known = [took for result in graceful if (took := result.verdict.facts.shutdown_duration_ns) is not None]
    longest = max(known, default=0)
    others = [result for result in results if result.verdict.outcome is not Outcome.GRACEFUL]
    bad = [result for result in others if not _cut_early(result, longest)]
    if bad or not graceful:
        trial = (bad or results)[-1]
        text = f"{trial.observation.trial_id} was {OUTCOME_WORDS[trial.verdict.outcome]}"
        return TimeoutAdvice(scenario, None, f"Not every stop with enough time was graceful: {text}.")
    cut_off_ns = max((result.observation.stop_timeout_ns for result in others), default=-1)
    uncut = sum(
        result.observation.stop_timeout_ns > cut_off_ns and result.verdict.facts.shutdown_duration_ns is not None
        for result in graceful
    )
    if uncut < MIN_STOPS:
        with_time = f" with more than {timeout(cut_off_ns)}" if others else ""
        have = f"{count_of(uncut, 'graceful stop')}{with_time} {was_or_were(uncut)} measured"
        return TimeoutAdvice(scenario, None, f"{have}; it takes {MIN_STOPS} to recommend one (--repeat {MIN_STOPS}).")
    quantile = (1 - CONFIDENCE) ** (1 / uncut)
    rests_on = f" (by the {uncut} stops that had more than {timeout(cut_off_ns)})" if others else ""
    basis = (
        f"Longest of {len(known)} graceful stops {precise_seconds(longest)} × {MARGIN_FACTOR:g} + "
        f"{timeout(MARGIN_NS)}, rounded up; with {CONFIDENCE:.0%} confidence at least {quantile:.0%} of all stops are "
        f"no longer than that longest one{rests_on}."
    )
    value_ns = -(-round(longest * MARGIN_FACTOR + MARGIN_NS) // NS_PER_S) * NS_PER_S
    return TimeoutAdvice(scenario, value_ns, basis)


def _cut_early(result: TrialResult, longest_ns: int) -> bool:
    """Killed at a stop timeout that was shorter than a graceful stop took: that says nothing against a longer one."""
    return result.verdict.outcome is Outcome.KILLED and result.observation.stop_timeout_ns <= longest_ns


def _trial_row(result: TrialResult, twin: Twin | None) -> TrialRow:
    seen, verdict, facts = result.observation, result.verdict, result.verdict.facts
    return TrialRow(
        seen.trial_id,
        seen.scenario,
        seen.engine.name,
        to_seconds(seen.stop_timeout_ns),
        to_seconds(seen.stop_after_ns),
        seen.repetition,
        _signal_name(seen.record.stop_signal),
        verdict.outcome.value,
        verdict.status.value,
        to_seconds(facts.shutdown_duration_ns),
        to_seconds(facts.duration_error_ns),
        verdict.outcome is Outcome.KILLED,
        facts.sigkill_evidence.value,
        to_seconds(facts.sigkill_after_ns),
        seen.record.exit_code,
        _signal_name(seen.record.exit_signal),
        seen.record.oom_killed,
        None if seen.traffic is None else sum((request.sent_at_ns or 0) < 0 for request in seen.requests),
        None if seen.traffic is None else len(lost_requests(seen.traffic)),
        verdict.reason,
        verdict.cause.id if verdict.cause else None,
        " ".join(finding.rule for finding in verdict.findings),
        seen.derivation.derived_from,
        seen.started_at,
        seen.load_average,
        seen.own_timeouts,
        twin.of if twin else None,
        twin.fault if twin else None,
        faults.over_before(result) if twin else None,
    )


def _summary_row(scenario: str, stop_timeout_s: float, rows: Sequence[TrialRow]) -> SummaryRow:
    ranked = _ranked(row.outcome for row in rows)
    known = [row.shutdown_duration_s for row in rows if row.shutdown_duration_s is not None and not row.censored]
    return SummaryRow(
        scenario=scenario,
        stop_timeout_s=stop_timeout_s,
        trials=len(rows),
        outcomes=", ".join(f"{OUTCOME_WORDS[outcome]} {number}" for outcome, number in ranked),
        outcome=ranked[0][0].value,
        agreeing=ranked[0][1],
        measured=len(known),
        median_s=median(known) if known else None,
        min_s=min(known, default=None),
        max_s=max(known, default=None),
        p95_s=quantiles(known, n=100, method="inclusive")[94] if len(known) > 1 else known[0] if known else None,
        sigkills=sum(row.censored for row in rows),
        own_stop_timeouts=rows[0].own_stop_timeouts,
    )


def _ranked(outcomes: Iterable[str]) -> list[tuple[Outcome, int]]:
    """Outcomes with their number, most frequent first, the worse of equals first."""
    counts = Counter(Outcome(outcome) for outcome in outcomes)
    return sorted(counts.items(), key=lambda item: (-item[1], -item[0].severity))


def _frame(rows: Sequence[tuple[object, ...]], columns: Sequence[str]) -> pd.DataFrame:
    """With whole numbers as nullable integers and `oom_killed` as a nullable boolean."""
    require_extra("report", "a data frame")
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(columns))
    types = {column: "Int64" for column in _WHOLE_NUMBERS if column in table}
    if "oom_killed" in table:
        types["oom_killed"] = "boolean"
    numbers = {column: "float64" for column in table if str(column).endswith("_s") or column == "load_average"}
    return table.astype({**types, **numbers})


def _signal_name(number: int | None) -> str | None:
    return None if number is None else signals.name(number)
