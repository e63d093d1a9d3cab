"""Tables over the trials of a report, as pandas data frames; CSV, Markdown, HTML and the plots draw on them. Pure.

Times are seconds. A missing number is NaN or NA in a frame and an empty cell in a file.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness import signals
from harness.model import Outcome, Report, TrialResult
from harness.wording import OUTCOME_WORDS, to_seconds

if TYPE_CHECKING:
    import pandas as pd

_WHOLE_NUMBERS = ("repetition", "exit_code", "trials", "measured", "sigkills")
"""Columns kept as nullable integers, so that an unknown exit code does not turn 143 into 143.0."""


def trials_table(report: Report) -> pd.DataFrame:
    """One row a trial, in report order.

    `shutdown_duration_s`: stop signal → exit of PID 1; empty where unknown. Where `censored` is true the stop was cut
    off by SIGKILL, and the container would have needed longer. `sigkill_after_s`: empty where no SIGKILL was seen.
    `oom_killed`: empty where the engine cannot tell.
    """
    import pandas as pd

    return _typed(pd.DataFrame([_trial_row(result) for result in report.results], columns=list(_TRIAL_COLUMNS)))


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
    "reason",
    "findings",
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
        verdict.reason,
        " ".join(finding.rule for finding in verdict.findings),
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


_WORST_FIRST = (
    Outcome.OOM_KILLED,
    Outcome.CRASHED,
    Outcome.KILLED,
    Outcome.LOSSY,
    Outcome.NOT_RUNNING,
    Outcome.INCONCLUSIVE,
    Outcome.GRACEFUL,
)


def _ranked(outcomes: pd.Series[str]) -> list[tuple[Outcome, int]]:
    """Outcomes with their number, most frequent first, the worse of equals first."""
    counts = Counter(Outcome(outcome) for outcome in outcomes)
    return sorted(counts.items(), key=lambda item: (-item[1], _WORST_FIRST.index(item[0])))


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
