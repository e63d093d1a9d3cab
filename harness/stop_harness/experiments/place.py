"""Where a remedy is made: in the only container that is stopped, or in one of a task, a project or a pod. Pure.

The whole is started and stopped as before, with that one container changed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from stop_harness import units
from stop_harness.ecs import task_definition
from stop_harness.errors import HarnessBug
from stop_harness.evidence.process_tree import SHELLS, Tree
from stop_harness.model import (
    NS_PER_S,
    Form,
    Group,
    GroupKind,
    Member,
    Observation,
    Remedy,
    RemedyKind,
    Scenario,
    Subject,
    TrialResult,
)
from stop_harness.verdict import tasks
from stop_harness.wording import of_pod

KINDS_WITHOUT_KEY = {
    Form.IMAGE: frozenset[RemedyKind](),
    Form.COMPOSE: frozenset[RemedyKind](),
    Form.KUBERNETES: frozenset({RemedyKind.INIT}),
    Form.TASK: frozenset({RemedyKind.STOP_SIGNAL}),
}
"""What a form has no key for: a pod no init, a task no stop signal. It would be a change of the image."""


def can_be_made(kind: RemedyKind, scenario: Scenario, container: str | None) -> bool:
    """Whether there is a place for such a change."""
    if container is not None and kind is RemedyKind.STOP_SIGNAL and scenario.stop.signal is not None:
        return False  # the scenario's own is sent to all
    return kind not in KINDS_WITHOUT_KEY[scenario.subject.form]


def has_init(scenario: Scenario, container: str | None) -> bool:
    """Whether the container is started with the engine's init."""
    subject = scenario.subject
    if container is None:
        return _alone(scenario).init
    if subject.task is not None:
        return bool(_definition(scenario, container).get("linuxParameters", {}).get("initProcessEnabled"))
    return _member(subject, container).subject.init


def as_alone(scenario: Scenario, container: str | None, seen: Observation) -> Scenario:
    """The scenario with that container as if it were all there is, to ask an engine what it runs.

    The image of a task's container can be asked by nobody; without an `entryPoint` of its definition the command line
    of its first process, as it was seen, stands for it.
    """
    subject = scenario.subject
    if container is None:
        return scenario
    if subject.task is None:
        name = _member(subject, container).name
        return replace(scenario, subject=replace(subject, group=replace(_group(subject), stopped=name)))
    it = _definition(scenario, container)
    entrypoint, command = tuple(it.get("entryPoint") or ()), tuple(it.get("command") or ())
    if not entrypoint:
        entrypoint, command = _first_words(seen), ()
    return replace(scenario, subject=Subject(image=it.get("image"), entrypoint=entrypoint, command=command))


def _first_words(seen: Observation) -> tuple[str, ...]:
    """The argument list of the first process; the line of a shell is one word, whatever blanks are in it."""
    first = Tree(seen.looks.before or ()).pid1
    words = first.command.split() if first is not None else []
    if len(words) > 2 and words[0].rpartition("/")[2] in SHELLS and words[1] == "-c" and first is not None:
        return (*words[:2], first.command.split(None, 2)[2])
    return tuple(words)


def part_of(result: TrialResult, container: str | None) -> TrialResult:
    """What a trial says of the container: the whole where it is the only one, or where the stop came to nothing."""
    part = dict(tasks.part_results(result)).get(container) if container is not None else None
    if part is None or not of_pod(result.observation):
        return part or result
    grace_ns = result.observation.stop_timeout_ns  # a pod has one for all, of which hooks and waiting take their part
    return replace(part, observation=replace(part.observation, stop_timeout_ns=grace_ns))


def container_seen(seen: Observation | None, container: str | None) -> Observation | None:
    """The record of the container in a trial, also where it had ended before the stop."""
    if seen is None or container is None or seen.task is None:
        return seen
    return next((tasks.part(seen, item) for item in seen.task.containers if item.name == container), seen)


# ── The change ───────────────────────────────────────────────────────────────────────────────────────────────────────


def changed(scenario: Scenario, container: str | None, remedy: Remedy) -> Scenario:
    """The scenario with the remedy made there; its stop timeouts are those of the stop that is repeated."""
    if container is None:
        alone = _with_words(_alone(scenario), remedy)
        made = scenario.subject.with_alone(replace(alone, init=alone.init or remedy.init))
        stop = replace(scenario.stop, signal=remedy.stop_signal or scenario.stop.signal)
        return _timed(replace(scenario, subject=made, stop=stop), remedy.stop_timeout_ns)
    if scenario.subject.task is not None:
        return _changed_task(scenario, container, remedy)
    return _changed_group(scenario, container, remedy)


def _timed(scenario: Scenario, timeout_ns: int | None) -> Scenario:
    return scenario if timeout_ns is None else replace(scenario, stop=replace(scenario.stop, timeouts_ns=(timeout_ns,)))


def _changed_group(scenario: Scenario, container: str, remedy: Remedy) -> Scenario:
    group, timeout_ns = _group(scenario.subject), remedy.stop_timeout_ns
    member = _member(scenario.subject, container)
    subject = _with_words(member.subject, remedy)
    new = replace(
        member,
        subject=replace(subject, init=subject.init or remedy.init),
        stop_signal=remedy.stop_signal or member.stop_signal,
    )
    own = scenario.stop.own_timeouts and group.kind is GroupKind.COMPOSE
    if own and timeout_ns is not None:
        before_ns = group.grace_ns if member.stop_timeout_ns is None else member.stop_timeout_ns
        new = replace(new, stop_timeout_ns=timeout_ns)
        (all_ns,) = scenario.stop.timeouts_ns
        timeout_ns = all_ns + max(0, timeout_ns - before_ns)
    return _timed(replace(scenario, subject=scenario.subject.with_member(new)), timeout_ns)


def _changed_task(scenario: Scenario, container: str, remedy: Remedy) -> Scenario:
    task, timeout_ns = scenario.subject.task, remedy.stop_timeout_ns
    assert task is not None, "the caller has looked"
    members: dict[str, Any] = {}
    if remedy.entrypoint is not None:
        members |= {"entryPoint": list(remedy.entrypoint), "command": list(remedy.command or ())}
    elif remedy.command is not None:
        members["command"] = list(remedy.command)
    if remedy.init:
        linux = _definition(scenario, container).get("linuxParameters", {})
        members["linuxParameters"] = {**linux, "initProcessEnabled": True}
    if timeout_ns is not None and scenario.stop.own_timeouts:
        members["stopTimeout"] = -(-timeout_ns // NS_PER_S)
    made = task_definition.container_changed(task, container, members)
    if scenario.stop.own_timeouts:
        timeout_ns = task_definition.longest_chain(made)[1] * NS_PER_S
    return _timed(replace(scenario, subject=replace(scenario.subject, task=made)), timeout_ns)


def _with_words(subject: Subject, remedy: Remedy) -> Subject:
    if remedy.entrypoint is not None:
        return replace(subject, entrypoint=remedy.entrypoint, command=remedy.command)
    return subject if remedy.command is None else replace(subject, command=remedy.command)


def limit_title(scenario: Scenario, timeout_ns: int) -> str:
    """`a stop timeout of 20s`; of a pod `a grace period of 20s`."""
    word = "grace period" if scenario.subject.form is Form.KUBERNETES else "stop timeout"
    return f"a {word} of {units.format_duration(timeout_ns)}"


def _alone(scenario: Scenario) -> Subject:
    subject = scenario.subject.alone
    if subject is None:
        raise HarnessBug(f"{scenario.name} is no single container")
    return subject


def _group(subject: Subject) -> Group:
    if subject.group is None:
        raise HarnessBug("a container was named, and there is no group")
    return subject.group


def _definition(scenario: Scenario, container: str) -> dict[str, Any]:
    task = scenario.subject.task
    assert task is not None, "the caller has looked"
    found: list[dict[str, Any]] = json.loads(task.document)["containerDefinitions"]
    return next(item for item in found if item["name"] == container)


def _member(subject: Subject, container: str) -> Member:
    """Of `web-2` it is `web`, where that runs several times."""
    group = _group(subject)
    names = (container, container.rpartition("-")[0])
    return next(member for name in names for member in group.members if member.name == name)
