"""Verdicts → Report: what is said about a run, not how it looks. Pure: no I/O, no clock, no environment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache

from stop_harness import signals
from stop_harness.errors import HarnessBug
from stop_harness.model import (
    ECS_STOP_TIMEOUT_S,
    NS_PER_S,
    Compliance,
    ComplianceStatus,
    Outcome,
    Platform,
    PlatformRow,
    Report,
    Scenario,
    StoredRun,
    TimeoutAdvice,
    TrialResult,
    TriedRemedy,
    Verdict,
)
from stop_harness.records import dataclass
from stop_harness.report import claims, matrix, run_doubts, survival, tables, tasks
from stop_harness.report.natural_order import natural
from stop_harness.report.platforms import IMAGE_SIGNAL, PLATFORMS
from stop_harness.verdict import faults, static_findings, waivers
from stop_harness.wording import count_of, precise_seconds, sentence, timeout


def build(stored: StoredRun, verdicts: tuple[Verdict, ...]) -> Report:
    """The report of a stored run. `verdicts` stand in the order of `stored.observations`."""
    every = tuple(sorted(stored.scenarios, key=lambda scenario: natural(scenario.name)))
    scenarios = tuple(scenario for scenario in every if scenario.twin is None)
    results = _sorted_results(stored, verdicts)
    by_scenario: dict[str, list[TrialResult]] = defaultdict(list)
    for result in results:
        if result.observation.derivation.derived_from is None:  # the stop that it follows from counts, once
            by_scenario[result.observation.scenario].append(result)
    absent = _absent(stored)
    ecs = ECS_STOP_TIMEOUT_S * NS_PER_S
    run = stored.run
    used, waived = waivers.in_run(run, every, results)
    names = {scenario.name for scenario in scenarios}
    undisturbed = tuple(result for result in results if result.observation.scenario in names)

    def complies(scenario: Scenario) -> Compliance:
        return _compliance(scenario, by_scenario[scenario.name], ecs, absent[scenario.name])

    @cache  # several platforms have the same default, which is what each container of a task would get
    def against(name: str, limit_ns: int) -> Compliance:
        def judge(stops: list[TrialResult]) -> Compliance:
            return compliance(name, stops, limit_ns, absent[name])

        return tasks.by_container(by_scenario[name], judge) or judge(by_scenario[name])

    return Report(
        run=run,
        scenarios=scenarios,
        results=results,
        compliance=tuple(map(complies, scenarios)),
        platforms=tuple(_platform_row(platform, scenarios, by_scenario, against) for platform in PLATFORMS),
        trials_planned=stored.trials_planned,
        skipped=tuple(item for item in stored.skipped if item.twin is None),
        warnings=run_doubts.of_run(stored, results),
        remedies=_remedies(stored, results),
        claims=claims.shown_by(undisturbed, scenarios, run.goal, until_sure=run.until_sure),
        advice=tuple(_advice(scenario, tuple(by_scenario[scenario.name])) for scenario in scenarios),
        tasks=tasks.stops(undisturbed, scenarios),
        static_findings=static_findings.of_scenarios(scenarios, stored.run.engine),
        waivers=used,
        waived=waived,
        statistics=tuple(survival.statistics_of(scenario.name, by_scenario[scenario.name]) for scenario in scenarios),
        disturbed=tuple(scenario for scenario in every if scenario.twin is not None),
        resilience=matrix.of_run(every, stored.skipped, by_scenario, complies),
    )


def _advice(scenario: Scenario, results: tuple[TrialResult, ...]) -> TimeoutAdvice:
    if scenario.subject.task is not None:
        return tasks.no_advice(scenario.name)
    if any(result.observation.task is not None for result in results):
        return tasks.no_advice_for_group(scenario.name)
    return tables.recommended_timeout(scenario.name, results)


def _remedies(stored: StoredRun, results: tuple[TrialResult, ...]) -> tuple[TriedRemedy, ...]:
    """Every remedy that was tried, with today's verdict: by scenario, the best first."""
    if not stored.remedies:
        return ()
    from stop_harness.experiments import effects
    from stop_harness.experiments.bad_stop import BadStop

    scenarios = {scenario.name: scenario for scenario in stored.scenarios}
    bad = {result.observation.trial_id: result for result in results}
    judged: dict[tuple[str, str | None], list[TriedRemedy]] = {}
    for tried in stored.remedies:
        if tried.trial_id in bad:
            stop = BadStop.of(bad[tried.trial_id], scenarios[tried.scenario], results, tried.container)
            made = effects.judged(tried, stop)
            judged.setdefault((tried.trial_id, tried.container), []).append(made)
    compared = (item for items in judged.values() for item in effects.compared(items))
    return tuple(sorted(effects.best_first(compared), key=lambda item: natural(item.scenario)))


def _absent(stored: StoredRun) -> dict[str, str]:
    """For each scenario the sentence that says why it has no trials, should it have none."""
    shard = stored.run.shard
    reason = f"None of its trials is in shard {shard}." if shard else "No trial of it was run."
    skipped = {item.scenario: f"It was skipped: {item.reason.rstrip('.')}." for item in stored.skipped}
    return {scenario.name: skipped.get(scenario.name, reason) for scenario in stored.scenarios}


def _sorted_results(stored: StoredRun, verdicts: tuple[Verdict, ...]) -> tuple[TrialResult, ...]:
    """Observations paired with their verdicts, by scenario, stop timeout, stop moment, repetition."""
    if [verdict.trial_id for verdict in verdicts] != [seen.trial_id for seen in stored.observations]:
        raise HarnessBug("the verdicts do not stand in the order of the observations")
    pairs = (TrialResult(seen, verdict) for seen, verdict in zip(stored.observations, verdicts, strict=True))
    return tuple(sorted(pairs, key=_report_order))


def _report_order(result: TrialResult) -> tuple[object, ...]:
    seen = result.observation
    return (natural(seen.scenario), seen.stop_timeout_ns, seen.stop_after_ns, seen.repetition, seen.trial_id)


# ── Compliance ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _compliance(scenario: Scenario, results: list[TrialResult], limit_ns: int, absent: str) -> Compliance:
    """A container against the default; of a task each container against what ECS gives it, its own stop timeout. What
    stands in a Compose file or in a manifest is no setting of ECS."""
    own = scenario.stop.own_timeouts and scenario.subject.group is None

    def judge(stops: list[TrialResult]) -> Compliance:
        return compliance(scenario.name, stops, stops[0].observation.stop_timeout_ns if own else limit_ns, absent)

    return tasks.by_container(results, judge) or compliance(scenario.name, results, limit_ns, absent)


@dataclass(frozen=True)
class _Evidence:
    """What one trial says about one limit. `left_after_ns`: longest it can have taken to leave, if that helps."""

    status: ComplianceStatus
    reason: str = ""
    left_after_ns: int | None = None


def compliance(
    scenario: str, results: list[TrialResult], limit_ns: int, absent: str = "No trial of it was run."
) -> Compliance:
    """One scenario against a stop timeout of `limit_ns`. `absent` is the reason where it has no trials.

    One trial that would have been killed, lost work or crashed is proof against; it outweighs everything. A trial that
    says nothing (inconclusive, not running, killed at a shorter timeout and never seen to end) is doubt, and doubt
    outweighs graceful stops. Compliant needs at least one graceful stop and neither proof against nor doubt.
    """
    longest_seen = _longest_seen(results)
    evidence = [_evidence(result, longest_seen, limit_ns) for result in results]
    for status in (ComplianceStatus.NON_COMPLIANT, ComplianceStatus.INCONCLUSIVE):
        reasons = [item.reason for item in evidence if item.status is status]
        if reasons:
            in_time = sum(item.left_after_ns is not None for item in evidence)
            of_status = (result for result, item in zip(results, evidence, strict=True) if item.status is status)
            *_, decides = of_status
            return Compliance(scenario, limit_ns, status, _one_reason(reasons, in_time), cause=decides.verdict.cause)
    if not evidence:
        return Compliance(scenario, limit_ns, ComplianceStatus.INCONCLUSIVE, absent)
    # A killed trial at a shorter timeout that another trial explains supports without a duration of its own.
    longest = max(item.left_after_ns for item in evidence if item.left_after_ns is not None)
    always = "" if len(results) == 1 else " every time, at the latest"
    under = ", under the faults of its scenario" if any(result.observation.faults for result in results) else ""
    return Compliance(
        scenario,
        limit_ns,
        ComplianceStatus.COMPLIANT,
        f"It exited by itself{always} {precise_seconds(longest)} after the stop signal{under}.",
        headroom_ns=limit_ns - longest,
    )


def _one_reason(reasons: list[str], in_time: int) -> str:
    """The reason of the trial with the longest stop timeout, which saw most, and whether other trials say otherwise."""
    if not in_time:
        return reasons[-1]
    return f"{reasons[-1].rstrip('.')} ({count_of(len(reasons), 'trial')}; {in_time} exited in time)."


NEVER_BEGUN = frozenset(
    {
        "pid1-no-handler",
        "shell-not-forwarding",
        "wrapper-swallows-signal",
        "signal-not-permitted",
        "pid1-handler-noop",
        "signal-ignored",
        "wrong-stopsignal",
        "immediate-kill",
    }
)
"""Causes under which the stop has not even begun when SIGKILL comes: whoever would do something about it was never
told, or cannot hear it. Those under which it has begun and did not end (a handler that hangs, a drain) stay unknown
beyond the stop timeout that was tried."""


def _evidence(result: TrialResult, longest_seen: dict[int, _LongestSeen], limit_ns: int) -> _Evidence:
    """What one trial, seen beside the others of its scenario, says about `limit_ns`."""
    against, doubt = ComplianceStatus.NON_COMPLIANT, ComplianceStatus.INCONCLUSIVE
    seen, verdict = result.observation, result.verdict
    duration, tried = verdict.facts.shutdown_duration_ns, seen.stop_timeout_ns
    match verdict.outcome:
        case Outcome.GRACEFUL:
            return _graceful_evidence(duration, tried, limit_ns)
        case Outcome.KILLED if verdict.cause is not None and verdict.cause.id in faults.BY_FAULT:
            return _Evidence(doubt, sentence(verdict.cause.evidence))
        case Outcome.KILLED if tried >= limit_ns and seen.derivation.cut_short is not None:
            return _Evidence(against, sentence(verdict.reason))
        case Outcome.KILLED if tried >= limit_ns:
            return _Evidence(against, f"It was still running {timeout(tried)} after the stop signal and was killed.")
        case Outcome.KILLED if _seen_to_end(result, longest_seen, limit_ns):
            return _Evidence(ComplianceStatus.COMPLIANT)
        case Outcome.KILLED if verdict.cause is not None and verdict.cause.id in NEVER_BEGUN:
            why = f"no longer stop timeout helps: {verdict.cause.evidence}"
            return _Evidence(against, sentence(f"It was killed at {timeout(tried)}, and {why}"))
        case Outcome.KILLED:
            reason = f"It was killed at {timeout(tried)} and never seen to exit within {timeout(limit_ns)}."
            return _Evidence(doubt, reason)
        case Outcome.NOT_RUNNING:
            return _Evidence(doubt, "It was not running when the stop came.")
        case Outcome.INCONCLUSIVE:
            return _Evidence(doubt, sentence(verdict.reason))
        case _ if duration is not None and duration > limit_ns:
            # Lossy or crashed, but later than the limit: the platform's SIGKILL would have come first.
            reason = f"It took {precise_seconds(duration)} to exit and would have been killed at {timeout(limit_ns)}."
            return _Evidence(against, reason)
        case _:
            return _Evidence(against, sentence(verdict.reason))


def _graceful_evidence(duration_ns: int | None, tried_ns: int, limit_ns: int) -> _Evidence:
    """A graceful stop; without a measured duration it took at most its stop timeout."""
    if duration_ns is None and tried_ns > limit_ns:
        reason = f"It exited gracefully, but how long that took is not known; the stop timeout was {timeout(tried_ns)}."
        return _Evidence(ComplianceStatus.INCONCLUSIVE, reason)
    left_after = tried_ns if duration_ns is None else duration_ns
    if left_after > limit_ns:
        reason = f"It needed {precise_seconds(left_after)} to exit and would have been killed at {timeout(limit_ns)}."
        return _Evidence(ComplianceStatus.NON_COMPLIANT, reason)
    return _Evidence(ComplianceStatus.COMPLIANT, left_after_ns=left_after)


@dataclass(frozen=True)
class _LongestSeen:
    """The longest stop timeout and the longest duration among the graceful trials of one stop moment; 0: none."""

    timeout_ns: int = 0
    duration_ns: int = 0


def _longest_seen(results: list[TrialResult]) -> dict[int, _LongestSeen]:
    """By stop moment, so that the thousands of trials of a scenario need not be compared pair by pair."""
    longest: dict[int, _LongestSeen] = {}
    for result in results:
        if result.verdict.outcome is Outcome.GRACEFUL:
            seen = result.observation
            known = longest.get(seen.stop_after_ns, _LongestSeen())
            longest[seen.stop_after_ns] = _LongestSeen(
                max(known.timeout_ns, seen.stop_timeout_ns),
                max(known.duration_ns, result.verdict.facts.shutdown_duration_ns or 0),
            )
    return longest


def _seen_to_end(killed: TrialResult, longest_seen: dict[int, _LongestSeen], limit_ns: int) -> bool:
    """Whether a graceful trial, stopped at the same moment, shows what the killed one would have done with more time:
    it had at least `limit_ns`, or it exited only after the killed one's timeout."""
    longest = longest_seen.get(killed.observation.stop_after_ns)
    return longest is not None and (
        longest.timeout_ns >= limit_ns or longest.duration_ns >= killed.observation.stop_timeout_ns
    )


# ── Platforms ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _platform_row(
    platform: Platform,
    scenarios: tuple[Scenario, ...],
    by_scenario: dict[str, list[TrialResult]],
    against: Callable[[str, int], Compliance],
) -> PlatformRow:
    """Every scenario against one platform's default. `against`: a scenario by its name, and a stop timeout."""
    limit_ns = platform.default_timeout_s * NS_PER_S
    judged = [
        _other_signal(platform, scenario.name, by_scenario[scenario.name], limit_ns) or against(scenario.name, limit_ns)
        for scenario in scenarios
    ]
    return PlatformRow(
        platform=platform,
        statuses=tuple(row.status for row in judged),
        reasons=tuple(row.reason for row in judged),
    )


def _other_signal(platform: Platform, scenario: str, results: list[TrialResult], limit_ns: int) -> Compliance | None:
    """Inconclusive where the platform always sends one signal and the trials were stopped by another; else None.

    A container may handle SIGQUIT and ignore SIGTERM, so the trials say nothing about such a platform.
    """
    if platform.stop_signal == IMAGE_SIGNAL:
        return None
    sent = {result.observation.record.stop_signal for result in results} - {None}
    names = sorted(signals.name(number) for number in sent if number is not None)
    if not names or names == [platform.stop_signal]:
        return None
    reason = f"It was stopped by {' and '.join(names)}; {platform.name} sends {platform.stop_signal}."
    return Compliance(scenario, limit_ns, ComplianceStatus.INCONCLUSIVE, reason)
