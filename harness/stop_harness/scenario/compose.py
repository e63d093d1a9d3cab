"""One service of a Compose file → the data of a scenario, and what of it is not applied. Pure: variables come from the
caller, and so does what is on disk."""

from __future__ import annotations

import difflib
import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from stop_harness import units
from stop_harness.errors import UsageError
from stop_harness.model import ECS_STOP_TIMEOUT_S, NS_PER_S, NotApplied
from stop_harness.scenario import compose_keys, compose_values, container_keys, variables
from stop_harness.scenario.container_keys import ANY
from stop_harness.scenario.positions import why_not_read

COMPOSE_STOP_TIMEOUT_S = 10
"""Compose's default `stop_grace_period`."""

Key = str | int


@dataclass(frozen=True)
class ComposeService:
    """A service as it is stopped. `data`: for `scenario_file.from_data`. `not_applied`: what it asks for beyond it."""

    data: dict[str, Any]
    not_applied: tuple[NotApplied, ...] = ()


def service_of(
    text: str, service: str, source: str, environment: Mapping[str, str], is_there: Callable[[str], bool] = bool
) -> ComposeService:
    """The service stopped at its own `stop_grace_period` and at 30 s, with every key that a container can be given.

    `is_there`: whether there is a file, for `env_file` with `required: false`. Raises UsageError.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise UsageError(f"{where}: {why_not_read(error)}") from None
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as error:  # see scenario._Reader
        raise UsageError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    services = data.get("services") if isinstance(data, dict) else None
    if not isinstance(services, dict) or not services:
        raise UsageError(f"{source}: not a Compose file: it has no `services`")
    if service not in services:
        raise UsageError(f"{source}: no service {service!r}; services: {', '.join(map(str, services))}")
    if not isinstance(services[service] or {}, dict):
        where = place(text, source, ("services", service))
        raise UsageError(f"{where}: services.{service}: a mapping of keys is needed")
    try:
        unset: list[str] = []
        found = _substitute(services[service] or {}, environment, unset)
        reader = _Reader(text, found, service, source)
        read = ComposeService(reader.data(environment, is_there), tuple(reader.left_out))
        missing = tuple(
            NotApplied(
                f"services.{service}: ${{{name}}}", "the variable is not set, and stands for nothing, as in Compose"
            )
            for name in dict.fromkeys(unset)
        )
        return ComposeService(read.data, read.not_applied + missing)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        # The shapes of a Compose file are Compose's to explain in full.
        where = place(text, source, ("services", service))
        raise UsageError(
            f"{where}: services.{service} is not as Compose has it ({error}); see `docker compose config`"
        ) from None


def place(text: str, source: str, path: tuple[Key, ...]) -> str:
    """`file:line:column` of a key, or of the nearest one around it."""
    node, mark = yaml.compose(text, Loader=yaml.SafeLoader), None
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(part)), None)
            if pair is None:
                break
            mark, node = pair[0].start_mark, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
    return source if mark is None else f"{source}:{mark.line + 1}:{mark.column + 1}"


class _Reader:
    """Keys of one service → keys of a scenario. `left_out` fills while it reads."""

    def __init__(self, text: str, found: dict[str, Any], service: str, source: str) -> None:
        self._text, self._found, self._service, self._source = text, found, service, source
        self._file: dict[str, Any] = yaml.safe_load(text)
        self._folder = posixpath.dirname(source)
        self.left_out: list[NotApplied] = []

    def data(self, environment: Mapping[str, str], is_there: Callable[[str], bool]) -> dict[str, Any]:
        """Data for `scenario_file.from_data`."""
        found, service = self._found, self._service
        subject = {
            "image": None if "build" in found else found.get("image"),
            **_build(found.get("build"), self._folder),
            "command": _words(found.get("command")),
            "entrypoint": _words(found.get("entrypoint")),
            "environment": _environment(found.get("environment"), environment),
            "init": compose_values.boolean(found.get("init")),
            "memory": found.get("mem_limit") or _deep(found, "deploy", "resources", "limits", "memory"),
            "pids_limit": _pids_limit(found),
            **self._settings(is_there),
        }
        if not str(subject.get("network") or "").startswith(("host", "none")):
            subject["ports"] = self._ports()
        for key, value in found.items():
            self._leave_out(str(key), value)
        self._leave_out_parts()
        stop = {"timeouts": self._timeouts(), "signal": found.get("stop_signal")}
        return {
            "version": 1,
            "name": re.sub(r"[^a-z0-9._-]+", "-", service.lower()).strip("-._") or "service",
            "description": f"service {service} of {self._source}",
            "subject": {key: value for key, value in subject.items() if value is not None},
            "stop": {key: value for key, value in stop.items() if value is not None},
        }

    def _ports(self) -> list[int] | None:
        """Those of `ports` and `expose`: where nothing else is said, they tell when it is ready."""
        given = [port for key in ("ports", "expose") for port in self._found.get(key) or ()]
        return compose_values.container_ports(given) or None

    def _settings(self, is_there: Callable[[str], bool]) -> dict[str, Any]:
        """Every key that a scenario has, too; values are written alike, or `compose_values` says how."""
        found = self._found
        result: dict[str, Any] = {}
        for row in container_keys.KEYS:
            value = found.get(row.compose)
            if row.compose and value is not None and row.key not in {"memory", "pids_limit"}:
                read = compose_values.read(row.key, value)
                if isinstance(read, compose_values.Refused):
                    self._not_applied(f"{row.compose} ({read.value})", read.why or row.changes, row.doubts)
                elif read is not None:
                    result[row.key] = read
        files = (self._env_file(item, is_there) for item in result.get("env_file", ()))
        result["env_file"] = [file for file in files if file is not None] or None
        volumes = result.get("volumes", [])
        if compose_values.are_mounts(volumes):  # anything else is for the scenario's own messages
            mounts = [self._mount(mount) for mount in (*volumes, *self._secrets_and_configs())]
            result["volumes"] = [mount for mount in mounts if mount] or None
        if result.get("cpus") is None:
            result["cpus"] = _cpus(found)
        return result

    def _env_file(self, given: Any, is_there: Callable[[str], bool]) -> str | None:
        file = given if isinstance(given, dict) else {"path": given}
        path = self._beside(str(file.get("path")))
        return None if file.get("required") is False and not is_there(path) else path

    def _mount(self, mount: dict[str, Any]) -> dict[str, Any] | None:
        """Relative to the file. What lies outside of its folder is not mounted."""
        kind, source = mount["type"], mount.get("source")
        if kind == "bind":
            path = str(source)
            outside = path.startswith(("/", "~")) or posixpath.normpath(path).startswith("..")
            if outside:
                text = "a file or folder outside of the Compose file's is not mounted; what it holds is missing"
                self._not_applied(f"volumes ({path})", text, ANY)
                return None
            return {**mount, "source": self._beside(path)}
        if kind not in {"volume", "tmpfs"}:
            self._not_applied(f"volumes (type {kind})", "what it holds is missing", ANY)
            return None
        top = _deep(self._file, "volumes", str(source)) if source else None
        if isinstance(top, dict) and (top.get("external") or top.get("driver") or top.get("driver_opts")):
            self._not_applied(f"volumes ({source})", "an empty volume stands for one that exists already", ANY)
        return mount

    def _secrets_and_configs(self) -> Iterable[dict[str, Any]]:
        """Those that are files are mounted as Compose does it."""
        for section, folder in (("secrets", "/run/secrets/"), ("configs", "/")):
            for item in self._found.get(section) or ():
                it = item if isinstance(item, dict) else {"source": item}
                name, top = str(it.get("source")), _deep(self._file, section, str(it.get("source")))
                target = str(it.get("target") or name)
                file = _deep(top, "file")
                if file is None:
                    self._not_applied(f"{section} ({name})", "a file that it may need to start", ANY)
                else:
                    path = target if target.startswith("/") else folder + target
                    yield {"type": "bind", "source": str(file), "target": path, "read_only": True}

    def _leave_out(self, key: str, value: Any) -> None:
        """A key that is not applied, or that nobody knows."""
        known = {row.compose for row in container_keys.KEYS} | compose_keys.WITHOUT_EFFECT | {"secrets", "configs"}
        if key in known or key.startswith("x-") or value in (None, [], {}, False, "", "no"):
            return
        item = compose_keys.BY_KEY.get(key)
        if item is not None:
            self._not_applied(f"{key}{_said(value)}", item.changes, item.doubts)
            return
        near = difflib.get_close_matches(key, [*known, *compose_keys.BY_KEY], n=1, cutoff=0.8)
        hint = f"; is `{near[0]}` meant?" if near else ""
        self._not_applied(key, f"stop-harness does not know this key of Compose{hint}", ANY)

    def _leave_out_parts(self) -> None:
        """Keys within `build` and `healthcheck`."""
        for section, parts in compose_keys.PARTS.items():
            found = self._found.get(section)
            given: dict[str, Any] = found if isinstance(found, dict) else {}
            for item in parts:
                if given.get(item.key) not in (None, [], {}, False, ""):
                    self._not_applied(f"{section}.{item.key}{_said(given[item.key])}", item.changes, item.doubts)

    def _not_applied(self, what: str, changes: str, doubts: tuple[Any, ...]) -> None:
        self.left_out.append(NotApplied(f"services.{self._service}.{what}", changes, doubts))

    def _timeouts(self) -> list[str]:
        grace = str(self._found.get("stop_grace_period") or f"{COMPOSE_STOP_TIMEOUT_S}s")
        try:
            timeouts = sorted({units.parse_duration(grace), ECS_STOP_TIMEOUT_S * NS_PER_S})
        except ValueError as error:
            where = place(self._text, self._source, ("services", self._service, "stop_grace_period"))
            raise UsageError(f"{where}: services.{self._service}.stop_grace_period: {error}") from None
        return [units.format_duration(value) for value in timeouts]

    def _beside(self, path: str) -> str:
        return posixpath.normpath(posixpath.join(self._folder, path))


def _said(value: Any) -> str:
    """The names in a value, for a message; empty where it has none."""
    if isinstance(value, str | int):
        return f" ({value})"
    names = list(value) if isinstance(value, dict) else [item for item in value if isinstance(item, str)]
    return f" ({', '.join(map(str, names[:4]))}{', …' if len(names) > 4 else ''})" if names else ""


def _cpus(found: dict[str, Any]) -> float | None:
    """`deploy.resources.limits.cpus`, or a quota of CPU time in a period, which is the same limit."""
    given = _deep(found, "deploy", "resources", "limits", "cpus")
    if given is not None:
        return float(given) or None
    quota = found.get("cpu_quota")
    return int(quota) / int(found.get("cpu_period") or 100_000) if quota and int(quota) > 0 else None


def _pids_limit(found: dict[str, Any]) -> int | None:
    """0 is no limit to Compose, too."""
    given = found.get("pids_limit", _deep(found, "deploy", "resources", "limits", "pids"))
    return None if given is None else int(given) or -1


def _build(build: Any, folder: str) -> dict[str, Any]:
    if build is None:
        return {}
    parts: dict[str, Any] = {"context": build} if isinstance(build, str) else dict(build)
    given = parts.get("args") or {}
    arguments: dict[str, Any] = (
        dict(str(item).partition("=")[::2] for item in given) if isinstance(given, list) else dict(given)
    )
    result = {
        "build": posixpath.normpath(posixpath.join(folder, str(parts.get("context", ".")))),
        "dockerfile": parts.get("dockerfile"),
        "build_args": {key: _text(value) for key, value in arguments.items()},
    }
    return {key: value for key, value in result.items() if value}


def _words(value: Any) -> list[str] | None:
    """Compose splits a text as a shell would, without running one."""
    if value is None:
        return None
    return shlex.split(value) if isinstance(value, str) else [str(word) for word in value]


def _environment(value: Any, environment: Mapping[str, str]) -> dict[str, str] | None:
    """`KEY` without a value takes the caller's, and is left out where there is none."""
    if value is None:
        return None
    items = [str(item).partition("=") for item in value] if isinstance(value, list) else None
    pairs = [(key, text if sign else None) for key, sign, text in items] if items is not None else list(value.items())
    known = [(str(key), environment.get(str(key)) if text is None else _text(text)) for key, text in pairs]
    return {key: text for key, text in known if text is not None}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _deep(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _substitute(value: Any, environment: Mapping[str, str], unset: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(item, environment, unset) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, environment, unset) for item in value]
    return variables.substituted(value, environment, unset) if isinstance(value, str) else value
