"""One service of a Compose file → the data of a scenario. Pure: variables come from the caller."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from stop_harness import units
from stop_harness.errors import UsageError
from stop_harness.model import ECS_STOP_TIMEOUT_S, NS_PER_S
from stop_harness.scenario import variables

COMPOSE_STOP_TIMEOUT_S = 10
"""Compose's default `stop_grace_period`."""


def service_data(text: str, service: str, source: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Data for `scenario.from_data`: the service stopped at its own `stop_grace_period` and at 30 s.

    Understands image, build, command, entrypoint, environment, init, user, working_dir, mem_limit, pids_limit,
    deploy.resources.limits.memory and .pids, stop_signal and stop_grace_period. Raises UsageError.
    """
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as error:  # see scenario._Reader
        raise UsageError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    services = data.get("services") if isinstance(data, dict) else None
    if not isinstance(services, dict) or not services:
        raise UsageError(f"{source}: not a Compose file: it has no `services`")
    if service not in services:
        raise UsageError(f"{source}: no service {service!r}; services: {', '.join(map(str, services))}")
    if not isinstance(services[service] or {}, dict):
        raise UsageError(f"{source}: services.{service}: a mapping of keys is needed")
    try:
        return _data(_substitute(services[service] or {}, environment), service, source, environment)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        # The shapes of a Compose file are Compose's to explain in full.
        raise UsageError(
            f"{source}: services.{service} is not as Compose has it ({error}); see `docker compose config`"
        ) from None


def _data(found: dict[str, Any], service: str, source: str, environment: Mapping[str, str]) -> dict[str, Any]:
    subject = {
        "image": None if "build" in found else found.get("image"),
        **_build(found.get("build"), posixpath.dirname(source)),
        "command": _words(found.get("command")),
        "entrypoint": _words(found.get("entrypoint")),
        "environment": _environment(found.get("environment"), environment),
        "init": found.get("init"),
        "user": None if found.get("user") is None else str(found["user"]),
        "working_directory": found.get("working_dir"),
        "memory": found.get("mem_limit") or _deep(found, "deploy", "resources", "limits", "memory"),
        "pids_limit": _pids_limit(found),
    }
    grace = str(found.get("stop_grace_period") or f"{COMPOSE_STOP_TIMEOUT_S}s")
    try:
        timeouts = sorted({units.parse_duration(grace), ECS_STOP_TIMEOUT_S * NS_PER_S})
    except ValueError as error:
        raise UsageError(f"{source}: services.{service}.stop_grace_period: {error}") from None
    stop = {"timeouts": [units.format_duration(value) for value in timeouts], "signal": found.get("stop_signal")}
    return {
        "version": 1,
        "name": re.sub(r"[^a-z0-9._-]+", "-", service.lower()).strip("-._") or "service",
        "description": f"service {service} of {source}",
        "subject": {key: value for key, value in subject.items() if value is not None},
        "stop": {key: value for key, value in stop.items() if value is not None},
    }


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


def _substitute(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_substitute(item, environment) for item in value]
    return variables.substituted(value, environment) if isinstance(value, str) else value
