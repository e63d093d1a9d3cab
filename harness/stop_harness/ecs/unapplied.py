"""What a task definition asks for that containers on this machine are stopped without, and what that may change. Pure.

Amazon ECS does all of it; the local endpoint does not. Members that are neither here nor applied change nothing about a
stop: names, roles of the agent, where tasks are placed. Amazon ECS API, RegisterTaskDefinition.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stop_harness.model import NotApplied, Outcome

Json = dict[str, Any]

_STARTS = (Outcome.NOT_RUNNING, Outcome.CRASHED)
"""Doubtful where a program may miss something that it needs to start."""
_SLOWER = (Outcome.GRACEFUL, Outcome.LOSSY)
"""Doubtful where a limit may make a stop slower than it was."""
_ANY = tuple(outcome for outcome in Outcome if outcome is not Outcome.INCONCLUSIVE)

_OF_CONTAINERS: dict[str, tuple[str, tuple[Outcome, ...]]] = {
    "secrets": ("variables that it may need to start and to log off", _ANY),
    "environmentFiles": ("every setting of the program, such as how long it drains", _ANY),
    "disableNetworking": ("whom it reaches when it stops", _ANY),
    "firelensConfiguration": ("the logs that it would route, and drain when it stops", _SLOWER),
    "resourceRequirements": ("devices that it may need to start", _STARTS),
    "credentialSpecs": ("credentials that it may need to start", _STARTS),
    "logConfiguration": ("how long a write to its output may take", ()),
    "repositoryCredentials": ("who may pull the image; the engine's own logins are used", ()),
}
"""Member of a container definition → what it may change, and which outcomes hang on it."""

_OF_LINUX: dict[str, tuple[str, tuple[Outcome, ...]]] = {
    "devices": ("devices that it may need to start", _STARTS),
    "maxSwap": ("whether it is killed or becomes slow at its memory limit", (Outcome.OOM_KILLED,)),
    "swappiness": ("how slow it becomes at its memory limit", ()),
}

_OF_TASKS: dict[str, tuple[str, tuple[Outcome, ...]]] = {
    "taskRoleArn": ("it has no AWS credentials: what it tells AWS when it starts and stops fails", _STARTS),
    "proxyConfiguration": ("connections do not go through the proxy", _SLOWER),
    "ephemeralStorage": ("how much it can write", ()),
    "inferenceAccelerators": ("devices that it may need to start", _STARTS),
}

_DOCKER = "dockerVolumeConfiguration"

_KINDS_OF_VOLUMES = (
    "efsVolumeConfiguration",
    "fsxWindowsFileServerVolumeConfiguration",
    _DOCKER,
    "s3filesVolumeConfiguration",
    "configuredAtLaunch",
)


def of_task(document: Json) -> tuple[NotApplied, ...]:
    """Everything of one task definition, the task's own members first."""
    return tuple(_found(document))


def _found(document: Json) -> Iterator[NotApplied]:
    containers: list[Json] = document.get("containerDefinitions") or []
    if document.get("networkMode") == "host":
        text = "its containers share a network of their own here, with their ports at 127.0.0.1"
        yield NotApplied("networkMode (host)", text, _STARTS)
    yield from _named(document, "", _OF_TASKS)
    yield from _shared_limits(document, len(containers))
    for volume in document.get("volumes") or ():
        kind = next((kind for kind in _KINDS_OF_VOLUMES if volume.get(kind)), None)
        if kind == _DOCKER and _is_local(volume[kind]):
            continue
        if kind is not None:
            what = f"volumes ({volume.get('name')}): {kind}"
            yield NotApplied(what, "an empty volume of this machine stands for it", _ANY)
    for container in containers:
        prefix = f"containerDefinitions ({container.get('name')})."
        yield from _named(container, prefix, _OF_CONTAINERS)
        yield from _named(container.get("linuxParameters") or {}, prefix + "linuxParameters.", _OF_LINUX)


def _is_local(docker: Json) -> bool:
    """A volume of the engine's own driver that lives as long as its task: that is what stands for it here."""
    return docker.get("driver") in {None, "local"} and not docker.get("driverOpts") and docker.get("scope") != "shared"


def _named(part: Json, prefix: str, table: dict[str, tuple[str, tuple[Outcome, ...]]]) -> Iterator[NotApplied]:
    for key, (changes, doubts) in table.items():
        if part.get(key):
            yield NotApplied(prefix + key, changes, doubts)


def _shared_limits(document: Json, containers: int) -> Iterator[NotApplied]:
    if containers > 1 and document.get("cpu"):
        text = "its containers share it there; here each may use all of it"
        yield NotApplied(f"cpu ({document['cpu']} for the whole task)", text, _SLOWER, limit_of_group=True)
    if containers > 1 and document.get("memory"):
        text = "its containers share it there; here each may use all of it"
        what = f"memory ({document['memory']} for the whole task)"
        yield NotApplied(what, text, (), limit_of_group=True, of_memory=True)
