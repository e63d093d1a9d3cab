"""Which line a report points to for a stop that did not pass: where its cause stands, else what it runs. Pure."""

from __future__ import annotations

from stop_harness.model import ContainerLines, Outcome, Scenario, SourceLine, Status, TrialResult

OF_THE_SIGNAL = frozenset({"wrong-stopsignal", "immediate-kill", "signal-ignored"})
"""Causes that the line of the stop signal explains, where there is one."""

OF_THE_TIMEOUT = frozenset({"grace-too-short", "handler-too-slow"})
"""Causes that a longer stop timeout would cure: the line that sets it, if the container's own files do."""


def line_of(result: TrialResult, scenario: Scenario) -> SourceLine | None:
    """None where no file says anything, as of `check IMAGE`."""
    if result.verdict.status is Status.INCONCLUSIVE:
        return scenario.lines.expectation or _container(result, scenario).program
    found, cause = _container(result, scenario), result.verdict.cause
    if cause is not None and cause.id in OF_THE_SIGNAL and found.stop_signal is not None:
        return found.stop_signal
    if cause is not None and cause.id in OF_THE_TIMEOUT and found.stop_timeout is not None:
        return found.stop_timeout
    return found.program or scenario.lines.expectation


def scenario_line(scenario: Scenario) -> SourceLine | None:
    """The scenario's own line; of one without a file the line of the first container."""
    found = scenario.lines.expectation
    return found or next((place for item in scenario.lines.containers if (place := item.program)), None)


def _container(result: TrialResult, scenario: Scenario) -> ContainerLines:
    """Of several the one that ended worst, of equals the first."""
    lines = scenario.lines.containers
    bad = [item for item in result.verdict.containers if item.outcome is not Outcome.GRACEFUL]
    worst = max(bad, key=lambda item: item.outcome.severity, default=None)
    named = (item for item in lines if worst is not None and item.container == worst.name)
    return next(named, lines[0] if lines else ContainerLines())
