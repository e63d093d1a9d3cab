"""The stop of a whole task, container by container: order, shares, longest chain, what to mend first. Pure."""

from __future__ import annotations

from dataclasses import replace
from graphlib import TopologicalSorter

from stop_harness.evidence import stop_sequence
from stop_harness.model import (
    NS_PER_S,
    Clock,
    ContainerRecord,
    ContainerShare,
    EventKind,
    Observation,
    Outcome,
    Scenario,
    StopRecord,
    TaskRecord,
    TaskStop,
    TrialResult,
    Verdict,
)

LEAST_STOP_NS = 2 * NS_PER_S
"""What a kubelet gives a stop in any case (`minimumGracePeriodInSeconds`, pkg/kubelet/kuberuntime)."""


def parts(observation: Observation) -> tuple[tuple[ContainerRecord, Observation], ...]:
    """Each container that the stop had to end, as an observation of its own; empty for a single container. The requests
    are those of the container that the trial is about; where it is about all, nobody's in particular."""
    containers = observation.task.containers if observation.task else ()
    return tuple((item, part(observation, item)) for item in containers if item.had_to_be_stopped)


def what_cut_it_short(record: ContainerRecord) -> str:
    """Why a container had less than its stop timeout, to be said after its reason; empty where it had all of it."""
    if record.cut_to_ns is None:
        return ""
    own, left = record.stop_timeout_ns // NS_PER_S, record.cut_to_ns // NS_PER_S
    return f"; of its stop timeout of {own} s the two minutes of the Spot notice had left {left} s"


def part_results(result: TrialResult) -> tuple[tuple[str, TrialResult], ...]:
    """(container, its result) of a task that was stopped, or only of the one that the trial is about; empty for a
    single container or a stop that came to nothing.

    What decides compliance is each container's own stop timeout, not the task's.
    """
    if result.observation.task is None:
        return ()
    about = result.observation.task.about
    verdicts = {item.name: item for item in result.verdict.containers if about in {None, item.name}}
    return tuple(
        (
            record.name,
            TrialResult(
                seen,
                Verdict(
                    seen.trial_id,
                    found.outcome,
                    result.verdict.status,
                    found.reason,
                    found.facts,
                    found.findings,
                    found.cause,
                ),
            ),
        )
        for record, seen in parts(result.observation)
        if (found := verdicts.get(record.name)) is not None
    )


def analyse(result: TrialResult, scenario: Scenario) -> TaskStop | None:
    """What the stop of a task or a group came to; None for a single container."""
    task = result.observation.task
    if task is None:
        return None
    stopped = tuple(record for record, _ in parts(result.observation))
    chain, worst_case_ns = _worst_chain(stopped)
    if task.grace_ns is not None:
        worst_case_ns = _worst_pod_ns(task.grace_ns, stopped)
    limit_ns, limit_name = _limit(task)
    total_ns = result.verdict.facts.shutdown_duration_ns
    shares = _shares(result, task, total_ns)
    first, advice = _fix_first(shares, total_ns)
    return TaskStop(
        trial_id=result.observation.trial_id,
        scenario=result.observation.scenario,
        containers=shares,
        total_ns=total_ns,
        chain=chain,
        worst_case_ns=worst_case_ns,
        limit_ns=limit_ns,
        limit_name=limit_name,
        fix_first=first,
        advice=advice,
        ended_by=scenario.stop.ended_by if task.group is None else None,
        stop_code=task.stop_code,
        stopped_reason=task.stopped_reason,
        of_pod=task.grace_ns is not None,
    )


def _worst_chain(stopped: tuple[ContainerRecord, ...]) -> tuple[tuple[str, ...], int]:
    """The containers that wait for each other whose stop timeouts add up to most, and that sum."""
    own_ns = {item.name: item.stop_timeout_ns for item in stopped}
    waits = {item.name: [name for name in item.waits_for if name in own_ns] for item in stopped}
    longest: dict[str, tuple[tuple[str, ...], int]] = {}
    for name in TopologicalSorter(waits).static_order():
        before = max((longest[other] for other in waits[name]), key=lambda chain: chain[1], default=((), 0))
        longest[name] = ((*before[0], name), before[1] + own_ns[name])
    return max(longest.values(), key=lambda chain: chain[1], default=((), 0))


def _worst_pod_ns(grace_ns: int, stopped: tuple[ContainerRecord, ...]) -> int:
    """A hook, or waiting for others, may take the whole grace period; the stop itself gets two seconds all the same."""
    takes_its_time = any(item.hooks or item.waits_for for item in stopped)
    return grace_ns + LEAST_STOP_NS if takes_its_time else max(grace_ns, LEAST_STOP_NS)


def _limit(task: TaskRecord) -> tuple[int | None, str]:
    """What the platform gives the whole, and how that is called; None where it sets no limit."""
    if task.group is None:
        from stop_harness.ecs.task_definition import TASK_LIMIT_NAME, TASK_LIMIT_S  # late: most runs have no task

        return TASK_LIMIT_S * NS_PER_S, TASK_LIMIT_NAME
    if task.grace_ns is None:
        return None, ""
    return task.grace_ns, f"the pod's grace period ({task.grace_ns / NS_PER_S:g} s)"


def of_hooks(container: ContainerRecord, grace_ns: int | None) -> tuple[tuple[str, str], ...]:
    """(rule, text) for each hook before the stop that failed, or took all the time. `grace_ns`: of the pod."""
    found = []
    for hook in container.hooks:
        took = f"{hook.took_ns / NS_PER_S:.1f} s"
        if hook.cut_off:
            grace = "" if grace_ns is None else f" of {grace_ns / NS_PER_S:g} s"
            text = f"`{hook.command}` had not ended when the grace period{grace} was over: the stop signal came then"
            left = f"{text}, after {took}, and {container.stop_timeout_ns / NS_PER_S:g} s were left for the stop"
            found.append(("hook-outlasts-grace", left))
        elif hook.reason and container.not_told is None:
            found.append(("hook-ignored", f"`{hook.command}` failed after {took}, and the stop went on: {hook.reason}"))
    return tuple(found)


def part(observation: Observation, container: ContainerRecord) -> Observation:
    """One container of a task or a group as an observation of its own."""
    return replace(
        observation,
        trial_id=f"{observation.trial_id}/{container.name}",
        stop_timeout_ns=container.limit_ns,
        record=container.record,
        looks=container.looks,
        traffic=observation.traffic if observation.task and observation.task.about == container.name else None,
        task=None,
    )


def _shares(result: TrialResult, task: TaskRecord, total_ns: int | None) -> tuple[ContainerShare, ...]:
    """In the order in which the containers were told to stop; those that had ended before stand first."""
    verdicts = {item.name: item for item in result.verdict.containers}
    clock, spans = _spans(result.observation)
    on_chain = _longest_chain(task, spans)
    begun_ns = min((begin_ns for begin_ns, _ in spans.values()), default=None)
    if task.begun_ns is not None and clock is Clock.ENGINE:
        begun_ns = task.begun_ns
    shares = []
    for item in task.containers:
        found, span = verdicts.get(item.name), spans.get(item.name)
        duration_ns = found.facts.shutdown_duration_ns if found else None
        shares.append(
            ContainerShare(
                name=item.name,
                essential=item.essential,
                waited_for=item.waits_for,
                stop_timeout_ns=item.limit_ns,
                outcome=found.outcome if found else None,
                reason=found.reason if found else _why_not(item),
                exit_code=item.record.exit_code,
                sigkill_evidence=found.facts.sigkill_evidence if found else None,
                signalled_after_ns=span[0] - begun_ns if span and begun_ns is not None else None,
                duration_ns=duration_ns,
                share=min(1.0, duration_ns / total_ns) if duration_ns is not None and total_ns else None,
                on_longest_chain=item.name in on_chain,
                cause=found.cause if found else None,
                told=item.not_told is None,
                hooks=item.hooks,
                cut_from_ns=None if item.cut_to_ns is None else item.stop_timeout_ns,
            )
        )
    return tuple(sorted(shares, key=lambda share: (share.outcome is not None, share.signalled_after_ns or 0)))


def _why_not(item: ContainerRecord) -> str:
    if not item.ran:
        return "it never ran"
    code = "" if item.record.exit_code is None else f" with exit code {item.record.exit_code}"
    return f"it had ended{code} before the stop"


def _spans(observation: Observation) -> tuple[Clock, dict[str, tuple[int, int]]]:
    """(begin, end) of each container's stop, all on one clock: the one that saw both ends of most containers."""
    seen = [container for container, _ in parts(observation)]
    by_clock = [
        (clock, {container.name: span for container in seen if (span := _span(container.record, clock))})
        for clock in (Clock.ENGINE, Clock.ECS, Clock.HARNESS)
    ]
    return max(by_clock, key=lambda item: len(item[1]))


def _span(record: StopRecord, clock: Clock) -> tuple[int, int] | None:
    begin = stop_sequence.first(record, EventKind.SIGNAL_SENT, clock)
    begin = begin or stop_sequence.first(record, EventKind.STOP_REQUESTED, clock)
    end = stop_sequence.first(record, EventKind.EXITED, clock)
    return (begin.at_ns, end.at_ns) if begin is not None and end is not None else None


def _longest_chain(task: TaskRecord, spans: dict[str, tuple[int, int]]) -> frozenset[str]:
    """From the container that ended last back over those it waited for, each time the one that ended last."""
    waits_for = {item.name: item.waits_for for item in task.containers}
    ends = {name: end_ns for name, (_, end_ns) in spans.items()}
    chain: list[str] = []
    left = set(ends)
    while left:
        chain.append(max(left, key=ends.__getitem__))
        left = {name for name in waits_for[chain[-1]] if name in ends}
    return frozenset(chain)


LEAST_SHARE = 0.01
"""Below this share of the whole stop nothing is said of a container's time: it is not what makes it bad."""


def _fix_first(shares: tuple[ContainerShare, ...], total_ns: int | None) -> tuple[str | None, str]:
    """The container that was not graceful and cost most; on the longest chain before beside it."""
    bad = [item for item in shares if item.outcome not in {None, Outcome.GRACEFUL, Outcome.INCONCLUSIVE}]
    if not bad:
        return None, ""
    worst = max(bad, key=lambda item: (item.on_longest_chain, item.duration_ns or 0))
    if worst.share is None or total_ns is None or worst.share < LEAST_SHARE:
        return worst.name, "it was not stopped gracefully"
    what = "of the whole stop" if worst.on_longest_chain else "of the time, though others took longer"
    return worst.name, f"{worst.share:.0%} {what} ({_seconds(worst.duration_ns)})"


def _seconds(duration_ns: int | None) -> str:
    return "unknown" if duration_ns is None else f"{duration_ns / NS_PER_S:.1f} s"
