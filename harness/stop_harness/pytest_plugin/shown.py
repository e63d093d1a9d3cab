"""Verdicts in the words and values of pytest: what a failure shows, and properties for `--junitxml`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import pytest

from stop_harness._version import VERSION
from stop_harness.model import Report, RunInfo, Scenario, Status, StoredRun, TrialResult, Waiver, WaiverState
from stop_harness.pytest_plugin.meeting_place import ItemOutcome, ItemResult

if TYPE_CHECKING:
    from stop_harness.api.results import JudgedStop

_OUTCOMES = {Status.PASS: ItemOutcome.PASSED, Status.FAIL: ItemOutcome.FAILED}
"""Whatever else it may be is an error: nothing passes that is not known to be good."""


class Failed(pytest.fail.Exception):  # type: ignore[misc, name-defined] # a class that pytest gives as an attribute
    """A stop that was not graceful, or is in doubt, as pytest's own `Failed`: what it shows is all there is to show."""

    __module__ = "builtins"  # as pytest has it, or the summary would name this file

    def __init__(self, text: str) -> None:
        super().__init__(text, pytrace=False)


def told(result: TrialResult, scenario: Scenario, waivers: tuple[Waiver, ...] = (), day: str = "") -> ItemResult:
    """What became of one trial: to show of one that did not pass is what `stop-harness check` prints. `waivers` that
    may let it pass, on this day (ISO 8601, UTC)."""
    from stop_harness.api.results import JudgedStop
    from stop_harness.renderers import terminal

    outcome = _OUTCOMES.get(result.verdict.status, ItemOutcome.ERROR)
    of_it = (*properties(JudgedStop(result)), *_of_fault(result, scenario))
    if outcome is ItemOutcome.PASSED:
        return ItemResult(outcome, properties=of_it)
    report = _report_of(result, scenario, waivers, day)
    text = terminal.check_verdict(report).rstrip("\n")
    return ItemResult(outcome, text, of_it, "; ".join(waived(report)))


def _of_fault(result: TrialResult, scenario: Scenario) -> list[tuple[str, str]]:
    """Of a stop under a standard fault: which, and that it was over before that could matter."""
    if scenario.twin is None:
        return []
    from stop_harness.verdict import faults

    missed = [("stop_over_before_fault", "true")] if faults.over_before(result) else []
    return [("stop_fault", scenario.twin.fault), *missed]


def waived(report: Report) -> tuple[str, ...]:
    """Of each stop whose failure is let pass what it came to, why that is let pass, and until when."""
    from stop_harness.renderers.sections import waiver_text
    from stop_harness.wording import OUTCOME_WORDS, one_line, why

    return tuple(
        f"{one_line(item.observation.trial_id)}: {OUTCOME_WORDS[item.verdict.outcome]}: {one_line(why(item.verdict))}. "
        f"{waiver_text.justification(item, report)}"
        for item in report.results
        if item.observation.trial_id in report.waived
    )


def fail(text: str, why_waived: str) -> NoReturn:
    """End a test whose stop failed: as an expected failure where waivers let all of it pass (`why_waived` not empty).

    pytest's option `--runxfail` turns expected failures into failures.
    """
    if why_waived:
        pytest.xfail(why_waived)
    raise Failed(text)


def shorten_summary(report: pytest.TestReport) -> None:
    """Leave the first sentence of a failure of ours to the places that have one line for it: the summary at the end,
    which is not cut where `$CI` is set, and the attribute `message` of JUnit XML. The failure itself shows the rest."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        crash.message = " ".join(crash.message.partition("\n\n")[0].split())


def properties(stop: JudgedStop) -> list[tuple[str, str]]:
    """Of one stop, for `user_properties`. What is not known is left out. Times are seconds."""
    values = {
        "stop_outcome": stop.outcome.value,
        "stop_timeout_s": f"{stop.stop_timeout_s:g}",
        "stop_duration_s": None if stop.shutdown_duration_s is None else f"{stop.shutdown_duration_s:.6f}",
        "stop_cause": stop.cause,
    }
    return [(name, value) for name, value in values.items() if value is not None]


def _report_of(result: TrialResult, scenario: Scenario, waivers: tuple[Waiver, ...], day: str) -> Report:
    """Of one trial. A waiver that does not match it may match others, and is left out."""
    from stop_harness.report import build

    seen = result.observation
    scenario = replace(scenario, twin=None)  # alone it is what the report is about, and not the copy of another
    info = RunInfo(seen.trial_id, scenario.name, day, seen.engine, VERSION, machine="", cpu_count=1, waivers=waivers)
    report = build.build(StoredRun(info, (scenario,), (seen,), trials_planned=1), (result.verdict,))
    return replace(report, waivers=tuple(use for use in report.waivers if use.state is not WaiverState.UNUSED))
