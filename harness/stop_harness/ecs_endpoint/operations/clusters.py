"""Operations on clusters. Each has one instance: this machine."""

from __future__ import annotations

from stop_harness.ecs_endpoint import describe, identifiers
from stop_harness.ecs_endpoint.errors import EcsError
from stop_harness.ecs_endpoint.paging import paged
from stop_harness.ecs_endpoint.records import EcsStatus
from stop_harness.ecs_endpoint.state import ACTIVE, INACTIVE, Cluster, Endpoint, Json

EVERYTHING = ["TAGS", "SETTINGS"]

_GIVEN = ("capacityProviders", "defaultCapacityProviderStrategy", "serviceConnectDefaults", "configuration")
"""Members of CreateCluster that come back as they were given. The strategy applies where a task names neither a launch
type nor a strategy."""


def create_cluster(endpoint: Endpoint, request: Json) -> Json:
    """Again for one that exists: as it is."""
    name = identifiers.cluster_name(request.get("clusterName"))
    existing = endpoint.clusters.get(name)
    if existing is None or existing.status != ACTIVE:
        tags, settings = request.get("tags", []), request.get("settings", [])
        given = {key: request[key] for key in _GIVEN if key in request}
        existing = endpoint.add_cluster(Cluster(name, tags=tags, settings=settings, given=given))
    return {"cluster": describe.cluster(endpoint, existing, EVERYTHING)}


def describe_clusters(endpoint: Endpoint, request: Json) -> Json:
    """The default cluster unless others are named."""
    found, failures = [], []
    for text in request.get("clusters") or [identifiers.DEFAULT_CLUSTER]:
        endpoint.arns.require_own(text)
        name = identifiers.cluster_name(text)
        if name in endpoint.clusters:
            found.append(describe.cluster(endpoint, endpoint.clusters[name], request.get("include", [])))
        else:
            failures.append({"arn": endpoint.arns.cluster(name), "reason": "MISSING"})
    return {"clusters": found, "failures": failures}


def list_clusters(endpoint: Endpoint, request: Json) -> Json:
    """Active ones."""
    names = [name for name, cluster in endpoint.clusters.items() if cluster.status == ACTIVE]
    return paged("clusterArns", names, request, endpoint.arns.cluster)


def delete_cluster(endpoint: Endpoint, request: Json) -> Json:
    """Only without services and tasks."""
    cluster = endpoint.cluster(request["cluster"])
    if any(it.cluster == cluster.name and it.status == ACTIVE for it in endpoint.services.values()):
        raise EcsError(
            "ClusterContainsServicesException",
            "The Cluster cannot be deleted while Services are active.",
        )
    if any(run.state.last is not EcsStatus.STOPPED for run in endpoint.runs_of(cluster.name)):
        raise EcsError("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
    cluster.status = INACTIVE
    return {"cluster": describe.cluster(endpoint, cluster, EVERYTHING)}
