"""Text → Scenario. Every mistake is reported with file:line:column, the key, and what is allowed. Pure.

YAML is composed to nodes first, because nodes know where they stand; pydantic models then check keys, types and values
and give the JSON Schema (`schema`).
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stop_harness.errors import ScenarioError
from stop_harness.model import (
    ContainerSettings,
    Expectation,
    GroupKind,
    MountKind,
    Origin,
    Readiness,
    Scenario,
    StopPlan,
    Subject,
)
from stop_harness.scenario import plain, property_places
from stop_harness.scenario import traffic as scenario_traffic
from stop_harness.scenario.keys import Path, show
from stop_harness.scenario.sections import ReadySection, ScenarioFile, SubjectSection, allowed_keys
from stop_harness.scenario.values import Section


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a scenario file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **ScenarioFile.model_json_schema()}


def parse(text: str, source: str = "<text>") -> Scenario:
    """The scenario that `text` describes, with the positions of its keys.

    `source` is the file's path: it stands in messages, and `subject.build` is taken relative to its folder.
    Raises ScenarioError with every mistake found.
    """
    from stop_harness.scenario.positions import compose  # late: `check` reads no YAML

    data, positions = compose(text, source)
    try:
        file = ScenarioFile.model_validate(data)
    except ValidationError as error:
        found = sorted((positions.of(_where(detail)), _explain(detail)) for detail in error.errors())
        raise ScenarioError(tuple(f"{source}:{line}:{column}: {what}" for (line, column), what in found)) from None
    if wrong := sorted((positions.of(path), what) for path, what in property_places.mismatches(file)):
        raise ScenarioError(tuple(f"{source}:{line}:{column}: {what}" for (line, column), what in wrong))
    lines = (positions.of(("waivers", index))[0] for index in range(len(file.waivers)))
    waivers = tuple(item.made(f"{source}:{line}", file.name) for item, line in zip(file.waivers, lines, strict=True))
    return replace(_scenario(file, source), positions=positions, waivers=waivers)


Places = Callable[[tuple[str | int, ...]], tuple[str, str]]
"""Path of a key → where it was written, and how it is called there."""


def from_data(data: dict[Any, Any], source: str, places: Places | None = None) -> Scenario:
    """A scenario from plain data of the same form, for commands that need no file; `source` only names it in messages,
    unless `places` knows better.

    `subject.build` is taken relative to the working directory. Raises ScenarioError.
    """
    try:
        file = ScenarioFile.model_validate(data)
    except ValidationError as error:
        problems = []
        for detail in error.errors():
            place, key = (source, None) if places is None else places(_where(detail))
            problems.append(f"{place}: {_explain(detail, key)}")
        raise ScenarioError(tuple(problems)) from None
    if wrong := tuple(f"{source}: {what}" for _, what in property_places.mismatches(file)):
        raise ScenarioError(wrong)
    return replace(_scenario(file, ""), source=None)


def _scenario(file: ScenarioFile, source: str) -> Scenario:
    subject, ready, stop = file.subject, file.ready, file.stop
    folder = posixpath.dirname(source)

    def beside(path: str) -> str:
        return posixpath.normpath(posixpath.join(folder, path))

    return Scenario(
        name=file.name,
        description=file.description.strip(),
        source=source,
        subject=Subject(
            image=subject.image,
            build_directory=None if subject.build is None else beside(subject.build),
            dockerfile=subject.dockerfile,
            target=subject.target,
            build_args=tuple(subject.build_args.items()),
            entrypoint=_tuple(subject.entrypoint),
            command=_tuple(subject.command),
            environment=tuple(subject.environment.items()),
            user=subject.user,
            working_directory=subject.working_directory,
            ports=tuple(subject.ports.items()),
            init=subject.init,
            memory_bytes=subject.memory,
            pids_limit=_pids_limit(subject),
            task_file=None if subject.task_definition is None else beside(subject.task_definition),
            task_images=tuple(subject.images.items()),
            task_name=subject.task_name,
            task_parameters=tuple(subject.parameters.items()),
            settings=_settings(subject, beside),
            origin=_origin(subject, beside),
        ),
        readiness=_readiness(ready),
        before_stop=scenario_traffic.preparations(file.before_stop),
        traffic=scenario_traffic.clients(file.traffic),
        load_balancer=scenario_traffic.load_balancer(file.traffic),
        faults=tuple(item.made() for item in file.faults),
        stop=StopPlan(
            tuple(stop.timeouts),
            stop.signal,
            tuple(stop.after),
            own_timeouts=subject.read_from_files and "timeouts" not in stop.model_fields_set,
            ended_by=stop.ended_by,
        ),
        repeat=file.repeat,
        expectations=tuple(
            Expectation(
                outcomes=tuple(section.outcome),
                stop_timeout_ns=section.timeout,
                within_ns=section.within,
                exit_codes=None if section.exit_codes is None else tuple(section.exit_codes),
                after_stop=tuple(item.made() for item in section.after_stop),
            )
            for section in file.expect
        ),
    )


def _readiness(ready: ReadySection) -> Readiness:
    return plain.readiness(
        log=ready.log,
        tcp_port=ready.tcp,
        http_port=ready.http.port if ready.http else None,
        http_path=ready.http.path if ready.http else "/",
        healthcheck=ready.healthcheck,
        handler=ready.handler,
        delay_ns=ready.delay,
        timeout_ns=ready.timeout,
    )


def _origin(subject: SubjectSection, beside: Callable[[str], str]) -> Origin | None:
    given, pod = subject.compose, subject.kubernetes
    if pod is not None:
        return Origin(GroupKind.POD, (beside(pod.file),), pod.container, pod.workload)
    if given is None:
        return None
    files = tuple(beside(file) for file in given.file)
    return Origin(GroupKind.COMPOSE, files, given.service, profiles=tuple(given.profiles))


def _settings(subject: SubjectSection, beside: Callable[[str], str]) -> ContainerSettings:
    mounts = (
        replace(mount, source=beside(mount.source))
        if mount.kind is MountKind.BIND and mount.source is not None and not mount.source.startswith("~")
        else mount
        for mount in (*subject.volumes, *subject.tmpfs)
    )
    return ContainerSettings(
        tty=subject.tty,
        stdin_open=subject.stdin_open,
        env_files=tuple(beside(path) for path in subject.env_file),
        mounts=tuple(mounts),
        read_only=subject.read_only,
        cap_add=tuple(subject.cap_add),
        cap_drop=tuple(subject.cap_drop),
        security_opt=tuple(subject.security_opt),
        privileged=subject.privileged,
        ulimits=tuple(subject.ulimits),
        nano_cpus=subject.cpus,
        cpu_shares=subject.cpu_shares,
        memory_swap_bytes=subject.memory_swap,
        shm_size_bytes=subject.shm_size,
        pid=subject.pid,
        ipc=subject.ipc,
        network=subject.network,
        hostname=subject.hostname,
        extra_hosts=tuple(subject.extra_hosts),
        healthcheck=subject.healthcheck.made() if subject.healthcheck is not None else None,
        sysctls=tuple(subject.sysctls),
        labels=tuple(subject.labels),
        platform=subject.platform,
    )


def _pids_limit(subject: SubjectSection) -> int | None:
    """A task definition has no such key; what runs it decides. Compose files and manifests say it of each container."""
    return None if subject.pids_limit == -1 or subject.read_from_files else subject.pids_limit


def _tuple(words: list[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(words)


def _where(detail: ErrorDetails) -> Path:
    """The path of the offending key; pydantic appends "[key]" where a mapping's key itself is wrong."""
    path = detail["loc"]
    return path[:-1] if path[-1:] == ("[key]",) and detail["type"] != "extra_forbidden" else path


def explained(detail: ErrorDetails, section: type[Section], called: str) -> str:
    """A mistake in a section that stands in another file, under the name that its key has there."""
    if detail["type"] == "extra_forbidden":
        return f"{called}: unknown key{_did_you_mean(str(detail['loc'][-1]), list(section.model_fields))}"
    return _explain(detail, called)


def _explain(detail: ErrorDetails, called: str | None = None) -> str:
    path = _where(detail)
    key = called or ".".join(str(part) for part in path) or "scenario"
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind in {"extra_forbidden", "invalid_key"}:
        return f"{key}: unknown key{_did_you_mean(str(path[-1]), allowed_keys(path[:-1]))}"
    if kind == "missing":
        return f"{key}: this key is required"
    if kind == "value_error":
        return f"{key}: {context['error']}"
    if kind in {"enum", "literal_error"}:
        allowed = str(context["expected"]).replace(" or ", ", ").replace("'", "")
        return f"{key}: {show(value)} is not allowed{_did_you_mean(str(value), allowed.split(', '))}"
    if kind == "string_type":
        return f"{key}: text is needed, not {show(value)}; put it in quotes"
    if kind in {"string_too_short", "bytes_too_short"}:
        return f"{key}: it is empty; text is needed"
    if kind == "too_short":
        return f"{key}: the list is empty; at least one entry is needed"
    if kind in {"model_type", "dict_type"}:
        return f"{key}: a mapping of keys is needed, not {show(value)}"
    if kind == "string_pattern_mismatch":
        words = plain.PATTERNS.get(context["pattern"], f"text that matches {context['pattern']}")
        return f"{key}: {show(value)} is not allowed; needed: {words}"
    wanted = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ").replace("integer", "whole number")
    return f"{key}: {show(value)} is not allowed; needed: {wanted}"


def _did_you_mean(word: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(word.lower(), allowed, n=1, cutoff=0.6)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"{hint or ';'} allowed: {', '.join(allowed)}"
