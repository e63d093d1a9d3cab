"""Tables over the trials of a report, as pandas data frames; CSV, Markdown, HTML and the plots draw on them. Pure.

Times are seconds. A missing number is NaN or NA in a frame and an empty cell in a file.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from stop_harness import signals
from stop_harness.model import NS_PER_S, Outcome, Report, TimeoutAdvice, TrialResult
from stop_harness.report.survival import CONFIDENCE, MIN_STOPS
from stop_harness.verdict.judge import lost_requests
from stop_harness.wording import OUTCOME_WORDS, count_of, precise_seconds, timeout, to_seconds

if TYPE_CHECKING:
    import pandas as pd

_WHOLE_NUMBERS = ("repetition", "exit_code", "requests_in_flight", "requests_lost", "trials", "measured", "sigkills")
"""Columns kept as nullable integers, so that an unknown exit code does not turn 143 into 143.0."""


def trials_table(report: Report) -> pd.DataFrame:
    """One row a trial, in report order.

    `shutdown_duration_s`: stop signal → exit of PID 1; empty where unknown. Where `censored` is true the stop was cut
    off by SIGKILL, and the container would have needed longer. `sigkill_after_s`: empty where no SIGKILL was seen.
    `oom_killed`: empty where the engine cannot tell. `requests_in_flight` (sent before the stop call, not answered by
    then) and `requests_lost`: empty where there was no traffic.
    """
    import pandas as pd

    return _typed(pd.DataFrame([_trial_row(result) for result in report.results], columns=list(_TRIAL_COLUMNS)))


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
        have, missing = f"{count_of(uncut, 'graceful stop')}{with_time} measured", MIN_STOPS - uncut
        return TimeoutAdvice(scenario, None, f"{have}, {MIN_STOPS} are needed: {missing} more (--repeat).")
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


_TRIAL_COLUMNS = (
    "trial_id",
    "scenario",
    "engine",
    "stop_timeout_s",
    "stop_after_s",
    "repetition",
    "stop_signal",
    "outcome",
    "status",
    "shutdown_duration_s",
    "shutdown_duration_error_s",
    "censored",
    "sigkill_evidence",
    "sigkill_after_s",
    "exit_code",
    "exit_signal",
    "oom_killed",
    "requests_in_flight",
    "requests_lost",
    "reason",
    "cause",
    "findings",
    "derived_from",
    "started_at",
    "load_average",
)


def _trial_row(result: TrialResult) -> tuple[object, ...]:
    """The cells of `_TRIAL_COLUMNS`."""
    seen, verdict, facts = result.observation, result.verdict, result.verdict.facts
    return (
        seen.trial_id,
        seen.scenario,
        seen.engine.name,
        to_seconds(seen.stop_timeout_ns),
        to_seconds(seen.stop_after_ns),
        seen.repetition,
        _signal_name(seen.stop_signal),
        verdict.outcome.value,
        verdict.status.value,
        to_seconds(facts.shutdown_duration_ns),
        to_seconds(facts.duration_error_ns),
        verdict.outcome is Outcome.KILLED,
        facts.sigkill_evidence.value,
        to_seconds(facts.sigkill_after_ns),
        seen.exit_code,
        _signal_name(seen.exit_signal),
        seen.oom_killed,
        None if seen.requests is None else sum((request.sent_at_ns or 0) < 0 for request in seen.requests),
        None if seen.requests is None else len(lost_requests(seen)),
        verdict.reason,
        verdict.cause.id if verdict.cause else None,
        " ".join(finding.rule for finding in verdict.findings),
        seen.derived_from,
        seen.started_at,
        seen.load_average,
    )


def summary_table(report: Report) -> pd.DataFrame:
    """One row per scenario and stop timeout that was tried, in report order.

    `trials`: how many; `outcomes`: how often each came up, most frequent first ("graceful 2, killed 1"); `outcome`: the
    most frequent, the worse one of equals; `agreeing`: how many trials came to it. `median_s`, `min_s`, `max_s`,
    `p95_s`: shutdown duration over the `measured` trials, i.e. those that ended without SIGKILL at the stop timeout and
    with both ends known; empty where there is none. A killed trial has no duration of its own: it was cut off.
    `sigkills`: trials that ended by SIGKILL at the stop timeout.
    """
    import pandas as pd

    trials = trials_table(report)
    measured = trials.assign(measured_s=trials["shutdown_duration_s"].where(~trials["censored"]))
    groups = measured.groupby(["scenario", "stop_timeout_s"], sort=False)
    durations = groups["measured_s"]
    table = pd.DataFrame(
        {
            "trials": groups.size(),
            "outcomes": groups["outcome"].agg(_tally).astype(object),
            "outcome": groups["outcome"].agg(_leading).astype(object),
            "agreeing": groups["outcome"].agg(lambda outcomes: int((outcomes == _leading(outcomes)).sum())),
            "measured": durations.count(),
            "median_s": durations.median(),
            "min_s": durations.min(),
            "max_s": durations.max(),
            "p95_s": durations.quantile(0.95),
            "sigkills": groups["censored"].sum(),
        }
    )
    return _typed(table.reset_index())


def _ranked(outcomes: pd.Series[str]) -> list[tuple[Outcome, int]]:
    """Outcomes with their number, most frequent first, the worse of equals first."""
    counts = Counter(Outcome(outcome) for outcome in outcomes)
    return sorted(counts.items(), key=lambda item: (-item[1], -item[0].severity))


def _leading(outcomes: pd.Series[str]) -> str:
    return _ranked(outcomes)[0][0].value


def _tally(outcomes: pd.Series[str]) -> str:
    return ", ".join(f"{OUTCOME_WORDS[outcome]} {number}" for outcome, number in _ranked(outcomes))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with whole numbers as nullable integers and `oom_killed` as a nullable boolean."""
    types = {column: "Int64" for column in _WHOLE_NUMBERS if column in table}
    if "oom_killed" in table:
        types["oom_killed"] = "boolean"
    numbers = {column: "float64" for column in table if str(column).endswith("_s") or column == "load_average"}
    return table.astype({**types, **numbers})


def _signal_name(number: int | None) -> str | None:
    return None if number is None else signals.name(number)
