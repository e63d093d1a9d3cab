"""Whether a task is ready, seen from this machine, and why it ended before it was."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.request import urlopen

from stop_harness.engines import start_failure
from stop_harness.engines.interface import ReadySigns, SubjectFailed
from stop_harness.model import NS_PER_S, Problem, ProblemKind, TaskDefinition

Address = tuple[str, int]


HEALTH_CHECK_INTERVAL_S = 30
"""Default `interval` of a healthCheck; its first run comes when one has passed. Source: Amazon ECS API, HealthCheck."""


def signs(task: TaskDefinition, *, reached: bool) -> ReadySigns:
    """What a task definition declares that tells when its task is ready. `reached`: its ports can be connected to."""
    containers = json.loads(task.document)["containerDefinitions"]
    checks = [item["healthCheck"] for item in containers if item.get("healthCheck")]
    ports = [
        tuple(mapping["containerPort"] for mapping in item.get("portMappings", ()) if _is_tcp(mapping))
        for item in containers
    ]
    longest_s = max(
        (it.get("startPeriod", 0) + 2 * it.get("interval", HEALTH_CHECK_INTERVAL_S) for it in checks), default=0
    )
    groups = tuple(group for group in ports if group) if reached else ()
    return ReadySigns(health_check=bool(checks), health_patience_ns=longest_s * NS_PER_S, ports=groups)


def health_checked(task: TaskDefinition) -> frozenset[str]:
    """Names of the containers that have a health check."""
    containers = json.loads(task.document)["containerDefinitions"]
    return frozenset(item["name"] for item in containers if item.get("healthCheck"))


def _is_tcp(mapping: dict[str, Any]) -> bool:
    return "containerPort" in mapping and mapping.get("protocol", "tcp") == "tcp"


def binding(task: dict[str, Any], port: int) -> Address | None:
    """Where a container port of a task is reached: by its network bindings, else at the address of its network
    interface, for awsvpc has no bindings. None where it has neither."""
    for container in task.get("containers", ()):
        for item in container.get("networkBindings", ()):
            if item.get("containerPort") == port and item.get("hostPort"):
                host = item.get("bindIP") or "127.0.0.1"
                return ("127.0.0.1" if host == "0.0.0.0" else host), int(item["hostPort"])  # nosec B104 # compared, not bound
    for container in task.get("containers", ()):
        for item in container.get("networkInterfaces", ()):
            if address := item.get("privateIpv4Address"):
                return str(address), port
    return None


def accepts(where: Address | None) -> bool:
    """Whether a connection is accepted, and kept."""
    if where is None:
        return False
    try:
        connection = socket.create_connection(where, timeout=1.0)
    except OSError:
        return False
    connection.settimeout(0.05)
    try:  # an engine's proxy accepts for a container that does not, and then closes
        return connection.recv(1, socket.MSG_PEEK) != b""
    except TimeoutError:
        return True
    except OSError:
        return False
    finally:
        connection.close()


def answers(where: Address | None, path: str) -> bool:
    """Whether GET is answered with a status below 400."""
    if where is None:
        return False
    try:
        with urlopen(f"http://{where[0]}:{where[1]}{path}", timeout=5) as answer:  # nosec B310 # http, from the task
            return bool(answer.status < 400)
    except (OSError, ValueError, http.client.HTTPException):
        return False


def why_it_ended(task: dict[str, Any], essential: set[str]) -> SubjectFailed:
    """Why a stopped task never ran, or how it ended before it was ready. `essential`: names of those containers."""
    containers = task.get("containers", ())
    reasons = [f"{item['name']}: {item['reason']}" for item in containers if item.get("reason")]
    why = str(task.get("stoppedReason") or "the task stopped")
    text = "; ".join(reasons if any(why in reason for reason in reasons) else [why, *reasons])
    codes = [item["exitCode"] for item in containers if item["name"] in essential and item.get("exitCode") is not None]
    if task.get("stopCode") == "EssentialContainerExited":
        return SubjectFailed(None, codes[0] if codes else None)
    missing = "CannotStartContainer" in text and start_failure.missing_command(text) is not None
    return SubjectFailed(Problem(ProblemKind.COMMAND_NOT_FOUND if missing else ProblemKind.START_FAILED, text))
