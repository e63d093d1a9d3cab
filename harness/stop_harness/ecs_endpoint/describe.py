"""State → the API's shapes. Times stay nanoseconds; `wire` makes seconds of them."""

from __future__ import annotations

from stop_harness.ecs_endpoint.agent import Run
from stop_harness.ecs_endpoint.containers import Binding
from stop_harness.ecs_endpoint.records import SHOWN, ContainerState, EcsStatus, TaskState
from stop_harness.ecs_endpoint.state import (
    ACTIVE,
    INACTIVE,
    Cluster,
    DefinitionRevision,
    Deployment,
    Endpoint,
    Json,
    Service,
)
from stop_harness.ecs_endpoint.validation import compatibilities


def task(run: Run, state: TaskState | None = None, *, tags: bool = False) -> Json:
    """A task as RunTask, StopTask and DescribeTasks show it; `state` where it must be an earlier moment's."""
    state = state or run.state
    return {
        **run.details,
        "taskArn": run.arn,
        "attachments": [],
        "containers": [_container(run, item) for item in state.containers],
        "connectivity": "CONNECTED",
        "connectivityAt": state.created_at_ns,
        "createdAt": state.created_at_ns,
        "desiredStatus": state.desired,
        "lastStatus": state.last,
        "healthStatus": state.health,
        "executionStoppedAt": state.execution_stopped_at_ns,
        "pullStartedAt": state.pull_started_at_ns,
        "pullStoppedAt": state.pull_stopped_at_ns,
        "startedAt": state.started_at_ns,
        "stoppingAt": state.stopping_at_ns,
        "stoppedAt": state.stopped_at_ns,
        "stopCode": state.stop_code,
        "stoppedReason": state.stopped_reason,
        "tags": [] if not tags or state.desired is EcsStatus.STOPPED else list(run.tags),
        "version": state.version,
    }


def _container(run: Run, it: ContainerState) -> Json:
    definition = run.requests[it.name].definition
    live = run.live.get(it.name)
    inspected = live.inspected if live else None
    health = "UNKNOWN"
    if it.spec.has_health_check and it.healthy is not None:
        health = "HEALTHY" if it.healthy else "UNHEALTHY"
    memory, reservation = definition.get("memory"), definition.get("memoryReservation")
    return {
        "containerArn": run.container_ids[it.name],
        "taskArn": run.arn,
        "name": it.name,
        "image": definition["image"],
        "imageDigest": inspected.image_digest if inspected else None,
        "runtimeId": live.runtime_id if live else None,
        "lastStatus": SHOWN[it.phase],
        "exitCode": it.exit_code,
        "reason": it.reason,
        "networkBindings": [_binding(binding) for binding in inspected.bindings] if inspected else [],
        "networkInterfaces": [],
        "healthStatus": health,
        "cpu": str(definition.get("cpu", 0)),
        "memory": None if memory is None else str(memory),
        "memoryReservation": None if reservation is None else str(reservation),
    }


def _binding(it: Binding) -> Json:
    return {
        "bindIP": it.host_ip,
        "containerPort": it.container_port,
        "hostPort": it.host_port,
        "protocol": it.protocol,
    }


def task_definition(endpoint: Endpoint, it: DefinitionRevision) -> Json:
    """A revision, with the empty lists that ECS shows."""
    containers = [
        {"cpu": 0, "portMappings": [], "essential": True, "environment": [], "mountPoints": [], "volumesFrom": [], **c}
        for c in it.document["containerDefinitions"]
    ]
    return {
        "volumes": [],
        "placementConstraints": [],
        "requiresAttributes": [],
        **it.document,
        "containerDefinitions": containers,
        "taskDefinitionArn": endpoint.arns.task_definition(it.family, it.revision),
        "family": it.family,
        "revision": it.revision,
        "status": it.status,
        "compatibilities": compatibilities(it.document),
        "registeredAt": it.registered_at_ns,
        "deregisteredAt": it.deregistered_at_ns,
        "deleteRequestedAt": it.delete_requested_at_ns,
        "registeredBy": f"arn:aws:iam::{endpoint.settings.account}:root",
    }


def cluster(endpoint: Endpoint, it: Cluster, include: list[str]) -> Json:
    """A cluster with its counts."""
    runs = [run for run in endpoint.agent.runs.values() if run.cluster == it.name]
    shown = [run.state.last for run in runs if run.state.desired is EcsStatus.RUNNING]
    return {
        "clusterArn": endpoint.arns.cluster(it.name),
        "clusterName": it.name,
        "status": it.status,
        "registeredContainerInstancesCount": 0 if it.status == INACTIVE else 1,
        "runningTasksCount": shown.count(EcsStatus.RUNNING),
        "pendingTasksCount": shown.count(EcsStatus.PENDING),
        "activeServicesCount": sum(
            1 for service in endpoint.services.values() if service.cluster == it.name and service.status == ACTIVE
        ),
        "statistics": [],
        "tags": list(it.tags) if "TAGS" in include else [],
        "settings": it.settings if "SETTINGS" in include else [],
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    }


def service(endpoint: Endpoint, it: Service, *, tags: bool = False) -> Json:
    """A service with its deployments."""
    deployments = [_deployment(endpoint, it, deployment) for deployment in it.deployments]
    return {
        "loadBalancers": [],
        "serviceRegistries": [],
        "placementConstraints": [],
        "placementStrategy": [],
        "schedulingStrategy": "REPLICA",
        "deploymentController": {"type": "ECS"},
        **it.request,
        "serviceArn": endpoint.arns.service(it.cluster, it.name),
        "serviceName": it.name,
        "clusterArn": endpoint.arns.cluster(it.cluster),
        "status": it.status,
        "desiredCount": it.desired_count,
        "runningCount": sum(one["runningCount"] for one in deployments),
        "pendingCount": sum(one["pendingCount"] for one in deployments),
        "taskDefinition": deployments[0]["taskDefinition"],
        "deployments": deployments if it.status == ACTIVE else [],
        "events": it.events,
        "createdAt": it.created_at_ns,
        "tags": list(it.tags) if tags else [],
        "enableECSManagedTags": bool(it.request.get("enableECSManagedTags")),
        "enableExecuteCommand": False,
    }


def _deployment(endpoint: Endpoint, it: Service, deployment: Deployment) -> Json:
    runs = [run for run in endpoint.runs_of(it.cluster) if run.details.get("startedBy") == deployment.id]
    alive = [run.state.last for run in runs if run.state.desired is EcsStatus.RUNNING]
    primary = deployment is it.primary
    running = alive.count(EcsStatus.RUNNING)
    done = primary and running == it.desired_count and len(it.deployments) == 1
    return {
        "id": deployment.id,
        "status": "PRIMARY" if primary else "ACTIVE",
        "taskDefinition": endpoint.arns.task_definition(deployment.definition.family, deployment.definition.revision),
        "desiredCount": it.desired_count if primary else 0,
        "runningCount": running,
        "pendingCount": alive.count(EcsStatus.PENDING),
        "failedTasks": deployment.failed_tasks,
        "createdAt": deployment.created_at_ns,
        "updatedAt": deployment.updated_at_ns,
        **{key: it.request[key] for key in ("launchType", "capacityProviderStrategy") if it.request.get(key)},
        "rolloutState": "COMPLETED" if done else "IN_PROGRESS",
        "rolloutStateReason": f"ECS deployment {deployment.id} {'completed' if done else 'in progress'}.",
    }
