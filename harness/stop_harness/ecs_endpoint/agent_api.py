"""The agent's own API for containers, at `$ECS_AGENT_URI`: the scale-in protection of their own task.

Source: amazon-ecs-agent/ecs-agent/tmds/handlers/taskprotection/v1 (handlers.go, types.go).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from stop_harness.ecs_endpoint.agent import Run
from stop_harness.ecs_endpoint.errors import EcsError
from stop_harness.ecs_endpoint.operations import task_protection
from stop_harness.ecs_endpoint.records import NS_PER_S
from stop_harness.ecs_endpoint.state import Endpoint, Json

PATH = re.compile(r"/api/(?P<id>[^/?]*)/task-protection/v1/state(?:\?.*)?")

INVALID = "InvalidParameterException"
UNREADABLE = "UpdateTaskProtection: failed to decode request"
NO_SWITCH = "Invalid request: does not contain 'ProtectionEnabled' field"
NO_TASK = "Failed to find a task for the request"
NO_ROLE = "Invalid Request: no task IAM role credentials available for task"

_MEMBERS: dict[str, type] = {"protectionenabled": bool, "expiresinminutes": int}
"""Go reads the names of members in any case."""


def call(endpoints: Iterable[Endpoint], method: str, target: str, body: bytes) -> tuple[int, Json]:
    """(status, answer) of a GET or PUT. A failure of ECS, as for a task of no service, is an answer with 200."""
    match = PATH.fullmatch(target)
    if match is None:
        return 404, refused("ResourceNotFoundException", f"Only {PATH.pattern} is served.")
    try:
        asked = _decoded(body) if method == "PUT" else None
    except (ValueError, RecursionError):
        return 400, refused(INVALID, UNREADABLE)
    for endpoint in endpoints:
        with endpoint.agent.lock:
            for run in endpoint.agent.runs.values():
                if run.agent_id == match["id"]:
                    return _of(endpoint, run, asked)
    return 404, refused("ResourceNotFoundException", NO_TASK)


def refused(code: str, message: str, arn: str = "") -> Json:
    """The body of an error."""
    return {"error": {**({"Arn": arn} if arn else {}), "Code": code, "Message": message}}


def _of(endpoint: Endpoint, run: Run, asked: dict[str, Any] | None) -> tuple[int, Json]:
    """`asked` None: only what there is."""
    if asked is not None and asked.get("protectionenabled") is None:
        return 400, refused(INVALID, NO_SWITCH, run.arn)
    if not _has_role(endpoint, run):
        return 403, refused("AccessDeniedException", NO_ROLE, run.arn)
    request: Json = {"cluster": run.cluster, "tasks": [run.arn]}
    try:
        if asked is None:
            found = task_protection.get_task_protection(endpoint, request)
        else:
            request["protectionEnabled"] = asked["protectionenabled"]
            if asked.get("expiresinminutes") is not None:
                request["expiresInMinutes"] = asked["expiresinminutes"]
            found = task_protection.update_task_protection(endpoint, request)
    except EcsError as error:
        return error.status, {"requestID": str(uuid.uuid4()), **refused(error.code, error.message, run.arn)}
    for failure in found["failures"]:
        return 200, {"failure": {name: failure.get(name.lower()) for name in ("Arn", "Detail", "Reason")}}
    return 200, {"protection": _shown(found["protectedTasks"][0])}


def _shown(protected: Json) -> Json:
    """As Go writes the SDK's type: every member, by its capital."""
    expires_ns = protected["expirationDate"]
    text = None
    if expires_ns is not None:
        text = datetime.fromtimestamp(expires_ns // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "ExpirationDate": text,
        "ProtectionEnabled": protected["protectionEnabled"],
        "TaskArn": protected["taskArn"],
    }


def _has_role(endpoint: Endpoint, run: Run) -> bool:
    """Of the task definition, or of the overrides."""
    definition = endpoint.definition(str(run.details["taskDefinitionArn"]), "")
    return bool(run.details["overrides"].get("taskRoleArn") or definition.document.get("taskRoleArn"))


def _decoded(body: bytes) -> dict[str, Any]:
    """The members of a request, by their names in small letters. Raises ValueError."""
    value, _ = json.JSONDecoder(parse_constant=_no_constant).raw_decode(body.decode().lstrip(" \t\r\n"))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("no object")
    found = {name.lower(): item for name, item in value.items()}
    for name, item in found.items():
        if name not in _MEMBERS or (item is not None and type(item) is not _MEMBERS[name]):
            raise ValueError(name)
        if isinstance(item, int) and not -(2**63) <= item < 2**63:
            raise ValueError(name)
    return found


def _no_constant(text: str) -> float:
    raise ValueError(text)
