"""Properties that do not go with the rest of their scenario, with their places. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from stop_harness import units
from stop_harness.model import CommandProperty, GroupKind, LogProperty, MountKind, Scenario
from stop_harness.scenario.keys import Path
from stop_harness.scenario.properties import KINDS, PropertySection
from stop_harness.scenario.sections import ScenarioFile, SubjectSection


def mismatches(file: ScenarioFile) -> Iterator[tuple[Path, str]]:
    """(path of the key, what is wrong with it) for properties that do not go with the rest of the scenario."""
    for index, expectation in enumerate(file.expect):
        restarted = False
        for number, section in enumerate(expectation.after_stop):
            where: Path = ("expect", index, "after_stop", number)
            for key, problem in _of_one(section, file, restarted=restarted):
                yield (*where, key), f"expect.{index}.after_stop.{number}: {problem}"
            restarted = restarted or section.restart is not None


def _of_one(section: PropertySection, file: ScenarioFile, *, restarted: bool) -> Iterator[tuple[str, str]]:
    subject = file.subject
    kind = next(kind for kind in KINDS if kind in section.given)
    in_group = subject.compose is not None or subject.kubernetes is not None
    whole = subject.kubernetes is not None or (subject.compose is not None and subject.compose.service is None)
    if subject.task_definition is not None:
        yield kind, f"`{kind}` cannot be checked of a task: ECS removes its containers, and shows no file of them"
        return
    if section.in_ is not None and not in_group:
        yield "in", "`in` names a container of a group; it goes with `subject.compose` or `subject.kubernetes`"
    if whole:
        yield from _of_whole_group(section, kind)
    elif kind == "command" and section.in_ is None and not restarted:
        yield kind, "the container has ended, so nothing runs in it: name another one with `in`, or `restart` it before"
    if kind == "restart" and restarted:
        yield kind, "it was started again already; one `restart` is enough"
    if kind == "port_free" and restarted:
        yield kind, "behind `restart` the container has its port again; write `port_free` before it"
    if section.ready_within is not None and section.ready_within > file.ready.timeout:
        limit = units.format_duration(file.ready.timeout)
        yield "ready_within", f"`ready_within` is longer than `ready.timeout` ({limit}), after which nobody waits"
    if section.acknowledged and not file.traffic.messages:
        yield "acknowledged", "`acknowledged` is about messages: it goes with `traffic.messages`"
    gone = section.file is not None and not restarted and not in_group
    if gone and (place := _kept_in_memory(section.file or "", subject)):
        yield kind, f"{place} is kept in memory and gone with the container; use a volume, or a path of the image"


def _of_whole_group(section: PropertySection, kind: str) -> Iterator[tuple[str, str]]:
    """Of a project or a pod that is stopped with all its containers."""
    if kind in {"command", "restart", "port_free"}:
        yield kind, f"`{kind}` needs a group of which only one container is stopped: name it with `compose.service`"
    elif section.in_ is None:
        yield kind, f"all containers of the group are stopped: say with `in` whose `{kind}` is meant"


def unknown_containers(scenario: Scenario) -> Iterator[tuple[Path, str]]:
    """(path of the key, what is wrong with it) where `in` does not fit the group that was read."""
    group = scenario.subject.group
    if scenario.subject.origin is None:
        return
    names = [] if group is None else [member.name for member in group.members]
    stopped = group.stopped if group is not None and group.kind is not GroupKind.POD else None
    for index, expectation in enumerate(scenario.expectations):
        for number, item in enumerate(expectation.after_stop):
            name = getattr(item, "container", None)
            key = f"expect.{index}.after_stop.{number}.in"
            where: Path = ("expect", index, "after_stop", number, "in")
            if name is not None and name not in names:
                yield where, f"{key}: the group has no container {name}; it has {', '.join(names) or 'only one'}"
            elif isinstance(item, LogProperty) and stopped is not None and name not in {None, stopped}:
                yield where, f"{key}: {name} is not stopped, and only of {stopped} is it known what was written since"
            elif isinstance(item, CommandProperty) and name is not None and name == stopped:
                yield where, f"{key}: {name} has ended; leave `in` out and write the command behind `restart`"


def _kept_in_memory(path: str, subject: SubjectSection) -> str | None:
    """The tmpfs mount that a path lies on."""
    path = posixpath.normpath(path)
    for mount in (*subject.volumes, *subject.tmpfs):
        target = posixpath.normpath(mount.target)
        if mount.kind is MountKind.TMPFS and (path == target or path.startswith(f"{target}/")):
            return target
    return None
