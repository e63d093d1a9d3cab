"""`check` without a file: options → Scenario; and the text of `doctor`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stop_harness.errors import UsageError
from stop_harness.model import DoctorLine, EndedBy, Scenario, TrafficKind
from stop_harness.scenario import container_keys, plain

CLIENTS = 2
"""Where an answer is awaited at the stop: one that is served and one that may have to wait for it."""

OF_ONE_CONTAINER = {
    "env": "--env",
    "init": "--init",
    "memory": "--memory",
    "pids_limit": "--pids-limit",
    "no_healthcheck": "--no-healthcheck",
    "health_interval": "--health-interval",
    "health_timeout": "--health-timeout",
    "health_start_period": "--health-start-period",
    "health_retries": "--health-retries",
    **{container_keys.parameter(row): row.option for row in container_keys.KEYS if row.option},
}
"""Options that change a container."""


def refuse_mixtures(given: Mapping[str, Any], command: tuple[str, ...]) -> None:
    """Raises UsageError where the options name nothing to stop, or several things."""
    sources = _sources(given)
    if len(sources) > 1:
        raise UsageError(f"check takes one of {', '.join(_SOURCES.values())}; not {' and '.join(sources)} together")
    if not sources and not command:
        raise UsageError(f"check needs one of {', '.join(_SOURCES.values())}, or a command behind `--`")
    for key in ("profiles", "down"):
        if given[key] and not given["compose"]:
            raise UsageError(f"--{key.removesuffix('s')} goes with --compose")
    if given["ended_by"] and not given["task_definition"]:
        raise UsageError("--ended-by goes with --task-definition: it is about tasks of Amazon ECS")
    if given["restart"] and (given["container"] is None or given["kubernetes"]):
        raise UsageError("--restart goes with --container: any other container is made afresh for each stop")
    if given["workload"] and not given["kubernetes"]:
        raise UsageError("--workload goes with --kubernetes")


def scenario_of(given: Mapping[str, Any], command: tuple[str, ...]) -> Scenario:
    """The scenario that the options of `check` describe, but for those of `--compose`. Raises UsageError or
    ScenarioError."""
    if given["kubernetes"]:
        _refuse_settings(given, command)
    subject = with_options(_source(given), given, command)
    if given["task_images"]:
        option = "--image" if given["kubernetes"] else "--task-image"
        subject["images"] = _pairs(given["task_images"], option, "CONTAINER=IMAGE")
    if given["parameters"]:
        subject["parameters"] = dict(parameters(given["parameters"]))
    _put(subject, "task_name", given["task_name"])
    bare = is_bare(given)
    if bare:
        subject["build"] = "."
    data = stop_of(given, _name(given, command), subject)
    made = of_data(data)
    return _bare(made) if bare else made


def of_data(data: dict[str, Any]) -> Scenario:
    """The scenario of the data that options stand for; without the models where they have nothing to add.

    Raises ScenarioError.
    """
    if (made := plain.scenario_of(data)) is not None:
        return made
    from stop_harness.scenario import scenario_file  # late: pydantic, and a model for every key

    return scenario_file.from_data(data, "check", option_place)


def by_ending(made: Scenario, endings: tuple[str, ...]) -> tuple[Scenario, ...]:
    """One for each `--ended-by`, named after it where there are several; as it is without any.

    Raises UsageError for an ending that is none.
    """
    for text in endings:
        if text not in set(EndedBy):
            raise UsageError(f"--ended-by {text!r} is none of {', '.join(EndedBy)}")
    several = tuple(replace(made, stop=replace(made.stop, ended_by=EndedBy(text))) for text in dict.fromkeys(endings))
    if len(several) < 2:
        return several or (made,)
    return tuple(replace(one, name=f"{one.name[:50]}-{one.stop.ended_by}") for one in several)


def _refuse_settings(given: Mapping[str, Any], command: tuple[str, ...]) -> None:
    """What changes a container stands in the manifest. Raises UsageError."""
    used = [option for key, option in OF_ONE_CONTAINER.items() if given.get(key) not in (None, (), False)]
    if used or command:
        what = used[0] if used else "a command"
        raise UsageError(f"{what} is about one container; write it into the manifest. --image replaces an image")


def with_options(subject: Mapping[str, Any], given: Mapping[str, Any], command: tuple[str, ...]) -> dict[str, Any]:
    """The data of a subject with what the options say of its container in its place, or added to it."""
    result = {**subject, **_settings(given, subject)}
    _put(result, "command", list(command) or None)
    added = _pairs(given["env"], "--env", "KEY=VALUE")
    _put(result, "environment", {**subject.get("environment", {}), **added} or None)
    _put(result, "init", given["init"] or None)
    _put(result, "memory", given["memory"])
    _put(result, "pids_limit", given["pids_limit"])
    return result


def stop_of(given: Mapping[str, Any], name: str, subject: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a scenario: what the options say of readiness, traffic, the stop and what is expected of it."""
    data: dict[str, Any] = {"version": 1, "name": name, "subject": subject, "stop": {}, "ready": _ready(given)}
    _put(data["stop"], "timeouts", list(dict.fromkeys(given["timeouts"])) or None)
    _put(data["stop"], "signal", given["stop_signal"])
    _put(data, "traffic", _traffic(given) or None)
    _put(data, "faults", _faults(given["fault"]) or None)
    expectation: dict[str, Any] = {}
    _put(expectation, "within", given["within"])
    _put(expectation, "exit_codes", list(given["exit_codes"]) or None)
    data["expect"] = [expectation]
    return data


def _faults(texts: tuple[str, ...]) -> list[dict[str, Any]]:
    """The data of each `--fault`. Raises UsageError."""
    if not texts:
        return []
    from stop_harness.scenario import faults

    found = []
    for text in texts:
        try:
            found.append(faults.option(text))
        except ValueError as error:
            raise UsageError(f"--fault {text}: {error}") from None
    return found


def option_place(path: tuple[str | int, ...]) -> tuple[str, str]:
    """Where a mistake is that an option makes, by the key of the scenario that it stands for."""
    if path[:1] == ("faults",):
        return "check", "--fault"
    key = str(path[1]) if len(path) > 1 else ""
    row = container_keys.BY_KEY.get(key) if path and path[0] == "subject" else None
    return "check", row.option if row is not None and row.option else ".".join(map(str, path))


_SOURCES = {
    "image": "IMAGE",
    "build": "--build DIR",
    "compose": "--compose FILE",
    "kubernetes": "--kubernetes FILE",
    "task_definition": "--task-definition FILE",
    "container": "--container NAME",
}


def _sources(given: Mapping[str, Any]) -> list[str]:
    """What the options name to be stopped. With a manifest, the container is one of its pod."""
    named = [key for key in _SOURCES if given.get(key) or (key == "container" and given.get(key) is not None)]
    return [_SOURCES[key] for key in named if key != "container" or "kubernetes" not in named]


def is_bare(given: Mapping[str, Any]) -> bool:
    """Whether the options name no image of any kind, only a command."""
    return not _sources(given)


def describe_engine(line: DoctorLine) -> str:
    """A paragraph of `doctor`."""
    info = line.info
    if info is None:
        return f"{line.name}: does not answer\n  " + line.message.replace("\n", "\n  ") + "\n"
    sigkill = "observed (its own record)" if info.observes_sigkill else "inferred from exit code 137 at the timeout"
    lost = "proved" if info.proves_lost_processes else "not proved"
    rootless = any(caveat.startswith("rootless") for caveat in info.caveats)  # its kernel answers nobody
    if line.name == "docker" and not info.proves_lost_processes and not rootless:
        lost += "; `run --witness` and `check --witness` would"
    facts = [
        f"{line.name}: {line.message}",
        f"  SIGKILL: {sigkill}",
        f"  OOM kills: {'reported' if info.reports_oom else 'not reported'}",
        f"  silent SIGKILLs when PID 1 exits: {lost}",
        f"  PID 1 rules of the kernel: {'apply' if info.pid1_rules else 'not reproduced'}",
        f"  images, memory limits, init: {'yes' if info.runs_images else 'no'}",
        *(f"  note: {caveat}" for caveat in info.caveats),
    ]
    return "\n".join(facts) + "\n"


def _settings(given: Mapping[str, Any], subject: Mapping[str, Any]) -> dict[str, Any]:
    """The options that `container_keys` has, in place of a Compose file's keys; what may be repeated is added to it."""
    found: dict[str, Any] = {}
    for row in container_keys.KEYS:
        value = given.get(container_keys.parameter(row)) if row.option else None
        if not value:
            continue
        read: Any = list(value) if row.many else value
        if row.key == "ulimits":
            limits = _pairs(tuple(read), "--ulimit", "NAME=SOFT[:HARD]")
            read = {name: _ulimit(name, text) for name, text in limits.items()}
        elif row.key == "cpu_shares":
            read = int(read) if re.fullmatch("[0-9]{1,9}", read) else read
        elif row.key == "healthcheck":
            read = {**subject.get("healthcheck", {}), "test": read, **_health_times(given)}
        before = subject.get(row.key)
        if isinstance(before, list) and isinstance(read, list):
            read = [*before, *read]
        elif row.key == "ulimits" and isinstance(before, dict):
            read = {**before, **read}
        found[row.key] = read
    if given.get("no_healthcheck"):
        if "healthcheck" in found:
            raise UsageError("--no-healthcheck and --health-cmd exclude each other")
        found["healthcheck"] = {"disable": True}
    elif _health_times(given) and "healthcheck" not in found:
        found["healthcheck"] = {**subject.get("healthcheck", {}), **_health_times(given)}
    return found


def _health_times(given: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("interval", "timeout", "start_period", "retries")
    return {key: given[f"health_{key}"] for key in keys if given.get(f"health_{key}") is not None}


def _ulimit(name: str, text: str) -> Any:
    soft, sign, hard = text.partition(":")
    if not all(re.fullmatch("-1|[0-9]{1,18}", part) for part in (soft, *([hard] if sign else []))):
        raise UsageError(f"--ulimit {name}={text} is not of the form NAME=SOFT[:HARD]")
    return {"soft": int(soft), "hard": int(hard if sign else soft)}


def _bare(made: Scenario) -> Scenario:
    """A command without an image runs where the user stands, Dockerfile or not. Raises UsageError if there is none."""
    program = made.subject.command[0] if made.subject.command else ""
    if shutil.which(program) is None:
        raise UsageError(
            f"no command {program!r} is installed here, nor is it a file that may be executed; to stop an image, name "
            "it before the `--`: stop-harness check IMAGE -- COMMAND"
        )
    subject = replace(made.subject, build_directory=str(Path.cwd()), entrypoint=())
    return replace(made, subject=subject)


def _source(given: Mapping[str, Any]) -> dict[str, Any]:
    if given["build"]:
        folder = Path(given["build"])
        if not (folder / "Dockerfile").is_file():
            why = "there is no Dockerfile in that folder" if folder.is_dir() else "there is no such folder"
            raise UsageError(f"--build {folder}: {why if not folder.is_file() else 'a folder is needed, not a file'}")
        return {"build": given["build"]}
    if given["task_definition"]:
        return {"task_definition": given["task_definition"]}
    if given["kubernetes"]:
        chosen = {"workload": given["workload"], "container": given["container"]}
        chosen = {key: value for key, value in chosen.items() if value is not None}
        return {"kubernetes": {"file": given["kubernetes"], **chosen}}
    return {"image": given["image"]} if given["image"] else {}


def _name(given: Mapping[str, Any], command: tuple[str, ...]) -> str:
    file = given["task_definition"] or given["kubernetes"]
    task = file and (Path(file).stem if file != "-" else "pod")
    return slug(
        given["image"] or (given["build"] and Path(given["build"]).resolve().name) or task or Path(command[0]).name
    )


def slug(text: str) -> str:
    """The name of a scenario that is made of another name."""
    found = re.sub(r"[^a-z0-9._-]+", "-", text.lower().rpartition("/")[2]).strip("-._")
    return found[:60] or "subject"


def option_of(key: str) -> str:
    """`--ready-http` of the parameter `ready_http`, for messages."""
    return _OPTIONS.get(key) or OF_ONE_CONTAINER.get(key) or "--" + key.replace("_", "-")


_OPTIONS = {"stop_signal": "--signal", "task_images": "--image", "parameters": "--parameter", "profiles": "--profile"}
"""Options whose parameters have other names, beside those of a container."""


def parameters(items: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Of `--parameter`. Raises UsageError."""
    return tuple(_pairs(items, "--parameter", "KEY=VALUE").items())


def _pairs(items: tuple[str, ...], option: str, form: str) -> dict[str, str]:
    pairs = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not key or not sign:
            raise UsageError(f"{option} {item!r} is not of the form {form}")
        pairs[key] = value
    return pairs


def _ready(given: Mapping[str, Any]) -> dict[str, Any]:
    ready: dict[str, Any] = {}
    _put(ready, "log", given["ready_log"])
    _put(ready, "tcp", given["ready_tcp"])
    if given["ready_http"]:
        ready["http"] = _port_and_path("--ready-http", given["ready_http"])
    _put(ready, "healthcheck", given["ready_healthcheck"] or None)
    _put(ready, "delay", given["ready_delay"])
    _put(ready, "timeout", given["ready_timeout"])
    return ready


def _traffic(given: Mapping[str, Any]) -> dict[str, Any]:
    """One client section for each option `--traffic-KIND`. Raises UsageError."""
    asked = {kind: given[f"traffic_{kind}"] for kind in TrafficKind if given.get(f"traffic_{kind}") is not None}
    if given["traffic_message"] is not None and TrafficKind.WEBSOCKET not in asked:
        raise UsageError("--traffic-message goes with --traffic-websocket")
    for name, option in (("clients", "--clients"), ("traffic_tls", "--traffic-tls")):
        if given[name] and not asked:
            raise UsageError(f"{option} goes with a kind of traffic, such as --traffic-http")
    for key in ("propagation", "deregistration_delay", "stop_delay"):
        if given[key] is not None and not given["through"]:
            raise UsageError(f"--{key.replace('_', '-')} goes with --through load_balancer")
    traffic: dict[str, Any] = {kind.value: _client(kind, text, given) for kind, text in asked.items()}
    for key in ("through", "propagation", "deregistration_delay", "stop_delay"):
        _put(traffic, key, given[key])
    return traffic


def _client(kind: TrafficKind, text: str, given: Mapping[str, Any]) -> dict[str, Any]:
    option, form = f"--traffic-{kind.value.replace('_', '-')}", _FORMS.get(kind, "PORT or PORT/PATH")
    client = _port_and_path(option, text, form)
    has_path = "/" in text
    if has_path is not ("/SERVICE/METHOD" in form) and kind in _FORMS:
        raise UsageError(f"{option} {text!r} is not of the form {form}")
    if kind is TrafficKind.IDLE:
        del client["path"]
    message = given["traffic_message"] if kind is TrafficKind.WEBSOCKET else None
    _put(client, "send", message)
    awaited = kind in _ANSWERED or message is not None
    _put(client, "clients", given["clients"] or (CLIENTS if awaited else None))
    _put(client, "tls", given["traffic_tls"] or None)
    return client


_FORMS = {TrafficKind.GRPC: "PORT/SERVICE/METHOD", TrafficKind.IDLE: "PORT"}
"""Of an option's value, where it is not `PORT[/PATH]`."""

_ANSWERED = frozenset({TrafficKind.HTTP, TrafficKind.HTTP2, TrafficKind.GRPC})


def _port_and_path(option: str, text: str, form: str = "PORT or PORT/PATH") -> dict[str, Any]:
    port, slash, path = text.partition("/")
    if not re.fullmatch("[0-9]{1,5}", port):
        raise UsageError(f"{option} {text!r} is not of the form {form}")
    return {"port": int(port), "path": slash + path or "/"}


def _put(section: dict[str, Any], key: str, value: Any) -> None:
    if value is not None:
        section[key] = value
