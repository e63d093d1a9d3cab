"""What a task definition takes of the engine's machine: folders of the host, and all rights. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def host_access(containers: list[dict[str, Any]], volumes: dict[str, str]) -> tuple[str, ...]:
    """Sentences for people, one for each mount and each privileged container; `volumes`: host path by volume name."""
    return tuple(_sentences(containers, volumes))


def host_paths(document: dict[str, Any]) -> dict[str, str]:
    """Host path by name of each volume of a task definition that is a folder of the host."""
    found = {}
    for volume in document.get("volumes") or ():
        path = (volume.get("host") or {}).get("sourcePath")
        if path:
            found[str(volume.get("name"))] = str(path)
    return found


def _sentences(containers: list[dict[str, Any]], volumes: dict[str, str]) -> Iterator[str]:
    for container in containers:
        name = container.get("name")
        for mount in container.get("mountPoints") or ():
            path = volumes.get(str(mount.get("sourceVolume")))
            if path is not None:
                how = "may read" if mount.get("readOnly") else "may read and change"
                yield f"container {name} {how} {path} of the engine's machine, as {mount.get('containerPath')}"
        if container.get("privileged"):
            yield f"container {name} is privileged: it has every right on the engine's machine"
