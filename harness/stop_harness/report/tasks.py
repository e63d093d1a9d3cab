"""What a report says of whole tasks: compliance by container, stop by stop, and what the definitions show. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from stop_harness.model import Compliance, ComplianceStatus, Scenario, TaskStop, TimeoutAdvice, TrialResult
from stop_harness.verdict import tasks

_WORST_FIRST = (ComplianceStatus.NON_COMPLIANT, ComplianceStatus.INCONCLUSIVE, ComplianceStatus.COMPLIANT)

Judge = Callable[[list[TrialResult]], Compliance]


def by_container(results: list[TrialResult], judge: Judge) -> Compliance | None:
    """The compliance of a task: that of its worst container, named; None where no task was stopped.

    A platform's default is what each container gets, not the task: `judge` sees one container's stops at a time.
    """
    stops: dict[str, list[TrialResult]] = defaultdict(list)
    whole: list[TrialResult] = []
    for result in results:
        parts = tasks.part_results(result)
        for name, part in parts:
            stops[name].append(part)
        if not parts:
            whole.append(result)
    if not stops:
        return None
    judged = [(name, judge(part)) for name, part in stops.items()]
    worst_name, worst = min(judged, key=lambda item: (_WORST_FIRST.index(item[1].status), item[1].headroom_ns or 0))
    cause = worst.cause and replace(worst.cause, evidence=f"{worst_name}: {worst.cause.evidence}")
    named = replace(worst, reason=f"{worst_name}: {worst.reason}", cause=cause)
    if whole and worst.status is ComplianceStatus.COMPLIANT:
        return judge(whole)  # some stops came to nothing; what the others show does not make up for them
    return named


def no_advice(scenario: str) -> TimeoutAdvice:
    """The duration of a whole task recommends nothing: stop timeouts belong to its containers."""
    return TimeoutAdvice(scenario, None, "Each container of a task has a stop timeout of its own.")


def no_advice_for_group(scenario: str) -> TimeoutAdvice:
    """Likewise of a project or a pod as a whole."""
    return TimeoutAdvice(scenario, None, "How long a group takes to stop is no container's stop timeout.")


def stops(results: tuple[TrialResult, ...], scenarios: tuple[Scenario, ...]) -> tuple[TaskStop, ...]:
    """Every stop of a task, in report order."""
    named = {scenario.name: scenario for scenario in scenarios}
    found = (tasks.analyse(result, named[result.observation.scenario]) for result in results)
    return tuple(item for item in found if item is not None)
