"""One service of a Compose project → the data of a scenario's `subject`, and what of it is not applied. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from stop_harness.model import NotApplied
from stop_harness.scenario import container_keys, env_file
from stop_harness.scenario.compose import keys, paths, values
from stop_harness.scenario.compose.project import Project, listed
from stop_harness.scenario.compose.reader import Disk
from stop_harness.scenario.compose.tree import text_of
from stop_harness.scenario.container_keys import ANY


@dataclass(frozen=True)
class ComposeService:
    """A service as it runs. `subject`: for `scenario_file.from_data`. `not_applied`: what it asks for beyond it."""

    subject: dict[str, Any]
    not_applied: tuple[NotApplied, ...] = ()


def service_of(project: Project, name: str, disk: Disk) -> ComposeService:
    """Its container, with every key that one can be given. Raises UsageError, or ScenarioError for its `env_file`."""
    reader = _Reader(project, name, disk)
    with project.explaining(name):
        subject = reader.subject()
    return ComposeService(subject, (*reader.left_out, *_unset(project, name)))


def _unset(project: Project, name: str) -> Iterable[NotApplied]:
    here = {place for path, place in project.places.items() if path[:2] == ("services", name)}
    for variable in dict.fromkeys(variable for variable, place in project.unset if place in here):
        text = "the variable is not set, and stands for nothing, as in Compose"
        yield NotApplied(f"services.{name}: ${{{variable}}}", text)


class _Reader:
    """Keys of one service → keys of a scenario. `left_out` fills while it reads."""

    def __init__(self, project: Project, service: str, disk: Disk) -> None:
        self._project, self._service, self._disk = project, service, disk
        self._found = project.services[service]
        self.left_out: list[NotApplied] = []

    def subject(self) -> dict[str, Any]:
        """Data for `scenario_file.from_data`."""
        found = self._found
        if not any(found.get(key) for key in ("image", "build")):
            what = "what a program provides is no container" if "provider" in found else "neither `image` nor `build`"
            self._project.refuse(what, "services", self._service)
        subject = {
            "image": None if "build" in found else found.get("image"),
            **self._build(found.get("build")),
            "command": words(found.get("command")),
            "entrypoint": words(found.get("entrypoint")),
            "environment": self._environment() or None,
            "init": values.boolean(found.get("init")),
            "memory": found.get("mem_limit") or _deep(found, "deploy", "resources", "limits", "memory"),
            "pids_limit": _pids_limit(found),
            **self._settings(),
        }
        if not str(found.get("network_mode") or "").startswith(("host", "none")):
            subject["ports"] = self._ports()
        for key, value in found.items():
            self._leave_out(str(key), value)
        self._leave_out_parts()
        return {key: value for key, value in subject.items() if value is not None}

    def _ports(self) -> list[int] | None:
        """Those of `ports` and `expose`: where nothing else is said, they tell when it is ready."""
        given = [port for key in ("ports", "expose") for port in self._found.get(key) or ()]
        return values.container_ports(given) or None

    def _settings(self) -> dict[str, Any]:
        """Every key that a scenario has, too; values are written alike, or `values` says how."""
        found = self._found
        result: dict[str, Any] = {}
        for row in container_keys.KEYS:
            value = found.get(row.compose)
            if row.compose and value is not None and row.key not in {"memory", "pids_limit"}:
                read = values.read(row.key, value)
                if isinstance(read, values.Refused):
                    self._not_applied(f"{row.compose} ({read.value})", read.why or row.changes, row.doubts)
                elif read is not None:
                    result[row.key] = read
        result.pop("env_file", None)  # its variables are in the environment
        volumes = result.get("volumes", [])
        if values.are_mounts(volumes):  # anything else is for the scenario's own messages
            mounts = [self._mount(*item) for item in enumerate((*volumes, *self._secrets_and_configs()))]
            result["volumes"] = [mount for mount in mounts if mount] or None
        if result.get("cpus") is None:
            result["cpus"] = _cpus(found)
        return result

    def _environment(self) -> dict[str, str]:
        """Variables of the files, later ones over earlier, and `environment` over them."""
        found: dict[str, str] = {}
        for index, given in enumerate(values.listed(self._found.get("env_file"))):
            file = given if isinstance(given, dict) else {"path": given}
            path = str(file.get("path"))
            if self._disk.is_file(path):
                form = env_file.raw_pairs if file.get("format") == "raw" else env_file.pairs
                found.update(form(self._disk.read(path), path, {**self._project.environment, **found}))
            elif values.boolean(file.get("required")) is not False:
                self._project.refuse(f"there is no file {path}", "services", self._service, "env_file", index)
        return {**found, **_environment(self._found.get("environment"), self._project.environment)}

    def _mount(self, index: int, mount: dict[str, Any]) -> dict[str, Any] | None:
        """Relative to the file. What lies outside of its folder is not mounted."""
        kind, source = mount["type"], mount.get("source")
        if kind == "bind":
            path = str(source) if str(source).startswith("~") else posixpath.normpath(str(source))
            if not paths.is_inside(self._project.folder, path):
                text = "a file or folder outside of the Compose file's is not mounted; what it holds is missing"
                self._not_applied(f"volumes ({path})", text, ANY)
                return None
            if not self._disk.exists(path) and (mount.get("bind") or {}).get("create_host_path") is not False:
                return {"type": "volume", "target": mount["target"]}  # Compose makes an empty folder
            return {key: value for key, value in {**mount, "source": path}.items() if key != "bind"}
        if kind not in {"volume", "tmpfs"}:
            self._not_applied(f"volumes (type {kind})", "what it holds is missing", ANY)
            return None
        if kind == "volume" and source and source not in self._project.volumes:
            self._unknown("volume", str(source), self._project.volumes, "volumes", index)
        top = self._project.volumes.get(str(source)) if source else None
        if isinstance(top, dict) and (top.get("external") or top.get("driver") or top.get("driver_opts")):
            self._not_applied(f"volumes ({source})", "an empty volume stands for one that exists already", ANY)
        return mount

    def _secrets_and_configs(self) -> Iterable[dict[str, Any]]:
        """Those that are files are mounted as Compose does it."""
        kinds = (("secrets", "/run/secrets/", self._project.secrets), ("configs", "/", self._project.configs))
        for section, folder, known in kinds:
            for index, item in enumerate(self._found.get(section) or ()):
                it = item if isinstance(item, dict) else {"source": item}
                name, top = str(it.get("source")), known.get(str(it.get("source")))
                if name not in known:
                    self._unknown(section.removesuffix("s"), name, known, section, index)
                target = str(it.get("target") or name)
                file = _deep(top, "file")
                if file is None:
                    self._not_applied(f"{section} ({name})", "a file that it may need to start", ANY)
                else:
                    path = target if target.startswith("/") else folder + target
                    yield {"type": "bind", "source": str(file), "target": path, "read_only": True}

    def _unknown(self, what: str, name: str, known: Mapping[str, Any], key: str, index: int) -> NoReturn:
        names = ", ".join(known) or "none"
        self._project.refuse(f"there is no {what} {name!r}; {key}: {names}", "services", self._service, key, index)

    def _leave_out(self, key: str, value: Any) -> None:
        """A key that is not applied, or that only a newer Compose knows, which has read the files."""
        if key in keys.APPLIED or key.startswith("x-") or value in (None, [], {}, False, "", "no"):
            return
        item = keys.BY_KEY.get(key)
        if item is not None:
            self._not_applied(f"{key}{_said(value)}", item.changes, item.doubts)
            return
        self._not_applied(key, "stop-harness does not know this key of Compose", ANY)

    def _leave_out_parts(self) -> None:
        """Keys within others, and what comes from a container that is not of the project."""
        for source in listed(self._found.get("volumes_from")):
            if source.startswith("container:"):
                self._not_applied(f"volumes_from ({source})", "it has none of the files of that container", ANY)
        if self._found.get("network_mode") and self._found.get("links"):
            text = "outside the project's networks it finds nobody by the name of a link"
            self._not_applied(f"links{_said(self._found['links'])}", text, ANY)
        networks = self._found.get("networks")
        sections = [(section, self._found.get(section), parts) for section, parts in keys.PARTS.items()]
        for name, network in (networks if isinstance(networks, dict) else {}).items():
            sections.append((f"networks.{name}", network, keys.ATTACHMENT_PARTS))
        for section, found, parts in sections:
            given: dict[str, Any] = found if isinstance(found, dict) else {}
            for item in parts:
                if given.get(item.key) not in (None, [], {}, False, ""):
                    self._not_applied(f"{section}.{item.key}{_said(given[item.key])}", item.changes, item.doubts)

    def _not_applied(self, what: str, changes: str, doubts: tuple[Any, ...]) -> None:
        self.left_out.append(NotApplied(f"services.{self._service}.{what}", changes, doubts))

    def _build(self, build: Any) -> dict[str, Any]:
        if build is None:
            return {}
        parts: dict[str, Any] = {"context": build} if isinstance(build, str) else dict(build)
        context = str(parts.get("context") or self._project.folder or ".")
        if paths.is_remote(context):
            problem = f"{context} is on the network and is not fetched; build it, and name the `image`"
            self._project.refuse(problem, "services", self._service, "build")
        dockerfile = str(parts.get("dockerfile") or "Dockerfile")
        if not self._disk.is_file(posixpath.join(context, dockerfile)):
            self._project.refuse(f"there is no {dockerfile} in {context}", "services", self._service, "build")
        result = {
            "build": context,
            "dockerfile": None if dockerfile == "Dockerfile" else dockerfile,
            "target": None if parts.get("target") is None else str(parts["target"]),
            "build_args": _environment(parts.get("args"), self._project.environment),
        }
        return {key: value for key, value in result.items() if value}


def _said(value: Any) -> str:
    """The names in a value, for a message; empty where it has none."""
    if isinstance(value, str | int):
        return f" ({value})"
    names = list(value) if isinstance(value, dict) else [item for item in value if isinstance(item, str)]
    return f" ({', '.join(map(str, names[:4]))}{', …' if len(names) > 4 else ''})" if names else ""


def _cpus(found: Mapping[str, Any]) -> float | None:
    """`deploy.resources.limits.cpus`, or a quota of CPU time in a period, which is the same limit."""
    given = _deep(found, "deploy", "resources", "limits", "cpus")
    if given is not None:
        return float(given) or None
    quota = found.get("cpu_quota")
    return int(quota) / int(found.get("cpu_period") or 100_000) if quota and int(quota) > 0 else None


def _pids_limit(found: Mapping[str, Any]) -> int | None:
    """0 is no limit to Compose, too."""
    given = found.get("pids_limit", _deep(found, "deploy", "resources", "limits", "pids"))
    return None if given is None else int(given) or -1


def words(value: Any) -> list[str] | None:
    """Compose splits a text as a shell would, without running one."""
    if value is None:
        return None
    return shlex.split(value) if isinstance(value, str) else [str(word) for word in value]


def _environment(value: Any, environment: Mapping[str, str]) -> dict[str, str]:
    """`KEY` without a value takes the caller's, and is left out where there is none."""
    if value is None:
        return {}
    items = [str(item).partition("=") for item in value] if isinstance(value, list) else None
    pairs = [(key, text if sign else None) for key, sign, text in items] if items is not None else list(value.items())
    known = [(str(key), environment.get(str(key)) if text is None else text_of(text)) for key, text in pairs]
    return {key: text for key, text in known if text is not None}


def _deep(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
