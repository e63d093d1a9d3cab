"""Which operation is which function; what is not here is not emulated, and says so."""

from __future__ import annotations

from collections.abc import Callable

from stop_harness.ecs_endpoint import wire
from stop_harness.ecs_endpoint.errors import EcsError
from stop_harness.ecs_endpoint.operations import (
    attributes,
    clusters,
    container_instances,
    services,
    tags,
    task_definitions,
    task_protection,
    tasks,
)
from stop_harness.ecs_endpoint.state import Endpoint, Json

OPERATIONS: dict[str, Callable[[Endpoint, Json], Json]] = {
    "RegisterTaskDefinition": task_definitions.register_task_definition,
    "DescribeTaskDefinition": task_definitions.describe_task_definition,
    "ListTaskDefinitions": task_definitions.list_task_definitions,
    "ListTaskDefinitionFamilies": task_definitions.list_task_definition_families,
    "DeregisterTaskDefinition": task_definitions.deregister_task_definition,
    "DeleteTaskDefinitions": task_definitions.delete_task_definitions,
    "CreateCluster": clusters.create_cluster,
    "DescribeClusters": clusters.describe_clusters,
    "ListClusters": clusters.list_clusters,
    "DeleteCluster": clusters.delete_cluster,
    "RegisterContainerInstance": container_instances.register_container_instance,
    "DeregisterContainerInstance": container_instances.deregister_container_instance,
    "DescribeContainerInstances": container_instances.describe_container_instances,
    "ListContainerInstances": container_instances.list_container_instances,
    "UpdateContainerInstancesState": container_instances.update_container_instances_state,
    "PutAttributes": attributes.put_attributes,
    "DeleteAttributes": attributes.delete_attributes,
    "ListAttributes": attributes.list_attributes,
    "RunTask": tasks.run_task,
    "StartTask": tasks.start_task,
    "StopTask": tasks.stop_task,
    "DescribeTasks": tasks.describe_tasks,
    "ListTasks": tasks.list_tasks,
    "UpdateTaskProtection": task_protection.update_task_protection,
    "GetTaskProtection": task_protection.get_task_protection,
    "TagResource": tags.tag_resource,
    "UntagResource": tags.untag_resource,
    "ListTagsForResource": tags.list_tags_for_resource,
    "CreateService": services.create_service,
    "UpdateService": services.update_service,
    "DescribeServices": services.describe_services,
    "ListServices": services.list_services,
    "DeleteService": services.delete_service,
}


def call(endpoint: Endpoint, target: str | None, body: bytes) -> bytes:
    """One request to its answer's body. Raises EcsError."""
    operation = wire.operation_of(target)
    handler = OPERATIONS.get(operation.name)
    if handler is None:
        raise EcsError(
            "UnsupportedFeatureException",
            f"{operation.name} is not emulated by stop-harness, which knows {', '.join(sorted(OPERATIONS))}.",
        )
    request = wire.parse(operation, body)
    with endpoint.agent.lock:
        return wire.render(operation, handler(endpoint, request))
