"""State → the API's shapes. Times stay nanoseconds; `wire` makes seconds of them."""

from __future__ import annotations

from typing import Any

from stop_harness.ecs import task_size
from stop_harness.ecs_endpoint import network
from stop_harness.ecs_endpoint.agent import Run
from stop_harness.ecs_endpoint.containers import Binding, Inspected
from stop_harness.ecs_endpoint.records import SHOWN, ContainerState, EcsStatus, TaskState
from stop_harness.ecs_endpoint.state import (
    ACTIVE,
    INACTIVE,
    Cluster,
    ContainerInstance,
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
        "attachments": _attachments(run, state),
        "containers": [_container(run, item) for item in state.containers],
        "connectivity": "DISCONNECTED" if state.orphaned else "CONNECTED",
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
        "networkInterfaces": _interfaces(run, inspected),
        "healthStatus": health,
        "cpu": str(definition.get("cpu", 0)),
        "memory": None if memory is None else str(memory),
        "memoryReservation": None if reservation is None else str(reservation),
    }


def _attachments(run: Run, state: TaskState) -> list[Json]:
    seen = [live.inspected for live in run.live.values() if live.inspected is not None]
    address = next((it.address for it in seen if it.address), None)
    return network.attachment(run.id, run.network, address, stopped=state.last is EcsStatus.STOPPED)


def _interfaces(run: Run, inspected: Inspected | None) -> list[Json]:
    """With awsvpc: the address of all containers of the task, here on the engine's network."""
    if run.network is None or inspected is None or inspected.address is None:
        return []
    return [{"attachmentId": network.attachment_id(run.id), "privateIpv4Address": inspected.address}]


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
        "placementConstraints": [],
        "requiresAttributes": [],
        **it.document,
        "volumes": [_volume(volume) for volume in it.document.get("volumes", ())],
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


def _volume(it: Json) -> Json:
    """A file system that is mounted from its root says so."""
    efs = it.get("efsVolumeConfiguration")
    return it if efs is None else {**it, "efsVolumeConfiguration": {"rootDirectory": "/", **efs}}


def cluster(endpoint: Endpoint, it: Cluster, include: list[str]) -> Json:
    """A cluster with its counts."""
    runs = [run for run in endpoint.agent.runs.values() if run.cluster == it.name]
    shown = [run.state.last for run in runs if run.state.desired is EcsStatus.RUNNING]
    return {
        "clusterArn": endpoint.arns.cluster(it.name),
        "clusterName": it.name,
        "status": it.status,
        "registeredContainerInstancesCount": 0 if it.status == INACTIVE else len(living_instances(it)),
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
        **it.given,
    }


AGENT_VERSION = {"agentVersion": "1.105.1", "agentHash": "8dfceca6"}
"""Of the ECS agent whose stop path this endpoint follows."""

PORTS_OF_AN_INSTANCE = ("22", "2375", "2376", "51678", "51679")
"""SSH, Docker and the agent: reserved on every instance (API reference, ContainerInstance.remainingResources)."""


def living_instances(it: Cluster) -> list[ContainerInstance]:
    """Those that ListContainerInstances lists by default."""
    return [instance for instance in it.instances.values() if instance.status != INACTIVE]


def container_instance(endpoint: Endpoint, cluster: Cluster, it: ContainerInstance, *, tags: bool = False) -> Json:
    """An instance with what its tasks leave of it."""
    runs = [run for run in endpoint.agent.runs.values() if run.instance_id == it.id]
    runs = [run for run in runs if run.state.last is not EcsStatus.STOPPED]
    wanted = [run.state.last for run in runs if run.state.desired is EcsStatus.RUNNING]
    cpu = sum((task_size.nano_cpus(run.details["cpu"]) or 0) * task_size.CPU_UNITS // 10**9 for run in runs)
    memory = sum(task_size.mebibytes(run.details["memory"]) or 0 for run in runs)
    bindings = [
        port for run in runs for live in run.live.values() if live.inspected for port in live.inspected.bindings
    ]
    ports = {kind: [str(port.host_port) for port in bindings if port.protocol == kind] for kind in ("tcp", "udp")}
    machine = endpoint.machine
    docker = {"dockerVersion": f"DockerVersion: {endpoint.agent.containers.engine().version}"}
    registered = it.resources or _resources(machine.cpus * task_size.CPU_UNITS, machine.memory_mib, [], [])
    return {
        "containerInstanceArn": endpoint.arns.container_instance(cluster.name, it.id),
        "ec2InstanceId": it.ec2_instance_id,
        "version": it.version,
        "versionInfo": it.versions or {**AGENT_VERSION, **docker},
        "registeredResources": registered,
        "remainingResources": [_left(item, cpu, memory, ports) for item in registered],
        "status": it.status,
        "statusReason": it.status_reason,
        "agentConnected": it.status != INACTIVE,
        "runningTasksCount": wanted.count(EcsStatus.RUNNING),
        "pendingTasksCount": wanted.count(EcsStatus.PENDING),
        "attributes": attributes(endpoint, it),
        "registeredAt": it.registered_at_ns,
        "attachments": [],
        "tags": list(it.tags) if tags else [],
    }


def attributes(endpoint: Endpoint, it: ContainerInstance) -> list[Json]:
    """Its own, and those that ECS gives every instance."""
    architecture = endpoint.machine.architecture
    found = {item["name"]: item for item in it.attributes}
    for name, value in (
        ("ecs.availability-zone", f"{endpoint.settings.region}a"),
        ("ecs.cpu-architecture", {"aarch64": "arm64"}.get(architecture, architecture)),
        ("ecs.os-type", "linux"),
    ):
        found.setdefault(name, {"name": name, "value": value})
    return list(found.values())


def _resources(cpu: int, memory: int, tcp: list[str], udp: list[str]) -> list[Json]:
    return [
        _resource("CPU", integerValue=cpu),
        _resource("MEMORY", integerValue=memory),
        _resource("PORTS", stringSetValue=[*PORTS_OF_AN_INSTANCE, *tcp]),
        _resource("PORTS_UDP", stringSetValue=udp),
    ]


def _resource(name: str, **value: Any) -> Json:
    kind = "STRINGSET" if "stringSetValue" in value else "INTEGER"
    return {"name": name, "type": kind, "doubleValue": 0.0, "longValue": 0, "integerValue": 0, **value}


def _left(registered: Json, cpu: int, memory: int, ports: dict[str, list[str]]) -> Json:
    """Less CPU and memory; of ports, those that are taken."""
    taken = {"CPU": cpu, "MEMORY": memory}
    more = {"PORTS": ports["tcp"], "PORTS_UDP": ports["udp"]}
    name = registered.get("name")
    if name in taken:
        return {**registered, "integerValue": registered.get("integerValue", 0) - taken[name]}
    if name in more:
        return {**registered, "stringSetValue": [*registered.get("stringSetValue", []), *more[name]]}
    return registered


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
