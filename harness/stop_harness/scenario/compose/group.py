"""A Compose project → what is stopped: a service alone, or all of it as `docker compose down` does. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stop_harness import units
from stop_harness.errors import UsageError
from stop_harness.model import (
    ECS_STOP_TIMEOUT_S,
    NS_PER_S,
    Attachment,
    Group,
    GroupKind,
    GroupNetwork,
    Hook,
    HookKind,
    Member,
    NotApplied,
    Positions,
    Scenario,
    Subject,
)
from stop_harness.scenario import container_keys, scenario_file
from stop_harness.scenario.compose import values
from stop_harness.scenario.compose.keys import NETWORK_PARTS
from stop_harness.scenario.compose.project import Project, listed, replicas
from stop_harness.scenario.compose.reader import Disk
from stop_harness.scenario.compose.service import ComposeService, service_of, words
from stop_harness.scenario.container_keys import STARTS

COMPOSE_STOP_TIMEOUT_S = 10
"""What a container gets without `stop_grace_period`: the engine's default."""

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Stopped:
    """What of a project is stopped.

    `subject`: a container where a service needs nobody and shares nothing, else a group. `timeouts_ns`: of the service
    its own stop timeout and the default of Amazon ECS; of a whole project one, the longest that all of it can take.
    `place`: where a container that is no group stands.
    """

    name: str
    description: str
    subject: Subject
    timeouts_ns: tuple[int, ...]
    signal: str | None
    not_applied: tuple[NotApplied, ...]
    place: str = ""


Change = Callable[[dict[str, Any]], tuple[dict[str, Any], scenario_file.Places | None]]
"""The data of a subject → with what the caller has in its place, and where that was written."""


def stopped(
    project: Project,
    service: str | None,
    services: tuple[str, ...],
    disk: Disk,
    change: Change | None = None,
) -> Stopped:
    """One service, alone or among whom it needs; None: these `services` and whom they need, all of them. `change`:
    what else the one service is given. Raises UsageError or ScenarioError."""
    names = project.with_what_they_need(services if service is None else (service,))
    read = {name: service_of(project, name, disk) for name in names}
    members = tuple(
        _member(project, name, _subject(project, name, read[name], change if name == service else None))
        for name in names
    )
    _refuse_collisions(project, names)
    if project.refusal:
        raise UsageError(project.refusal)
    told = tuple(
        replace(item, doubts=item.doubts if service in {None, name} else ())
        for name in names
        for item in (*read[name].not_applied, *_cut_off(project, name))
    )
    networks = {it.network for member in members for it in member.networks}
    told += _networks_not_applied(project, networks)
    if service is not None and _is_plain(project, members[0] if len(members) == 1 else None):
        only = members[0]
        timeouts_ns = _timeouts(only.stop_timeout_ns)
        said = _said(project, service)
        return Stopped(_slug(service), said, only.subject, timeouts_ns, only.stop_signal, told, only.place)
    group = Group(
        GroupKind.COMPOSE,
        project.name,
        members,
        source=project.file,
        stopped=service,
        grace_ns=COMPOSE_STOP_TIMEOUT_S * NS_PER_S,
        networks=tuple(
            GroupNetwork(name, internal=bool(values.boolean((project.networks.get(name) or {}).get("internal"))))
            for name in sorted(networks)
        ),
    )
    if service is not None:
        timeouts_ns = _timeouts(group.member(service).stop_timeout_ns)
        return Stopped(_slug(service), _said(project, service), Subject(group=group), timeouts_ns, None, told)
    said = f"all of {project.file}, as docker compose down stops it"
    return Stopped(_slug(project.name), said, Subject(group=group), (longest_ns(group),), None, told)


def with_stop(scenario: Scenario, stopped: Stopped, *, timeouts_given: bool) -> Scenario:
    """The scenario with how its subject is stopped where nothing else is said, and with what is not applied."""
    group, stop = scenario.subject.group, scenario.stop
    whole = group is not None and group.stopped is None
    if not timeouts_given:
        stop = replace(stop, timeouts_ns=stopped.timeouts_ns, own_timeouts=whole)
    if stop.signal is None:
        stop = replace(stop, signal=stopped.signal)
    return replace(
        scenario,
        description=scenario.description or stopped.description,
        stop=stop,
        not_applied=(*scenario.not_applied, *stopped.not_applied),
        positions=scenario.positions if scenario.positions.places else Positions.of_subject(stopped.place),
    )


def longest_ns(group: Group) -> int:
    """The longest that the stop of a whole project can take, in which dependencies wait for their dependents."""
    needs = {member.name: [item.member for item in member.waits_for] for member in group.members}

    def chain_ns(name: str) -> int:
        own_ns = group.member(name).stop_timeout_ns
        return (group.grace_ns if own_ns is None else own_ns) + max((chain_ns(each) for each in needs[name]), default=0)

    return max(chain_ns(member.name) for member in group.members)


def _timeouts(own_ns: int | None) -> tuple[int, ...]:
    own_ns = COMPOSE_STOP_TIMEOUT_S * NS_PER_S if own_ns is None else own_ns
    return tuple(sorted({own_ns, ECS_STOP_TIMEOUT_S * NS_PER_S}))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:60] or "service"


def _said(project: Project, service: str) -> str:
    return f"service {service} of {project.file}"


def _is_plain(project: Project, member: Member | None) -> bool:
    """Whether a member is a container as any other: alone, without hooks, and found by nobody under another name."""
    if member is None:
        return False
    alone = not (member.after_start or member.before_stop) and member.replicas == 1
    default = [it for it in member.networks if it.network != "default" or it.aliases]
    return alone and not default and not (project.networks.get("default") or {}).get("external")


# ── one member ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _subject(project: Project, name: str, read: ComposeService, change: Change | None) -> Subject:
    data, elsewhere = (read.subject, None) if change is None else change(read.subject)
    return scenario_file.from_data(
        {"version": 1, "name": "service", "subject": data}, "check", elsewhere or places(project, name)
    ).subject


def places(project: Project, name: str) -> scenario_file.Places:
    """Where the keys of a service's subject stand in the files, and what they are called there."""

    def place(path: Path) -> tuple[str, str]:
        key = str(path[1]) if len(path) > 1 else ""
        row = container_keys.BY_KEY.get(key)
        in_file: Path = ("services", name, *((row.compose if row is not None else key, *path[2:]) if key else ()))
        return project.place(*in_file), ".".join(map(str, in_file))

    return place


def _member(project: Project, name: str, subject: Subject) -> Member:
    with project.explaining(name):
        return _its_member(project, name, subject)


def _its_member(project: Project, name: str, subject: Subject) -> Member:
    found = project.services[name]

    def joined(key: str) -> str | None:
        kind, _, owner = str(found.get(key) or "").partition(":")
        return owner if kind == "service" else None

    return Member(
        name=name,
        subject=subject,
        stop_signal=_signal(project, name),
        stop_timeout_ns=_grace(project, name),
        waits_for=project.needs(name),
        replicas=replicas(found),
        container_name=found.get("container_name"),
        networks=_attachments(project, name),
        links=_links(found),
        network_of=joined("network_mode"),
        pid_of=joined("pid"),
        ipc_of=joined("ipc"),
        volumes_from=tuple(
            item.partition(":")[0] for item in listed(found.get("volumes_from")) if not item.startswith("container:")
        ),
        after_start=_hooks(project, name, "post_start"),
        before_stop=_hooks(project, name, "pre_stop"),
        place=project.place("services", name, "build" if "build" in found else "image"),
    )


def _signal(project: Project, name: str) -> str | None:
    given = project.services[name].get("stop_signal")
    if given is None:
        return None
    data = {"version": 1, "name": "service", "subject": {"image": "any"}, "stop": {"signal": given}}
    path: Path = ("services", name, "stop_signal")
    return scenario_file.from_data(
        data, "check", lambda _: (project.place(*path), ".".join(map(str, path)))
    ).stop.signal


def _grace(project: Project, name: str) -> int | None:
    """Whole seconds: Compose cuts off the rest when it makes the container (docker/compose, create.go)."""
    given = project.services[name].get("stop_grace_period")
    if given is None:
        return None
    try:
        return units.parse_duration(str(given)) // NS_PER_S * NS_PER_S
    except ValueError as error:
        project.refuse(str(error), "services", name, "stop_grace_period")


def _cut_off(project: Project, name: str) -> tuple[NotApplied, ...]:
    """What nobody gets of a grace period that is no whole number of seconds."""
    given, grace_ns = project.services[name].get("stop_grace_period"), _grace(project, name)
    if given is None or grace_ns is None or units.parse_duration(str(given)) == grace_ns:
        return ()
    text = f"Compose cuts it to {units.format_duration(grace_ns)}" + (
        ", so that SIGKILL follows the stop signal at once" if grace_ns == 0 else ""
    )
    return (NotApplied(f"services.{name}.stop_grace_period ({given})", text),)


def _attachments(project: Project, name: str) -> tuple[Attachment, ...]:
    found = project.services[name]
    if found.get("network_mode"):
        return ()
    given = found.get("networks") or ["default"]
    items: Mapping[str, Any] = dict.fromkeys(given) if isinstance(given, list) else given
    for index, network in enumerate(items):
        if network != "default" and network not in project.networks:
            known = ", ".join(project.networks) or "none"
            key = index if isinstance(given, list) else network
            project.refuse(f"there is no network {network!r}; networks: {known}", "services", name, "networks", key)
    return tuple(Attachment(network, tuple(listed((item or {}).get("aliases")))) for network, item in items.items())


def _links(service: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Those with a name of their own, `cache:store`; without one a link is found by the name that all know."""
    pairs = (link.partition(":")[::2] for link in listed(service.get("links")))
    return tuple((owner, alias) for owner, alias in pairs if alias not in {"", owner})


def _hooks(project: Project, name: str, key: str) -> tuple[Hook, ...]:
    hooks = []
    for index, item in enumerate(project.services[name].get(key) or ()):
        path: Path = ("services", name, key, index)
        command = words(item.get("command")) if isinstance(item, dict) else None
        if not command:
            project.refuse("a hook needs a `command`", *path)
        given = item.get("environment") or {}
        if isinstance(given, list):
            given = dict(str(pair).partition("=")[::2] for pair in given)
        hooks.append(
            Hook(
                HookKind.EXEC,
                command=tuple(command),
                user=None if item.get("user") is None else str(item["user"]),
                privileged=bool(values.boolean(item.get("privileged"))),
                working_directory=item.get("working_dir"),
                environment=tuple((str(key), "" if value is None else str(value)) for key, value in given.items()),
            )
        )
    return tuple(hooks)


# ── between members ──────────────────────────────────────────────────────────────────────────────────────────────────


def _refuse_collisions(project: Project, names: tuple[str, ...]) -> None:
    """Two containers that want the same port of the machine, or the same name: Compose could not start both."""
    ports: list[tuple[values.Published, str]] = []
    called: dict[str, str] = {}
    for name in names:
        found, count = project.services[name], replicas(project.services[name])
        for index, port in ((index, port) for index, item in enumerate(found.get("ports") or ()) for port in _of(item)):
            others = [whose for known, whose in ports if known.collides(port)]
            others += [name] if count > 1 and port.collides(port) else []
            if others:
                problem = f"port {port.host_port} of the machine is also that of service {others[0]}"
                project.refuse(f"{problem}; only one container can have it", "services", name, "ports", index)
            ports.append((port, name))
        own = found.get("container_name")
        if own is not None and (count > 1 or own in called):
            problem = f"{own} is also the name of a container of service {called.get(own, name)}"
            project.refuse(problem, "services", name, "container_name")
        called.update({} if own is None else {own: name})


def _of(item: Any) -> list[values.Published]:
    """What is no port is named where the service is read."""
    try:
        return values.published(item)
    except ValueError:
        return []


def _networks_not_applied(project: Project, names: set[str]) -> tuple[NotApplied, ...]:
    """Networks that somebody else makes, and what is special about others."""
    told = []
    for name in sorted(names):
        given = project.networks.get(name) or {}
        if given.get("external"):
            text = "an empty network of its own stands for one that others are in, too"
            told.append(NotApplied(f"networks.{name} (external)", text, STARTS))
            continue
        for part in NETWORK_PARTS:
            value = given.get(part.key)
            if value not in (None, [], {}, False, "", "bridge", "default"):
                told.append(NotApplied(f"networks.{name}.{part.key}", part.changes, part.doubts))
    return tuple(told)
