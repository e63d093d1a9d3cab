"""Tags on clusters, services, tasks and task definitions, by ARN."""

from __future__ import annotations

from stop_harness.ecs.identifiers import arn_parts
from stop_harness.ecs_endpoint import identifiers
from stop_harness.ecs_endpoint.errors import EcsError, invalid_parameter, quoted
from stop_harness.ecs_endpoint.records import EcsStatus
from stop_harness.ecs_endpoint.state import ACTIVE, Endpoint, Json, Tags

MAX_TAGS = 50


def tag_resource(endpoint: Endpoint, request: Json) -> Json:
    """Adds; what replaces the value of a key comes last."""
    tags = _tags(endpoint, request["resourceArn"], change=True)
    new = {tag.get("key"): tag for tag in request["tags"]}
    merged = {tag.get("key"): tag for tag in [*(it for it in tags if it.get("key") not in new), *new.values()]}
    if len(merged) > MAX_TAGS:
        raise EcsError("LimitExceededException", f"A resource has at most {MAX_TAGS} tags.")
    tags[:] = list(merged.values())
    return {}


def untag_resource(endpoint: Endpoint, request: Json) -> Json:
    """Keys that are not there are no error."""
    tags = _tags(endpoint, request["resourceArn"], change=True)
    tags[:] = [tag for tag in tags if tag.get("key") not in request["tagKeys"]]
    return {}


def list_tags_for_resource(endpoint: Endpoint, request: Json) -> Json:
    """None for a task that stops."""
    return {"tags": list(_tags(endpoint, request["resourceArn"], change=False))}


def _tags(endpoint: Endpoint, arn: str, *, change: bool) -> Tags:
    parts = arn_parts(arn)
    if parts is None or len(parts) < 2:
        raise invalid_parameter(f"Invalid ARN: {quoted(arn)}")
    kind, name = parts[0], parts[-1]
    if kind == "cluster" and name in endpoint.clusters and endpoint.clusters[name].status == ACTIVE:
        return endpoint.clusters[name].tags
    if kind == "task" and name in endpoint.agent.runs:
        run = endpoint.agent.runs[name]
        if change and run.state.desired is EcsStatus.STOPPED:
            raise invalid_parameter("The specified task is stopped. Specify a running task and try again.")
        return run.tags
    if kind == "service" and len(parts) == 3 and (parts[1], name) in endpoint.services:
        return endpoint.services[parts[1], name].tags
    if kind == "task-definition":
        family, revision = identifiers.task_definition(name)
        found = endpoint.definitions.get(family, {}).get(revision or 0)
        if found is not None:
            return found.tags
    if kind not in {"cluster", "task", "service", "task-definition"}:
        raise invalid_parameter(f"Tags of resources of type {quoted(kind)} are not emulated by stop-harness.")
    raise EcsError("ResourceNotFoundException", f"The specified {kind} was not found.")
