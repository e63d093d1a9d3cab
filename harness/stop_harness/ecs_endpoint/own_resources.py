"""What this endpoint has beside ECS's API, below `/stop-harness/`: by GET what it is, and all about a task's stop; by
POST what no client of ECS can ask for, a Spot interruption."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from urllib.parse import parse_qs, unquote, urlsplit

from stop_harness._version import VERSION
from stop_harness.ecs_endpoint import evidence, spot, validation
from stop_harness.ecs_endpoint.agent import Live, Run
from stop_harness.ecs_endpoint.containers import NS_PER_S
from stop_harness.ecs_endpoint.errors import EcsError, invalid_parameter, quoted
from stop_harness.ecs_endpoint.state import Endpoint, Json
from stop_harness.model import LogTail

PRODUCT = "stop-harness"
PREFIX = "/stop-harness/"
INFO_PATH = PREFIX + "info"
TASK_PATH = re.compile(r"/stop-harness/tasks/(?P<id>[^/]+|arn:[^/]+/.+?)(?:/(?P<part>[a-z]+))?")
"""A task by its id, or by its ARN as it is or percent-encoded."""

INTERRUPTION_PATH = re.compile(
    r"/stop-harness/(?P<kind>tasks|container-instances)/(?P<id>[^/]+|arn:[^/]+/.+?)/spot-interruption"
)

POST_HELP = "POST to / for ECS, or to /stop-harness/tasks/<task id>/spot-interruption, or …/container-instances/<id>/…"
HELP = "POST for ECS; GET /stop-harness/info, or /stop-harness/tasks/<task id>, with /logs or /processes behind it"


def get(endpoint: Endpoint, target: str) -> Json:
    """The resource of a request target. Raises EcsError."""
    path, query = _split(target)
    if path == INFO_PATH:
        return _info(endpoint)
    match = TASK_PATH.fullmatch(path)
    part = _PARTS.get(match["part"] or "") if match else None
    if match is None or part is None:
        raise EcsError("UnknownOperationException", HELP, status=404)
    with endpoint.agent.lock:
        run = endpoint.agent.runs.get(unquote(match["id"]).rpartition("/")[2])
    if run is None:
        raise EcsError("InvalidParameterException", "The referenced task was not found.", status=404)
    return part(endpoint, run, query)


def post(endpoint: Endpoint, target: str) -> Json:
    """Begin a Spot interruption, of a task on FARGATE_SPOT or of a container instance. Raises EcsError."""
    path, query = _split(target)
    match = INTERRUPTION_PATH.fullmatch(path)
    if match is None:
        raise EcsError("UnknownOperationException", POST_HELP, status=404)
    wanted = unquote(match["id"]).rpartition("/")[2]
    with endpoint.agent.lock:
        if match["kind"] == "tasks":
            arn, at_ns = _interrupt_task(endpoint, wanted)
        else:
            arn, at_ns = _interrupt_instance(endpoint, wanted, _drains(query))
    return {"interrupted": arn, "endsAt": at_ns / NS_PER_S, "endsAtNs": at_ns}


def _interrupt_task(endpoint: Endpoint, task_id: str) -> tuple[str, int]:
    run = endpoint.agent.runs.get(task_id)
    if run is None:
        raise EcsError("InvalidParameterException", "The referenced task was not found.", status=404)
    return run.arn, spot.interrupt_task(endpoint, run)


def _interrupt_instance(endpoint: Endpoint, instance_id: str, drains: bool) -> tuple[str, int]:
    for cluster in endpoint.clusters.values():
        if (it := cluster.instances.get(instance_id)) is not None:
            at_ns = spot.interrupt_instance(endpoint, cluster, it, drains=drains)
            return endpoint.arns.container_instance(cluster.name, it.id), at_ns
    raise EcsError("InvalidParameterException", "The referenced container instance was not found.", status=404)


def _drains(query: dict[str, list[str]]) -> bool:
    asked = query.get("draining", ["true"])
    if asked not in (["true"], ["false"]):
        raise invalid_parameter(f"draining is true or false, but was {quoted(', '.join(asked))!r}")
    return asked == ["true"]


def _split(target: str) -> tuple[str, dict[str, list[str]]]:
    """Path and query. Raises for what is neither."""
    try:
        parts = urlsplit(target)
        return parts.path, parse_qs(parts.query, max_num_fields=10)
    except ValueError:
        raise invalid_parameter("the request target cannot be read") from None


def _info(endpoint: Endpoint) -> Json:
    """So that a client can tell this endpoint from AWS."""
    engine = endpoint.agent.containers.engine()
    shown = {
        key: getattr(engine, key)
        for key in (
            *("name", "product", "version", "host"),
            *("observes_sigkill", "proves_lost_processes", "reports_oom", "stops_at_once"),
            *("limits_groups", "shares_memory", "caveats"),
        )
    }
    return {"product": PRODUCT, "version": VERSION, "engine": shown}


def _evidence(endpoint: Endpoint, run: Run, _query: dict[str, list[str]]) -> Json:
    with endpoint.agent.lock:
        definition = endpoint.definition(str(run.details["taskDefinitionArn"]), "")
    missing = validation.not_emulated(definition.document, endpoint.agent.containers.engine())
    with endpoint.agent.lock:
        return evidence.evidence(run, missing)


def _logs(endpoint: Endpoint, run: Run, query: dict[str, list[str]]) -> Json:
    """Of one container; empty before it is created. The engine is asked without the lock."""
    names = list(run.requests)
    chosen = query.get("container", names if len(names) == 1 else [])
    if len(chosen) != 1 or chosen[0] not in names:
        asked = f"{quoted(', '.join(chosen))!r} is none of them" if chosen else "the query names none"
        raise invalid_parameter(f"logs?container=NAME wants one container of the task ({', '.join(names)}); {asked}.")
    live = _live(endpoint, run).get(chosen[0])
    found = endpoint.agent.containers.logs(live.runtime_id) if live else LogTail()
    return {"text": found.text, "truncated": found.truncated}


def _processes(endpoint: Endpoint, run: Run, _query: dict[str, list[str]]) -> Json:
    """By container; null where none runs, or where the engine cannot read them."""
    live = _live(endpoint, run)
    tables = {
        name: endpoint.agent.containers.processes(live[name].runtime_id) if name in live else None
        for name in run.requests
    }
    return {
        name: None if table is None else [dataclasses.asdict(process) for process in table]
        for name, table in tables.items()
    }


def _live(endpoint: Endpoint, run: Run) -> dict[str, Live]:
    with endpoint.agent.lock:
        return dict(run.live)


_PARTS: dict[str, Callable[[Endpoint, Run, dict[str, list[str]]], Json]] = {
    "": _evidence,
    "logs": _logs,
    "processes": _processes,
}
