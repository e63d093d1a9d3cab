"""Stops of whole tasks, container by container, in the words that every format shares. Pure."""

from __future__ import annotations

from stop_harness import signals
from stop_harness.evidence.stop_sequence import EXIT_CODE_SIGKILL
from stop_harness.model import ContainerShare, EndedBy, Outcome, Report, Role, Scenario, Severity, TaskStop
from stop_harness.records import dataclass
from stop_harness.wording import (
    OUTCOME_WORDS,
    OWN_TIMEOUTS,
    count_of,
    hooks_line,
    is_pod,
    limit_word,
    one_line,
    seconds,
    sentence,
    timeout,
)

ENDED_BY = {
    EndedBy.STOP_TASK: "StopTask",
    EndedBy.SCALE_IN: "the service scheduler, as for scale-in, a deployment or an instance that drains",
    EndedBy.SPOT: "a Spot interruption",
}
DRAINED = "a Spot interruption of its instance, which drains: the service scheduler"
"""Of a task that does not run on Fargate."""
SPOT_LIMIT = ", and the two minutes of the notice for all together"


@dataclass(frozen=True)
class ContainerRow:
    """One container. `begin` and `length` are fractions of the whole stop, for a bar; None where not known.

    `outcome` None: it had ended before the stop, and waited for nobody. `fix_first`: its stop is worth mending first.
    `role`: what it is beside a container that all depends on, in words; empty for one of those.
    """

    name: str
    role: str
    after: str
    took: str
    share: str
    limit: str
    ended: str
    waited_for: str
    reason: str
    outcome: Outcome | None
    fix_first: bool
    on_longest_chain: bool
    begin: float | None
    length: float | None


@dataclass(frozen=True)
class TaskSection:
    """One task: of the stops of a scenario with one stop timeout the longest, or the worst.

    `kind`: `task`, `pod` or `project`. `chain` of a pod says what its grace period was spent on. `ended_by`: by what it
    was ended, and against which limit its containers are judged; empty where ECS did not.
    """

    scenario: str
    kind: str
    headline: str
    ended_by: str
    rows: tuple[ContainerRow, ...]
    chain: str
    fix_first: str
    of_pod: bool = False


@dataclass(frozen=True)
class FindingText:
    """What a task definition shows before it runs."""

    severity: Severity
    text: str
    rule: str


def sections(report: Report) -> tuple[TaskSection, ...]:
    """One for each scenario and stop timeout of a task, in report order."""
    timeouts = {result.observation.trial_id: result.observation.stop_timeout_ns for result in report.results}
    words = {result.observation.scenario: limit_word(result.observation) for result in report.results}
    own = {scenario.name for scenario in report.scenarios if scenario.stop.own_timeouts}
    scenarios = {scenario.name: scenario for scenario in report.scenarios}
    groups: dict[tuple[str, int], list[TaskStop]] = {}
    for stop in report.tasks:
        groups.setdefault((stop.scenario, timeouts[stop.trial_id]), []).append(stop)
    return tuple(
        _section(scenarios[name], OWN_TIMEOUTS if name in own else f"{words[name]} {timeout(limit_ns)}", stops)
        for (name, limit_ns), stops in groups.items()
    )


def title(report: Report) -> str:
    """`Tasks, container by container`; what they are called follows from what was stopped."""
    told = {stop.scenario for stop in report.tasks} | {item.scenario for item in report.static_findings}
    kinds = dict.fromkeys(kind_of(scenario) for scenario in report.scenarios if scenario.name in told)
    names = [f"{kind}s" for kind in kinds] or ["tasks"]
    text = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{text[0].upper()}{text[1:]}, container by container"


def kind_of(scenario: Scenario) -> str:
    """What people call several containers that are stopped together."""
    if is_pod(scenario):
        return "pod"
    return "task" if scenario.subject.group is None and scenario.subject.origin is None else "project"


def findings(report: Report, scenario: str | None = None) -> tuple[FindingText, ...]:
    """Of one scenario's task definition, or of all; gravest first."""
    order = list(Severity)
    found = [item for item in report.static_findings if scenario in {None, item.scenario}]
    return tuple(
        FindingText(
            item.finding.severity,
            f"{item.scenario + ': ' if scenario is None else ''}{item.container + ': ' if item.container else ''}"
            f"{item.finding.message}",
            item.finding.rule,
        )
        for item in sorted(found, key=lambda item: order.index(item.finding.severity))
    )


def _section(scenario: Scenario, limit: str, stops: list[TaskStop]) -> TaskSection:
    shown = max(stops, key=lambda stop: (stop.fix_first is not None, stop.total_ns or 0))
    ended = [item for item in shown.containers if item.outcome is not None]
    total = "an unknown time" if shown.total_ns is None else seconds(shown.total_ns)
    which = f" (the longest of {len(stops)} stops)" if len(stops) > 1 else ""
    chain = ", then ".join(one_line(name) for name in shown.chain)
    within, up_to = "", f"may take up to {timeout(shown.worst_case_ns)}"
    if shown.limit_ns is not None:
        within = f", {'within' if shown.worst_case_ns <= shown.limit_ns else 'longer than'} {shown.limit_name}"
    return TaskSection(
        scenario=one_line(scenario.name),
        kind=kind_of(scenario),
        headline=f"{limit[0].upper()}{limit[1:]}: {count_of(len(ended), 'container')} in {total}{which}.",
        ended_by=_ended_by(shown, limit),
        rows=tuple(_row(item, shown, _role(item, scenario)) for item in shown.containers),
        chain=_pod(shown) if shown.of_pod else f"{chain}: {up_to}{within}.{_hooks(shown)}",
        fix_first="" if shown.fix_first is None else f"{one_line(shown.fix_first)}: {shown.advice}.",
        of_pod=shown.of_pod,
    )


def _pod(stop: TaskStop) -> str:
    """What the budget of a pod was spent on: it is one, for hooks, for waiting and for the stop."""
    hooks = [
        f"that of {one_line(item.name)} took {seconds(hook.took_ns)}"
        f"{' and was cut off' if hook.cut_off else ' and failed' if hook.reason else ''}"
        for item in stop.containers
        for hook in item.hooks
    ]
    spent = f"preStop and the stop share the grace period of {timeout(stop.limit_ns or 0)}"
    least = ""
    if stop.worst_case_ns > (stop.limit_ns or 0):
        least = f"; a kubelet leaves each container 2 s after its stop signal, so {timeout(stop.worst_case_ns)} at most"
    return f"{spent}{': ' if hooks else ', and there is no preStop'}{', '.join(hooks)}{least}."


def _hooks(stop: TaskStop) -> str:
    """` Before its stop signal, app ran `sleep 2` (2.1 s).`, for each; empty where there was none."""
    return "".join(f" {hooks_line(item.name, item.hooks)}" for item in stop.containers if item.hooks)


def _ended_by(stop: TaskStop, limit: str) -> str:
    """`a Spot interruption (SpotInterruption: Your Spot Task was interrupted.), judged by …`; of StopTask the reason is
    the caller's own, and says nothing. Empty of what is no task of ECS."""
    if stop.ended_by is None:
        return ""
    told = [stop.stop_code, "" if stop.ended_by is EndedBy.STOP_TASK else stop.stopped_reason]
    told = [one_line(text) for text in told if text]
    drained = stop.ended_by is EndedBy.SPOT and stop.stop_code == "ServiceSchedulerInitiated"
    by = (DRAINED if drained else ENDED_BY[stop.ended_by]) + (f" ({': '.join(told)})" if told else "")
    article = "the " if limit.startswith("stop timeout") else ""
    together = SPOT_LIMIT if stop.ended_by is EndedBy.SPOT else ""
    cut = [one_line(item.name) for item in stop.containers if item.cut_from_ns is not None]
    less = f", which left {' and '.join(cut)} less" if cut else ""
    return f"{by}; judged by {article}{limit}{together}{less}."


def _role(item: ContainerShare, scenario: Scenario) -> str:
    """`essential` is a word of ECS: of a pod it is said what a container is for."""
    group = scenario.subject.group
    if group is None:
        return "" if item.essential else "not essential"
    role = next((member.role for member in group.members if member.name == item.name), Role.MAIN)
    return {Role.MAIN: "", Role.INIT: "init container", Role.SIDECAR: "sidecar"}[role]


def _row(item: ContainerShare, stop: TaskStop, role: str) -> ContainerRow:
    total_ns, begin_ns, took_ns = stop.total_ns, item.signalled_after_ns, item.duration_ns
    known = bool(total_ns) and begin_ns is not None and took_ns is not None
    return ContainerRow(
        name=one_line(item.name),
        role=role,
        after="–" if begin_ns is None else "0 s" if begin_ns == 0 else seconds(begin_ns),
        took="–" if took_ns is None else seconds(took_ns),
        share="–" if item.share is None else f"{item.share:.0%}",
        limit=_limit(item),
        ended=_ended(item),
        waited_for=", ".join(one_line(name) for name in item.waited_for) if item.outcome else "",
        reason=sentence(item.reason),
        outcome=item.outcome,
        fix_first=item.name == stop.fix_first,
        on_longest_chain=item.on_longest_chain,
        begin=min(0.98, (begin_ns or 0) / (total_ns or 1)) if known else None,
        length=min(1.0, (took_ns or 0) / (total_ns or 1)) if known else None,
    )


def _limit(item: ContainerShare) -> str:
    """`50 s`, or `19 of 50 s` where a Spot notice left less."""
    if item.cut_from_ns is None:
        return timeout(item.stop_timeout_ns)
    return f"{timeout(item.stop_timeout_ns).removesuffix(' s')} of {timeout(item.cut_from_ns)}"


def _ended(item: ContainerShare) -> str:
    code = "" if item.exit_code is None else f", exit code {item.exit_code}"
    if item.outcome is None:
        return f"ended before{code}"
    if not item.told:
        return "not told to stop"
    if item.exit_code == EXIT_CODE_SIGKILL and item.sigkill_evidence is not None:
        code = f", {signals.name(signals.SIGKILL)} {item.sigkill_evidence.replace('_', ' ')}"
    return f"{OUTCOME_WORDS[item.outcome]}{code}"
