"""Operations on container instances. All of them are this machine: what runs on one runs here."""

from __future__ import annotations

import json

from stop_harness.ecs_endpoint import describe, lifecycle
from stop_harness.ecs_endpoint.errors import client_exception, invalid_parameter, quoted
from stop_harness.ecs_endpoint.paging import paged
from stop_harness.ecs_endpoint.records import EcsStatus
from stop_harness.ecs_endpoint.state import ACTIVE, DRAINING, INACTIVE, Cluster, ContainerInstance, Endpoint, Json

MAX_DESCRIBED = 100
MAX_UPDATED = 10
"""API reference, DescribeContainerInstances and UpdateContainerInstancesState."""


def register_container_instance(endpoint: Endpoint, request: Json) -> Json:
    """One more name of this machine; again with an ARN that is known: as it is, with what is given anew."""
    cluster = endpoint.cluster(request.get("cluster"))
    members = {"attributes": "attributes", "tags": "tags", "totalResources": "resources", "versionInfo": "versions"}
    given = {ours: request[theirs] for theirs, ours in members.items() if theirs in request}
    if "containerInstanceArn" in request:
        arn, known = endpoint.find_instance(request["containerInstanceArn"], cluster)
        if known is None or known.status == INACTIVE:
            raise client_exception(f"Referenced container instance {quoted(arn.rpartition('/')[2])} not registered.")
        for name, value in given.items():
            setattr(known, name, value)
        endpoint.instance_changed(cluster, known)
    else:
        known = endpoint.add_instance(cluster, _ec2_instance_id(request.get("instanceIdentityDocument")), **given)
    return {"containerInstance": describe.container_instance(endpoint, cluster, known, tags=True)}


def deregister_container_instance(endpoint: Endpoint, request: Json) -> Json:
    """INACTIVE at once; the machine and its containers stay. With tasks on it only by force, which orphans them: their
    containers run on, ECS shows them as stopped, and the scheduler starts others for those of services."""
    cluster = endpoint.cluster(request.get("cluster"))
    arn, it = endpoint.find_instance(request["containerInstance"], cluster)
    if it is None or it.status == INACTIVE:
        raise client_exception(f"Referenced container instance {quoted(arn.rpartition('/')[2])} not found.")
    runs = [run for run in endpoint.runs_of(cluster.name) if run.instance_id == it.id]
    runs = [run for run in runs if run.state.last is not EcsStatus.STOPPED]
    if runs and not request.get("force"):
        raise invalid_parameter("Found running tasks on the instance.")
    for run in runs:
        endpoint.agent.orphan(run, lifecycle.DEREGISTERED)
    endpoint.end_instance(cluster, it)
    # The agent hears of it after the answer, whose example in the API reference shows it as still connected.
    return {"containerInstance": {**describe.container_instance(endpoint, cluster, it), "agentConnected": True}}


def describe_container_instances(endpoint: Endpoint, request: Json) -> Json:
    """Those that became INACTIVE within the hour, too; what is unknown is a failure MISSING."""
    cluster = endpoint.cluster(request.get("cluster"))
    found, failures = _named(endpoint, cluster, request["containerInstances"], MAX_DESCRIBED)
    tags = "TAGS" in request.get("include", ())
    shown = [describe.container_instance(endpoint, cluster, it, tags=tags) for it in found]
    return {"containerInstances": shown, "failures": failures}


def list_container_instances(endpoint: Endpoint, request: Json) -> Json:
    """All but those that are INACTIVE, or those with the status that is asked for."""
    cluster = endpoint.cluster(request.get("cluster"))
    if request.get("filter"):
        raise client_exception("stop-harness does not emulate the cluster query language (filter).")
    wanted = request.get("status")
    ids = [it.id for it in describe.living_instances(cluster) if wanted in {None, it.status}]
    return paged(
        "containerInstanceArns",
        ids,
        request,
        lambda instance_id: endpoint.arns.container_instance(cluster.name, instance_id),
    )


def update_container_instances_state(endpoint: Endpoint, request: Json) -> Json:
    """ACTIVE or DRAINING. What draining does to tasks is the service scheduler's affair (`services.reconcile`)."""
    cluster = endpoint.cluster(request.get("cluster"))
    if request["status"] not in {ACTIVE, DRAINING}:
        raise invalid_parameter("Container instance status should be one of [ACTIVE, DRAINING]")
    found, failures = _named(endpoint, cluster, request["containerInstances"], MAX_UPDATED)
    gone = [it for it in found if it.status == INACTIVE]
    failures += [{"arn": endpoint.arns.container_instance(cluster.name, it.id), "reason": "INACTIVE"} for it in gone]
    changed = [it for it in found if it.status != INACTIVE]
    for it in changed:
        set_status(endpoint, cluster, it, request["status"])
    shown = [describe.container_instance(endpoint, cluster, it) for it in changed]
    return {"containerInstances": shown, "failures": failures}


def set_status(endpoint: Endpoint, cluster: Cluster, it: ContainerInstance, status: str) -> None:
    """The same again is no change."""
    if it.status != status:
        it.status = status
        endpoint.instance_changed(cluster, it)


def _named(
    endpoint: Endpoint, cluster: Cluster, named: list[str], most: int
) -> tuple[list[ContainerInstance], list[Json]]:
    """(those that are known, failures for the others)."""
    if not named:
        raise client_exception("Container Instances cannot be empty.")
    if len(named) > most:
        raise invalid_parameter(f"Container Instances cannot have more than {most} elements.")
    found, failures = [], []
    for text in dict.fromkeys(named):
        arn, it = endpoint.find_instance(text, cluster)
        if it is None:
            failures.append({"arn": arn, "reason": "MISSING"})
        else:
            found.append(it)
    return found, failures


def _ec2_instance_id(document: str | None) -> str | None:
    """From the identity document that EC2 gives its instances; None without one. Nobody checks its signature."""
    if document is None:
        return None
    try:
        found = json.loads(document)
    except ValueError:
        raise client_exception("The instance identity document is not JSON.") from None
    return str(found["instanceId"]) if isinstance(found, dict) and found.get("instanceId") else None
