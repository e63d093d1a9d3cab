"""What of a task is asked of the container engine: its containers, and what they share. Pure but for random names."""

from __future__ import annotations

import re
import secrets

from stop_harness.ecs import task_size
from stop_harness.ecs_endpoint.agent import Run
from stop_harness.ecs_endpoint.containers import ContainerRequest, GroupRequest
from stop_harness.ecs_endpoint.state import DefinitionRevision, Json

LABEL = "com.amazonaws.ecs."

PAUSE = "internalecspause"
"""The agent's name for its pause container, `~internal~ecs~pause`, without what no name may have."""

SHARED_NETWORKS = frozenset({"awsvpc", "host"})
"""Network modes in which the containers of a task have one network namespace. With `host` it is the instance's; here it
is one of their own, so that ports of this machine are free for others."""


def of_container(run: Run, definition: DefinitionRevision, container: Json) -> ContainerRequest:
    """With the agent's names and labels (docker_task_engine.go:72, 2076)."""
    name, document = container["name"], definition.document
    volumes = [
        (volume["name"], volume.get("host", {}).get("sourcePath") or f"{run.id}-{index}")
        for index, volume in enumerate(document.get("volumes", ()))
        if volume.get("name")
    ]
    return ContainerRequest(
        name=_name(definition, name),
        definition=container,
        labels=_labels(run, definition, name),
        publish_ports=document.get("networkMode", "bridge") in {"bridge", "host"},
        volumes=tuple(volumes),
        pid_mode="host" if document.get("pidMode") == "host" else None,
        ipc_mode=document.get("ipcMode") if document.get("ipcMode") in {"host", "none"} else None,
        network_mode="none" if document.get("networkMode") == "none" else None,
        nano_cpus=task_size.nano_cpus(run.details["cpu"]) if _limits(run, definition, "cpu") else None,
        memory_mib=task_size.mebibytes(run.details["memory"]) if _limits(run, definition, "memory") else None,
    )


def of_group(run: Run, definition: DefinitionRevision, containers: list[Json]) -> GroupRequest | None:
    """None where its containers share nothing: each has namespaces of its own, and its limits are those of the task."""
    document, several = definition.document, len(containers) > 1
    mode = document.get("networkMode", "bridge")
    cpu, memory = (several and _limits(run, definition, key) for key in ("cpu", "memory"))
    request = GroupRequest(
        name=_name(definition, PAUSE),
        definitions=tuple(containers),
        labels=_labels(run, definition, PAUSE),
        network=several and mode in SHARED_NETWORKS,
        pid=document.get("pidMode") == "task",
        ipc=several and document.get("ipcMode") == "task",
        publish_ports=mode == "host",
        nano_cpus=task_size.nano_cpus(run.details["cpu"]) if cpu else None,
        memory_mib=task_size.mebibytes(run.details["memory"]) if memory else None,
    )
    shared = (request.network, request.pid, request.ipc, request.nano_cpus, request.memory_mib)
    return request if any(shared) else None


def _limits(run: Run, definition: DefinitionRevision, key: str) -> bool:
    """Whether the task as a whole has a limit: by its definition, or by an override."""
    return any(key in given for given in (definition.document, run.details["overrides"]))


def _name(definition: DefinitionRevision, container: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9-]", "", container)
    return f"ecs-{definition.family}-{definition.revision}-{plain}-{secrets.token_hex(10)}"


def _labels(run: Run, definition: DefinitionRevision, container: str) -> dict[str, str]:
    labels = {
        "task-arn": run.arn,
        "container-name": container,
        "task-definition-family": definition.family,
        "task-definition-version": str(definition.revision),
        "cluster": run.cluster,
    }
    return {LABEL + key: value for key, value in labels.items()}
