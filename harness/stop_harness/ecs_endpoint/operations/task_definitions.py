"""Operations on task definitions."""

from __future__ import annotations

from stop_harness.ecs_endpoint import describe, identifiers, validation
from stop_harness.ecs_endpoint.errors import EcsError, client_exception, invalid_parameter
from stop_harness.ecs_endpoint.paging import paged
from stop_harness.ecs_endpoint.state import ACTIVE, DELETE_IN_PROGRESS, INACTIVE, DefinitionRevision, Endpoint, Json

UNKNOWN = "Unable to describe task definition."
MAX_DELETED = 10


def register_task_definition(endpoint: Endpoint, request: Json) -> Json:
    """The next revision of its family."""
    validation.validate(request)
    tags = request.pop("tags", [])
    revisions = endpoint.definitions.setdefault(request["family"], {})
    revision = max(revisions, default=0) + 1
    it = DefinitionRevision(request["family"], revision, request, endpoint.clock.now_ns(), tags)
    revisions[revision] = it
    return {"taskDefinition": describe.task_definition(endpoint, it), "tags": tags}


def describe_task_definition(endpoint: Endpoint, request: Json) -> Json:
    """The latest active revision unless one is named."""
    it = endpoint.definition(request["taskDefinition"], UNKNOWN)
    tags = it.tags if "TAGS" in request.get("include", ()) else None
    return {"taskDefinition": describe.task_definition(endpoint, it), "tags": tags}


def list_task_definitions(endpoint: Endpoint, request: Json) -> Json:
    """By family and revision; `familyPrefix` is the whole name of a family, as in ECS."""
    status, prefix = request.get("status", ACTIVE), request.get("familyPrefix")
    found = [
        endpoint.arns.task_definition(family, it.revision)
        for family, revisions in sorted(endpoint.definitions.items())
        for it in revisions.values()
        if it.status == status and prefix in {None, family}
    ]
    if request.get("sort") == "DESC":
        found.reverse()
    return paged("taskDefinitionArns", found, request)


def list_task_definition_families(endpoint: Endpoint, request: Json) -> Json:
    """A family is ACTIVE while one of its revisions is."""
    status, prefix = request.get("status", "ALL"), request.get("familyPrefix", "")
    found = [
        family
        for family, revisions in sorted(endpoint.definitions.items())
        for active in [any(it.status == ACTIVE for it in revisions.values())]
        if family.startswith(prefix) and status in {"ALL", ACTIVE if active else INACTIVE}
    ]
    return paged("families", found, request)


def deregister_task_definition(endpoint: Endpoint, request: Json) -> Json:
    """INACTIVE; its tasks go on."""
    if not request["taskDefinition"].rpartition("/")[2].partition(":")[1]:
        raise client_exception("Revision is missing.")
    it = endpoint.definition(request["taskDefinition"], UNKNOWN)
    if it.status != ACTIVE:
        raise client_exception("The specified task definition is already inactive.")
    it.status, it.deregistered_at_ns = INACTIVE, endpoint.clock.now_ns()
    return {"taskDefinition": describe.task_definition(endpoint, it)}


def delete_task_definitions(endpoint: Endpoint, request: Json) -> Json:
    """DELETE_IN_PROGRESS for inactive ones; they stay so while something refers to them, here for good."""
    if not 1 <= len(request["taskDefinitions"]) <= MAX_DELETED:
        raise invalid_parameter(f"taskDefinitions should have 1 to {MAX_DELETED} elements")
    found, failures = [], []
    for text in request["taskDefinitions"]:
        try:
            it = _deletable(endpoint, text)
        except EcsError as error:
            failures.append({"arn": text, "reason": error.message})
            continue
        it.status, it.delete_requested_at_ns = DELETE_IN_PROGRESS, endpoint.clock.now_ns()
        found.append(describe.task_definition(endpoint, it))
    return {"taskDefinitions": found, "failures": failures}


def _deletable(endpoint: Endpoint, text: str) -> DefinitionRevision:
    """An inactive revision. Raises EcsError with the reason as DeleteTaskDefinitions gives it."""
    try:
        _, revision = identifiers.task_definition(text)
    except EcsError:
        revision = None
    if revision is None:
        raise client_exception(
            "The specified task definition identifier is invalid. Specify a valid name or ARN and try again."
        )
    it = endpoint.definition(
        text,
        "The specified task definition does not exist. Specify a valid account, family, revision and try again.",
    )
    if it.status == ACTIVE:
        raise client_exception(
            "The specified task definition is still in ACTIVE status. Please deregister the target and try again."
        )
    return it
