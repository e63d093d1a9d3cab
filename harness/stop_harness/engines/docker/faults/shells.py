"""Which images have no shell, and so no way for a fault that a command in the container makes. Before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from stop_harness.engines.docker.faults import refusals
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.members import own_scenario, tested
from stop_harness.model import Scenario

SHELL = "/bin/sh"
HTTP_NOT_FOUND = 404


def made_in(scenario: Scenario) -> Scenario:
    """The container that the faults of a scenario are made in, as if it were all there is."""
    group = scenario.subject.group
    if group is None or group.stopped is not None:
        return tested(scenario)
    return own_scenario(scenario, group.members[0])


def without(
    api: Any,
    scenarios: Iterable[Scenario],
    host: DockerHost,
    image_of: Callable[[Scenario], str],
    labels: dict[str, str],
) -> frozenset[str]:
    """Images, of those in which a fault needs a shell, that have none. Raises the SDK's errors. `labels`: of the
    containers in which that is looked at, which never run."""
    asked = {
        image_of(made_in(item)) for item in scenarios if any(refusals.needs_shell(one, host) for one in item.faults)
    }
    return frozenset(image for image in asked if not _has_shell(api, image, labels))


def _has_shell(api: Any, image: str, labels: dict[str, str]) -> bool:
    """By the engine's archive of a container, which answers without sending a file."""
    container = api.create_container(image, command=["-"], labels=labels)["Id"]
    try:
        answer = api.head(api._url("/containers/{0}/archive", container), params={"path": SHELL})
        return bool(answer.status_code != HTTP_NOT_FOUND)
    finally:
        api.remove_container(container, force=True, v=True)
