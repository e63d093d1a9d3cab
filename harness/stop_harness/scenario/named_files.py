"""Scenario → the same with what it names on this machine's disk: a task definition, Compose files, a manifest, and
files of its containers."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from stop_harness.errors import ScenarioError, UsageError
from stop_harness.model import NS_PER_S, EndedBy, GroupKind, MountKind, Scenario, Subject
from stop_harness.scenario import env_file

MAX_FILE_BYTES = 1 << 20

MAX_MANIFEST_BYTES = 16 << 20
"""A rendered chart with its CustomResourceDefinitions may have some megabytes."""

STANDARD_INPUT = "<standard input>"

MOST_NAME = 63
"""Characters of a scenario's name."""


def with_what_it_names(scenario: Scenario) -> Scenario:
    """The scenario with what it names on disk: its task definition, its Compose project or its pod, and files of its
    containers.
    Raises ScenarioError or UsageError."""
    scenario = with_pod(with_compose(with_task(scenario)))
    subject, folder = scenario.subject, Path(scenario.source or "").parent
    if subject.origin is not None:
        first = Path(subject.origin.files[0])
        folder = first if first.is_dir() else first.parent
    problems = _of_properties(scenario)
    if subject.group is None:
        subject = _with_files(subject, scenario, folder, problems)
    else:
        members = (
            replace(item, subject=_with_files(item.subject, scenario, folder, problems))
            for item in subject.group.members
        )
        subject = replace(subject, group=replace(subject.group, members=tuple(members)))
    if problems:
        raise ScenarioError(tuple(problems))
    return replace(scenario, subject=subject)


def _of_properties(scenario: Scenario) -> list[str]:
    """What does not fit the group that was read."""
    if not scenario.properties:
        return []
    from stop_harness.scenario import property_places  # late: few scenarios have any, and pydantic is dear

    return [f"{scenario.location(*path)}: {what}" for path, what in property_places.unknown_containers(scenario)]


def with_task(scenario: Scenario, *, to_look_at: bool = False) -> Scenario:
    """The scenario with its task definition read from disk; any other scenario as it is. Raises ScenarioError.

    Where the scenario names no stop timeouts, those of the definition apply, and the trial's is the longest chain's. A
    container that has none gets what ECS_CONTAINER_STOP_TIMEOUT says, as `ecs serve` and the ECS agent read it.
    """
    subject = scenario.subject
    if subject.task_file is None:
        return scenario
    from stop_harness.ecs import stop_timeouts, task_definition, unapplied
    from stop_harness.ecs.task_forms import TaskChoice

    text, agent_value = read(Path(subject.task_file)), os.environ.get(stop_timeouts.AGENT_VARIABLE)
    chosen = TaskChoice(subject.task_name, subject.task_parameters, to_look_at)
    task, known_later = task_definition.read(text, subject.task_file, dict(subject.task_images), chosen, agent_value)
    stop = scenario.stop
    if stop.own_timeouts:
        longest_s = task_definition.longest_chain(task)[1]
        if stop.ended_by is EndedBy.SPOT:
            longest_s = min(longest_s, task_definition.TASK_LIMIT_S)
        stop = replace(stop, timeouts_ns=(longest_s * NS_PER_S,))
    not_applied = (*unapplied.of_task(json.loads(task.document)), *known_later)
    # Parameters of a template may be passwords, and what became of them stands in the task.
    subject = replace(subject, task=task, task_parameters=())
    return replace(scenario, subject=subject, stop=stop, not_applied=not_applied)


def with_compose(scenario: Scenario) -> Scenario:
    """The scenario with the services of its Compose files; any other, and one that was read, as it is."""
    origin = scenario.subject.origin
    if origin is None or origin.kind is not GroupKind.COMPOSE or scenario.subject != Subject(origin=origin):
        return scenario
    from stop_harness.scenario.compose import group, loading  # late: few scenarios have such files

    where = f"{scenario.location('subject', 'compose')}: subject.compose: "
    try:
        project = loading.load(origin.files, os.environ, origin.profiles)
        services = project.enabled if origin.name is None else (origin.name,)
        stopped = group.stopped(project.with_enabled(services), origin.name, services, loading.DISK)
    except (UsageError, ScenarioError) as error:
        raise ScenarioError(tuple(where + problem for problem in getattr(error, "problems", (str(error),)))) from None
    made = replace(scenario, subject=replace(stopped.subject, origin=origin))
    return group.with_stop(made, stopped, timeouts_given=not scenario.stop.own_timeouts)


def with_pod(scenario: Scenario) -> Scenario:
    """The scenario with the pod of its manifest, which is stopped with its own grace period where no stop timeouts are
    named; any other, and one that was read, as it is. Raises ScenarioError."""
    subject, origin = scenario.subject, scenario.subject.origin
    if origin is None or origin.kind is not GroupKind.POD or subject.group is not None:
        return scenario
    from stop_harness.scenario.kubernetes import workloads  # late: few scenarios have such files

    file = origin.files[0]
    text = _manifest(file, scenario)
    read = workloads.pod_of(
        text, STANDARD_INPUT if file == "-" else file, origin.workload, origin.name, dict(subject.task_images)
    )
    name = scenario.name
    if scenario.source is None:
        name = read.group.name[:MOST_NAME] or "pod"
    stop = scenario.stop
    if stop.own_timeouts:
        stop = replace(stop, timeouts_ns=(read.group.grace_ns,), own_timeouts=False)
    return replace(
        scenario, name=name, subject=replace(subject, group=read.group), stop=stop, not_applied=read.not_applied
    )


def _manifest(file: str, scenario: Scenario) -> str:
    """The text of a manifest; `-`: what comes from standard input, such as a rendered chart."""
    if file == "-":
        data = sys.stdin.buffer.read(MAX_MANIFEST_BYTES + 1)
        return _text_of(data, STANDARD_INPUT, MAX_MANIFEST_BYTES)
    if scenario.source is not None and not Path(file).is_file():
        where = scenario.location("subject", "kubernetes", "file")
        raise ScenarioError((f"{where}: subject.kubernetes.file: there is no file {file}",))
    return read(Path(file), MAX_MANIFEST_BYTES)


def _with_files(subject: Subject, scenario: Scenario, folder: Path, problems: list[str]) -> Subject:
    """A container with what its settings name on disk: variables of `env_file`, seccomp profiles, and bind mounts,
    which have to be inside `folder`."""
    settings = subject.settings
    pairs: dict[str, str] = {}
    for index, file in enumerate(settings.env_files):
        try:
            pairs.update(env_file.pairs(read(Path(file)), file, os.environ))
        except ScenarioError as error:
            where = f"{scenario.location('subject', 'env_file', index)}: subject.env_file: "
            problems += [where + problem.removeprefix(f"{file}:1:1: ") for problem in error.problems]
    for index, mount in enumerate(settings.mounts):
        if mount.kind is MountKind.BIND and (problem := _not_mountable(mount.source or "", folder)):
            problems.append(f"{scenario.location('subject', 'volumes', index)}: subject.volumes: {problem}")
    options = tuple(_security_option(option, scenario, folder, problems) for option in settings.security_opt)
    environment = tuple({**pairs, **dict(subject.environment)}.items())
    settings = replace(settings, security_opt=options)
    return replace(subject, environment=environment, settings=settings)


def _not_mountable(source: str, folder: Path) -> str | None:
    """Why a path must not or cannot be mounted; links are followed, so that none leads out of the folder."""
    if source.startswith("~") or not Path(source).resolve().is_relative_to(folder.resolve()):
        return (
            f"{source} is outside of {folder.resolve()}; only what lies there is mounted, so that a scenario cannot "
            "reach the rest of this machine: copy it there"
        )
    return None if Path(source).exists() else f"there is no file or folder {source}"


def _security_option(option: str, scenario: Scenario, folder: Path, problems: list[str]) -> str:
    """A profile of seccomp is sent as text, as Docker's own client does it."""
    name, _, value = option.partition("=" if "=" in option else ":")
    if name != "seccomp" or value == "unconfined":
        return option
    where = f"{scenario.location('subject', 'security_opt')}: subject.security_opt: seccomp: "
    path = folder / value
    if problem := _not_mountable(str(path), folder):
        problems.append(where + problem)
        return option
    try:
        return f"seccomp={json.dumps(json.loads(read(path)))}"
    except ScenarioError as error:
        problems.extend(where + problem for problem in error.problems)
    except ValueError as error:
        problems.append(f"{where}{path}: not valid JSON: {error}")
    return option


def read(file: Path, most: int = MAX_FILE_BYTES) -> str:
    """The text of a file. Raises ScenarioError where it cannot be read, is larger, or is no UTF-8."""
    try:
        data = beginning(file, most)
    except OSError as error:
        raise ScenarioError((f"{file}:1:1: cannot be read: {error.strerror}",)) from None
    return _text_of(data, str(file), most)


def beginning(file: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """Of a file that may hold so many bytes, one byte more: a device may have no end. Raises OSError."""
    with file.open("rb") as opened:
        return opened.read(most + 1)


def _text_of(data: bytes, file: str, most: int) -> str:
    if len(data) > most:
        raise ScenarioError((f"{file}:1:1: larger than {most >> 20} MiB; this is not a scenario",))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ScenarioError((f"{file}:{line}:1: not UTF-8 text",)) from None
