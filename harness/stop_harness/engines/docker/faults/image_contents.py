"""What of an image its faults need: a shell for a command in the container, a library for its clock. Before anything
runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.members import own_scenario, tested
from stop_harness.model import Fault, FaultAction, FaultKind, Scenario

SHELL = "/bin/sh"
HTTP_NOT_FOUND = 404

FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
)
"""Where Debian on two machines, Fedora, Alpine and its own Makefile put libfaketime for programs with threads."""

_FROM_INSIDE = {
    (FaultKind.DISK, FaultAction.FULL),
    (FaultKind.DNS, FaultAction.DEAD),
}


@dataclass(frozen=True)
class ImageContents:
    """One image. `faketime`: path of libfaketime in it; None: it has none. `preload`: what it preloads already."""

    shell: bool
    faketime: str | None
    preload: str


def made_in(scenario: Scenario) -> Scenario:
    """The container that the faults of a scenario are made in, as if it were all there is."""
    group = scenario.subject.group
    if group is None or group.stopped is not None:
        return tested(scenario)
    return own_scenario(scenario, group.members[0])


def needs_shell(fault: Fault, *, root_near: bool) -> bool:
    """Whether a command in the container makes it, or shows that it is there. `root_near`: we reach its files."""
    return fault.kind is FaultKind.CLOCK or ((fault.kind, fault.action) in _FROM_INSIDE and not root_near)


def look(
    api: Any,
    scenarios: Iterable[Scenario],
    host: DockerHost,
    image_of: Callable[[Scenario], str],
    labels: dict[str, str],
) -> dict[str, ImageContents]:
    """Of those images in which a fault needs something. Raises the SDK's errors. `labels`: of the containers in which
    that is looked at, which never run."""
    near = host.root_near
    asked = {
        image_of(made_in(item)) for item in scenarios if any(needs_shell(one, root_near=near) for one in item.faults)
    }
    return {image: _contents(api, image, labels) for image in asked}


def _contents(api: Any, image: str, labels: dict[str, str]) -> ImageContents:
    """By the engine's archive of a container, which answers without sending a file."""
    container = api.create_container(image, command=["-"], labels=labels)["Id"]

    def has(path: str) -> bool:
        answer = api.head(api._url("/containers/{0}/archive", container), params={"path": path})
        return bool(answer.status_code != HTTP_NOT_FOUND)

    try:
        variables = api.inspect_container(container)["Config"].get("Env") or ()
        preload = dict(item.partition("=")[::2] for item in variables).get("LD_PRELOAD", "")
        return ImageContents(has(SHELL), next(filter(has, FAKETIME), None), preload)
    finally:
        api.remove_container(container, force=True, v=True)
