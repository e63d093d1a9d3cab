"""A Compose project, whoever read its files: its services and what they need of each other. Pure."""

from __future__ import annotations

import contextlib
import difflib
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any, NoReturn

from stop_harness.errors import UsageError
from stop_harness.model import Dependency, StartCondition
from stop_harness.scenario.compose import keys
from stop_harness.scenario.compose.reader import SECTIONS, FilesRead
from stop_harness.scenario.compose.tree import Key, Place, text_of

NAMESPACES = ("network_mode", "pid", "ipc", "uts", "cgroup")
"""Keys that may name a service whose namespace is joined, which has to be there first (compose-go, normalize.go)."""

EVERY_PROFILE = "*"

SHAPES: Mapping[tuple[str, ...], tuple[tuple[type, ...], str]] = {
    ("depends_on",): ((list, dict), "a list of services, or a mapping of them"),
    ("networks",): ((list, dict), "a list of networks, or a mapping of them"),
    ("links",): ((list,), "a list"),
    ("volumes_from",): ((list,), "a list"),
    ("ports",): ((list,), "a list"),
    ("profiles",): ((list,), "a list"),
    ("pre_stop",): ((list,), "a list"),
    ("post_start",): ((list,), "a list"),
    ("scale",): ((int,), "a whole number"),
    ("deploy",): ((dict,), "a mapping of keys"),
    ("deploy", "replicas"): ((int,), "a whole number"),
}
"""Of keys of a service that say how it stands to others."""

Section = Mapping[str, Any]


@dataclass(frozen=True)
class Project:
    """What its files say, as plain data; paths are relative to where the caller is, or absolute.

    `file`: the first of its files, for messages; `folder`: that of this file. `profiles`: those that are active.
    `environment`: the variables that its files were read with. `places`: path of keys → where it stands, as far as that
    is known. `unset`: variables that have no value, and where they stand. `read_by`: the version of the Compose that
    read it; empty: we did. `refusal`: why that Compose does not take the files; what is wrong with them is found by us
    then, or said in its words.
    """

    name: str
    file: str
    folder: str
    services: Mapping[str, Section]
    networks: Section = field(default_factory=dict)
    volumes: Section = field(default_factory=dict)
    secrets: Section = field(default_factory=dict)
    configs: Section = field(default_factory=dict)
    profiles: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[tuple[Key, ...], Place] = field(default_factory=dict)
    unset: tuple[tuple[str, Place], ...] = ()
    read_by: str = ""
    refusal: str = ""

    def place(self, *path: Key) -> str:
        """`file:line:column` of a key, or of the nearest one around it that is known."""
        while path and path not in self.places:
            path = path[:-1]
        return str(self.places.get(path, Place(self.file))) if path else self.file

    def refuse(self, problem: str, *path: Key) -> NoReturn:
        """Raises UsageError: what is wrong at a key."""
        raise UsageError(f"{self.place(*path)}: {'.'.join(map(str, path))}: {problem}")

    @contextlib.contextmanager
    def explaining(self, service: str) -> Iterator[None]:
        """Values of wrong shapes raise UsageError: the shapes of a Compose file are Compose's to explain in full."""
        try:
            yield
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            where = self.place("services", service)
            raise UsageError(
                f"{where}: services.{service} is not as Compose has it ({error}); see `docker compose config`"
            ) from None

    # ── which services ───────────────────────────────────────────────────────────────────────────────────────────────

    def is_enabled(self, service: str) -> bool:
        """Whether it has no profile, or one that is active."""
        profiles = listed(self.services[service].get("profiles"))
        return not profiles or EVERY_PROFILE in self.profiles or bool({*profiles} & {*self.profiles})

    @property
    def enabled(self) -> tuple[str, ...]:
        """The services that `docker compose up` would start, in the order of the file."""
        return tuple(name for name in self.services if self.is_enabled(name) and replicas(self.services[name]))

    def with_enabled(self, names: Iterable[str]) -> Project:
        """With the profiles of these services active: naming a service enables it. Raises UsageError for one that is
        not there."""
        more: list[str] = []
        for name in names:
            if name not in self.services:
                known = ", ".join(map(str, self.services))
                raise UsageError(f"{self.place('services')}: no service {name!r}; services: {known}")
            if not self.is_enabled(name):
                more += listed(self.services[name].get("profiles"))
        return replace(self, profiles=(*self.profiles, *more))

    # ── what they need ───────────────────────────────────────────────────────────────────────────────────────────────

    def needs(self, service: str) -> tuple[Dependency, ...]:
        """Whom it waits for: `depends_on`, and whoever it shares something with. Raises UsageError for a service that
        is not there, or whose profile is not active, unless it can do without."""
        found: list[Dependency] = []
        for item, path in self._edges(service):
            if item.member in self.services and self.is_enabled(item.member) and replicas(self.services[item.member]):
                found.append(item)
            elif item.required and item.member not in self.services:
                known = ", ".join(name for name in self.services if name != service)
                others = f"services: {known}" if known else f"the only one is {service!r} itself"
                self.refuse(f"there is no service {item.member!r}; {others}", *path)
            elif item.required and not self.is_enabled(item.member):
                profiles = ", ".join(listed(self.services[item.member].get("profiles")))
                option = f"--profile {listed(self.services[item.member]['profiles'])[0]}"
                self.refuse(f"service {item.member!r} belongs to profile {profiles}; activate it by {option}", *path)
            elif item.required:
                self.refuse(f"service {item.member!r} has no container: its scale is 0", *path)
        return tuple({item.member: item for item in reversed(found)}.values())[::-1]

    def with_what_they_need(self, names: Iterable[str]) -> tuple[str, ...]:
        """These services and whom they wait for, however far; in the order of the file. Raises UsageError for a circle
        of services that wait for each other."""
        todo, found = list(names), dict[str, tuple[Dependency, ...]]()
        while todo:
            name = todo.pop()
            if name not in found:
                found[name] = self.needs(name)
                todo += [item.member for item in found[name]]
        try:
            TopologicalSorter({name: [item.member for item in items] for name, items in found.items()}).prepare()
        except CycleError as error:
            circle = [str(name) for name in error.args[1]][:0:-1]
            first = circle.index(min(circle, key=list(self.services).index))
            circle = [*circle[first:], *circle[: first + 1]]
            path = next(path for item, path in self._edges(circle[0]) if item.member == circle[1])
            self.refuse(f"the services wait for each other: {' → '.join(circle)}", *path)
        return tuple(name for name in self.services if name in found)

    def _edges(self, service: str) -> Iterable[tuple[Dependency, tuple[Key, ...]]]:
        """Each with the path of the key that asks for it; the first of a service counts."""
        given, at = self.services[service], ("services", service)
        depends_on = given.get("depends_on") or {}
        if isinstance(depends_on, list):
            for index, name in enumerate(depends_on):
                yield Dependency(str(name)), (*at, "depends_on", index)
        else:
            for name, item in depends_on.items():
                yield self._dependency(service, name, item or {}), (*at, "depends_on", name)
        for index, link in enumerate(listed(given.get("links"))):
            yield Dependency(link.partition(":")[0]), (*at, "links", index)
        for key in NAMESPACES:
            kind, _, name = str(given.get(key) or "").partition(":")
            if kind == "service":
                yield Dependency(name), (*at, key)
        for index, source in enumerate(listed(given.get("volumes_from"))):
            if not source.startswith("container:"):
                yield Dependency(source.partition(":")[0]), (*at, "volumes_from", index)

    def _dependency(self, service: str, name: str, item: Section) -> Dependency:
        path = ("services", service, "depends_on", name)
        word = str(item.get("condition") or "service_started").removeprefix("service_")
        if word not in set(StartCondition):
            allowed = ", ".join(f"service_{condition}" for condition in StartCondition)
            self.refuse(f"{item['condition']!r} is no condition; allowed: {allowed}", *path, "condition")
        return Dependency(name, StartCondition(word), item.get("required") is not False)


def project_of(
    data: Any,
    own: FilesRead | None,
    file: str,
    folder_name: str,
    environment: Mapping[str, str],
    *,
    read_by: str = "",
) -> Project:
    """From plain data, whoever read it. `own`: what our own reader made of the files, None where that failed. `file`:
    the first; `folder_name`: that of its folder; `read_by`: as `Project` has it. Raises UsageError for what is no
    project."""
    services = data.get("services") if isinstance(data, dict) else None
    if not isinstance(services, dict) or not services:
        raise UsageError(f"{file}: not a Compose file: it has no `services`")
    known_services = own.tree.at("services") if own is not None else None
    order = list(known_services.mapping) if known_services is not None else []
    names = sorted(services, key=lambda key: order.index(key) if key in order else len(order))
    places = own.tree.places() if own is not None else {}
    for key in names:
        _check_shape(services[key], (), ("services", key), places, file)
        for part in SHAPES if isinstance(services[key], dict) else ():
            value = services[key]
            for step in part:
                value = value.get(step) if isinstance(value, dict) else None
            _check_shape(value, part, ("services", key, *part), places, file)
    if not read_by:  # a newer Compose may know more of them
        _refuse_unknown_keys(data, (), keys.OF_A_FILE, places, file)
        for key in names:
            _refuse_unknown_keys(services[key] or {}, ("services", key), keys.OF_A_SERVICE, places, file)
    sections = {key: found for key in SECTIONS[1:] if isinstance(found := data.get(key), dict)}
    name = str(environment.get("COMPOSE_PROJECT_NAME") or data.get("name") or folder_name)
    return Project(
        name=re.sub(r"[^a-z0-9_-]", "", name.lower()).lstrip("_-") or "project",
        file=file,
        folder=posixpath.dirname(file),
        services={key: services[key] or {} for key in names},
        networks=sections.get("networks", {}),
        volumes=sections.get("volumes", {}),
        secrets=sections.get("secrets", {}),
        configs=sections.get("configs", {}),
        places=places,
        environment=environment,
        unset=own.unset if own is not None else (),
        read_by=read_by,
    )


def _refuse_unknown_keys(
    given: Section, path: tuple[Key, ...], known: frozenset[str], places: Mapping[tuple[Key, ...], Place], file: str
) -> None:
    """As the schema of Compose does, so that nothing is measured that nobody meant. Raises UsageError."""
    for key in given:
        if key not in known and not str(key).startswith("x-"):
            where, called = places.get((*path, key), file), ".".join(map(str, (*path, key)))
            near = difflib.get_close_matches(str(key), sorted(known), n=1, cutoff=0.75)
            hint = f"; is `{near[0]}` meant?" if near else "; a key of your own begins with `x-`"
            raise UsageError(f"{where}: {called}: Compose has no such key{hint}")


def _check_shape(
    value: Any, part: tuple[str, ...], path: tuple[Key, ...], places: Mapping[tuple[Key, ...], Place], file: str
) -> None:
    kinds, wanted = SHAPES[part] if part else ((dict,), "a mapping of keys")
    items = list(value.values()) if part == ("depends_on",) and isinstance(value, dict) else []
    right = (
        isinstance(value, kinds) and not isinstance(value, bool) and all(isinstance(it, dict | None) for it in items)
    )
    if value is not None and not right:
        where = places.get(path, places.get(path[:2], file))
        raise UsageError(f"{where}: {'.'.join(map(str, path))}: {wanted} is needed")


def replicas(service: Section) -> int:
    """Of how many containers a service consists: `scale`, else `deploy.replicas`."""
    deploy = service.get("deploy") or {}
    given = service.get("scale", deploy.get("replicas"))
    return int(1 if given is None or deploy.get("mode") == "global" else given)


def listed(value: Any) -> list[str]:
    """A list of texts, of one where one was given."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    return [text_of(item) if not isinstance(item, dict | list) else str(item) for item in items]
