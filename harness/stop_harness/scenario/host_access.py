"""What the settings of a container take of the engine's machine, in sentences for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from stop_harness.model import MountKind, Subject


def of_subject(subject: Subject) -> Iterator[str]:
    """One sentence for each; they are said before the engine is asked for anything."""
    it = subject.settings
    if it.privileged:
        yield "its container is privileged: it has every right on the engine's machine"
    for what, namespace in (("processes", it.pid), ("network", it.network), ("shared memory", it.ipc)):
        if namespace == "host":
            yield f"its container sees the {what} of the engine's machine"
    if it.cap_add and not it.privileged:
        yield f"its container has capabilities beyond the engine's default: {', '.join(it.cap_add)}"
    for mount in it.mounts:
        if mount.kind is MountKind.BIND:
            how = "read" if mount.read_only else "read and change"
            yield f"its container may {how} {mount.source} of this machine, as {mount.target}"
