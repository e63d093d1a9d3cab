"""What a pod says of CPU and memory for its containers together (`spec.resources`, Kubernetes 1.34). Pure.

A container without a limit of its own is given the pod's (kubelet, kuberuntime_container_linux.go, `getCPULimit`,
`getMemoryLimit`), which is done here, too. On a node the cgroup around them holds all of them to it as well. There is
none here, and none is missed where they cannot exceed it together, as in a pod of one container.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from stop_harness.model import Role
from stop_harness.scenario.container_keys import SLOWER, STARTS
from stop_harness.scenario.keys import Path
from stop_harness.scenario.kubernetes import quantities, shapes
from stop_harness.scenario.kubernetes.reading import Reading

AT: Path = ("resources",)
NAME = "spec.resources"
APPLIED = ("cpu", "memory")
"""Of these a container is given the pod's limit."""

Numbered = tuple[shapes.Container, Path, Role]


def quantity(
    given: Mapping[str, shapes.Quantity],
    name: str,
    read: Callable[[shapes.Quantity], int],
    path: Path,
    reading: Reading,
) -> int | None:
    """An amount, by `read`; None where there is none, and where it is a mistake, which is said."""
    if name not in given:
        return None
    try:
        value = read(given[name])
    except ValueError as error:
        reading.wrong((*path, name), str(error))
        return None
    return value or None


def limit(
    name: str, read: Callable[[shapes.Quantity], int], given: shapes.Container, path: Path, reading: Reading
) -> int | None:
    """A container's own limit, else its pod's."""
    own = quantity(given.resources.limits, name, read, (*path, "resources", "limits"), reading)
    return own or quantity(reading.shared.limits, name, read, (*AT, "limits"), reading)


def report(pod: shapes.Resources, numbered: Sequence[Numbered], reading: Reading) -> None:
    """Name what is not applied, and refuse what the API server does."""
    stopped = [(item, path) for item, path, role in numbered if role is not Role.INIT]
    for name in sorted({*pod.limits, *pod.requests}.difference(APPLIED)):
        text = "what its containers share of it, which they may need to start"
        reading.not_applied(f"{NAME} ({name})", text, STARTS)
    for section, given in {"limits": pod.limits, "requests": pod.requests}.items():
        for name in given:
            quantity(given, name, quantities.milli, (*AT, section), reading)
    for name in APPLIED:
        whole = _exact(pod.limits, name)
        if whole is None:
            continue
        for item, path, role in numbered:
            own = _exact(item.resources.limits, name)
            if own is not None and own > whole and role is Role.MAIN:
                text = f"{item.resources.limits[name]} is more than the pod's limit, {pod.limits[name]}"
                reading.wrong((*path, "resources", "limits", name), text)
        together = sum(_exact(item.resources.limits, name) or whole for item, _ in stopped)
        if together > whole:
            what = f"{NAME}.limits.{name} ({pod.limits[name]})"
            text = "each container is held to it, and together they may take more"
            reading.not_applied(what, text, SLOWER)
    for name in APPLIED:
        asked = sum(_requested(item.resources, name) for item, _ in stopped)
        whole = _exact(pod.requests, name)
        if whole is not None and asked > whole:
            text = f"{pod.requests[name]} is less than what the containers request together"
            reading.wrong((*AT, "requests", name), text)


def _requested(given: shapes.Resources, name: str) -> Fraction:
    """The API server takes the limit for a request that is missing."""
    return _exact(given.requests if name in given.requests else given.limits, name) or Fraction(0)


def _exact(given: Mapping[str, shapes.Quantity], name: str) -> Fraction | None:
    """None where there is none, and where it is a mistake, which is said where it is read."""
    try:
        return quantities.parse(given[name]) or None if name in given else None
    except ValueError:
        return None
