"""Task definitions: what ECS refuses when one is registered, and what the lifecycle reads in it. Pure.

Container definitions come as botocore's model of them, already of the right types (`wire`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stop_harness.ecs import dependencies, stop_timeouts, unapplied
from stop_harness.ecs.dependencies import Condition
from stop_harness.ecs.identifiers import is_name
from stop_harness.ecs.stop_timeouts import FARGATE
from stop_harness.ecs_endpoint.errors import client_exception, quoted
from stop_harness.ecs_endpoint.records import ContainerSpec, RestartPolicy
from stop_harness.model import EngineInfo, NotApplied

Json = dict[str, Any]

WINDOWS = "WINDOWS"

RESTART_ATTEMPT_PERIOD_S = range(60, 1801)
MAX_IGNORED_EXIT_CODES = 50
"""API reference, ContainerRestartPolicy; the text of a refusal is not published."""


def validate(request: Json) -> None:
    """Raise ClientException for what ECS, or this endpoint, does not take."""
    if not is_name(request["family"]):
        raise client_exception(
            "Family contains invalid characters; up to 255 letters, numbers, hyphens and underscores are allowed."
        )
    _refuse_windows(request)
    containers: list[Json] = request["containerDefinitions"]
    if not containers:
        raise client_exception("Container definitions should not be empty.")
    for container in containers:
        _validate_container(container, request)
    names = [container["name"] for container in containers]
    if twice := {name for name in names if names.count(name) > 1}:
        raise client_exception(f"Container names must be unique; used more than once: {', '.join(sorted(twice))}")
    if not any(container.get("essential", True) for container in containers):
        raise client_exception("Task definition must have at least one essential container.")
    _validate_dependencies(containers)
    if FARGATE in request.get("requiresCompatibilities", ()):
        _validate_fargate(request)


def compatibilities(request: Json) -> list[str]:
    """EC2 always; FARGATE where it was asked for or nothing speaks against it; EXTERNAL where it needs nothing that
    instances outside AWS do not have (Amazon ECS developer guide, External instances)."""
    asked = request.get("requiresCompatibilities") or []
    efs = any(volume.get("efsVolumeConfiguration") for volume in request.get("volumes", ()))
    in_aws = request.get("networkMode") == "awsvpc" or efs or request.get("proxyConfiguration")
    fargate = FARGATE in asked or not _fargate_problems(request)
    external = not in_aws and not request.get("inferenceAccelerators")
    return [*(["EXTERNAL"] if external else []), "EC2", *([FARGATE] if fargate else [])]


def specs(
    containers: list[Json], *, agent_stop_timeout: str | None = None, fargate: bool = False
) -> tuple[ContainerSpec, ...]:
    """What the lifecycle needs to know of each container."""
    return tuple(
        ContainerSpec(
            name=container["name"],
            essential=container.get("essential", True),
            depends_on=dependencies.edges(container, containers),
            stop_timeout_s=stop_timeouts.effective_stop_timeout_s(
                container.get("stopTimeout"), agent_stop_timeout, fargate=fargate
            ),
            start_timeout_s=container.get("startTimeout"),
            has_health_check=has_health_check(container),
            restart_policy=_restart_policy(container),
        )
        for container in containers
    )


def _restart_policy(container: Json) -> RestartPolicy | None:
    policy = container.get("restartPolicy", {})
    if not policy.get("enabled"):
        return None
    period_s = policy.get("restartAttemptPeriod", RestartPolicy.attempt_period_s)
    return RestartPolicy(tuple(policy.get("ignoredExitCodes", ())), period_s)


def has_health_check(container: Json) -> bool:
    """Only the definition's own counts: ECS ignores the image's HEALTHCHECK."""
    command = container.get("healthCheck", {}).get("command") or ["NONE"]
    return bool(command[0] != "NONE")


def not_emulated(request: Json, engine: EngineInfo) -> tuple[NotApplied, ...]:
    """What of a definition this endpoint accepts and does not do on this engine."""
    return tuple(item for item in unapplied.of_task(request) if not engine.applies(item))


def _refuse_windows(request: Json) -> None:
    family = request.get("runtimePlatform", {}).get("operatingSystemFamily", "LINUX")
    if family.upper().startswith(WINDOWS):
        raise client_exception(
            f"operatingSystemFamily {quoted(family)}: Windows containers are not emulated. Windows has no stop signal; "
            "its containers get CTRL_SHUTDOWN_EVENT, which cannot be sent or measured on a Linux engine."
        )


def _validate_container(container: Json, request: Json) -> None:
    name = container.get("name") or ""
    if not name:
        raise client_exception("Container.name should not be null or empty.")
    if not is_name(name):
        raise client_exception(
            f"Invalid container name {quoted(name)!r}; up to 255 letters, numbers, hyphens and underscores are allowed."
        )
    if not container.get("image"):
        raise client_exception("Container.image should not be null or empty.")
    if not request.get("memory") and not (container.get("memory") or container.get("memoryReservation")):
        raise client_exception(
            f"Invalid setting for container '{name}'. "
            "At least one of 'memory' or 'memoryReservation' must be specified."
        )
    for key in ("stopTimeout", "startTimeout", "memory", "memoryReservation"):
        if container.get(key, 0) < 0:
            raise client_exception(f"Invalid setting for container '{name}'. '{key}' must not be negative.")
    policy = container.get("restartPolicy", {})
    if policy.get("restartAttemptPeriod", RestartPolicy.attempt_period_s) not in RESTART_ATTEMPT_PERIOD_S:
        raise client_exception(
            f"Invalid setting for container '{name}'. 'restartAttemptPeriod' must be from "
            f"{RESTART_ATTEMPT_PERIOD_S.start} to {RESTART_ATTEMPT_PERIOD_S.stop - 1} seconds."
        )
    if len(policy.get("ignoredExitCodes", ())) > MAX_IGNORED_EXIT_CODES:
        raise client_exception(
            f"Invalid setting for container '{name}'. 'ignoredExitCodes' may have up to {MAX_IGNORED_EXIT_CODES} codes."
        )
    command = container.get("healthCheck", {}).get("command", ["NONE"])
    if not command or command[0] not in {"CMD", "CMD-SHELL", "NONE"}:
        raise client_exception(
            f"Invalid setting for container '{name}'. The health check command must start with CMD or CMD-SHELL."
        )


def _validate_dependencies(containers: list[Json]) -> None:
    by_name = {container["name"]: container for container in containers}
    graph: dict[str, list[str]] = {}
    for container in containers:
        found = dependencies.edges(container, containers)
        graph[container["name"]] = [name for name, _ in found]
        for name, condition in found:
            target = by_name.get(name)
            if target is None:
                raise client_exception(f"Cannot depend on container + '{quoted(name)}' because it does not exist")
            if condition in {Condition.SUCCESS, Condition.COMPLETE} and target.get("essential", True):
                raise client_exception(
                    "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container"
                )
            if condition is Condition.HEALTHY and not has_health_check(target):
                raise client_exception(f"Container '{name}' has no healthCheck; condition HEALTHY can never be met")
    if cycle := dependencies.find_cycle(graph):
        raise client_exception(f"Container dependencies must not form a cycle: {' -> '.join(cycle)}")


def _validate_fargate(request: Json) -> None:
    for problem in _fargate_problems(request):
        raise client_exception(problem)


def _fargate_problems(request: Json) -> list[str]:
    problems = [*_fargate_namespaces(request), *_fargate_unsupported(request)]
    if request.get("networkMode") != "awsvpc":
        problems.append("Fargate only supports network mode ‘awsvpc’.")
    problems += [
        f"Fargate requires that '{key}' be defined at the task level."
        for key in ("cpu", "memory")
        if key not in request
    ]
    allowed = stop_timeouts.FARGATE_STOP_TIMEOUT_S
    for container in request["containerDefinitions"]:
        timeout_s = container.get("stopTimeout", 0)
        if timeout_s and timeout_s not in allowed:
            problems.append(
                f"Invalid setting for container '{container['name']}'. On Fargate 'stopTimeout' must be from "
                f"{allowed.start} to {allowed.stop - 1} seconds, but was {timeout_s}."
            )
        problems += [
            f"Invalid setting for container '{container['name']}'. '{key}' is not supported on Fargate."
            for key in ("links", "privileged")
            if container.get(key)
        ]
    return problems


def _fargate_namespaces(request: Json) -> Iterator[str]:
    """In the words of ECS, as people quote them (aws-cdk#29619, terraform-aws-ecs-fargate#2)."""
    mode = request.get("pidMode")
    if mode is not None and mode != "task":
        yield (
            f"Tasks using the Fargate launch type do not support pidMode '{mode}'. The supported value for pidMode is "
            "'task'."
        )
    if request.get("ipcMode") is not None:
        yield "Tasks using the Fargate launch type do not support ipcMode."


def _fargate_unsupported(request: Json) -> Iterator[str]:
    volumes, containers = request.get("volumes", ()), request["containerDefinitions"]
    linux = [container.get("linuxParameters", {}) for container in containers]
    found = {
        "dockerVolumeConfiguration": any(volume.get("dockerVolumeConfiguration") for volume in volumes),
        "sourcePath": any(volume.get("host", {}).get("sourcePath") for volume in volumes),
        "devices": any(part.get("devices") for part in linux),
        "sharedMemorySize": any(part.get("sharedMemorySize") for part in linux),
        "maxSwap": any("maxSwap" in part for part in linux),
        "dockerSecurityOptions": any(container.get("dockerSecurityOptions") for container in containers),
        "constraints": bool(request.get("placementConstraints")),
    }
    for member, asked in found.items():
        if asked:
            yield f"Fargate compatible task definitions do not support {member}"
