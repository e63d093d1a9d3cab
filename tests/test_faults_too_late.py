"""Faults whose container ends while they are made: they were not there, whatever the engine answers.

Docker takes a container out of a network that has ended meanwhile, and says of a command that its end overtook that it
could not be invoked. On a slow machine a stop is over before a call is answered.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import docker
import pytest

from stop_harness.engines.docker.calls import Calls
from stop_harness.engines.docker.container import ContainerLife
from stop_harness.engines.docker.events import EventStream
from stop_harness.engines.docker.faults import halting, network, surroundings
from stop_harness.engines.docker.faults.scene import FaultScene
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.host_processes import PidOne
from stop_harness.engines.docker.reaper import OWNER_LABEL
from stop_harness.engines.interface import Applied, FaultNotApplied
from stop_harness.model import Fault, FaultAction, FaultKind, FaultMoment, When

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")


class Ended:
    """A container that has ended by itself, in the way of a subject: `run` answers what Docker answers of a command
    that the end of a container overtook."""

    def __init__(self, container_id: str) -> None:
        self._id = container_id
        self.stop_signal: int | None = None
        self.pid_one: PidOne | None = None

    @property
    def container_id(self) -> str:
        """As the engine calls it."""
        return self._id

    def run(self, command: tuple[str, ...], timeout_ns: int, **settings: Any) -> int:
        """126, as Docker 26.1 in a machine that was a hundred times slower."""
        return 126


@pytest.fixture
def ended(docker_engine_host: DockerHost) -> Iterator[FaultScene]:
    """A container that is in a network and has ended."""
    client: docker.DockerClient = docker_engine_host.connect()
    made = client.containers.create(BASE_IMAGE, ["true"], labels={OWNER_LABEL: "nowhere/1/1"}, network="bridge")
    own = str(made.id)
    events = EventStream(docker_engine_host, container=[own])
    try:
        made.start()
        made.wait()
        calls = Calls(docker_engine_host.url, 30.0)
        life = cast("ContainerLife", None)  # of a removal alone
        yield FaultScene(
            own, docker_engine_host, client.api, calls, events, None, Ended(own), life, None, stop_timeout_s=10
        )
    finally:
        events.close()
        made.remove(force=True)
        client.close()


def test_a_container_that_has_ended_is_not_cut_off_its_networks(ended: FaultScene) -> None:
    """Although the engine does so, and it is in none then."""
    if ended.host.podman:
        pytest.skip("there a container that has ended is in no network any more")
    with pytest.raises(FaultNotApplied, match="it was gone before it was out of its networks"):
        network.cut(ended, Fault(FaultKind.NETWORK, FaultAction.CUT))


def test_a_command_that_the_end_of_its_container_overtook_is_no_image_without_a_shell(ended: FaultScene) -> None:
    """The reason is the end, not the image."""
    with pytest.raises(FaultNotApplied, match="it was gone before a command had run in it"):
        surroundings.dns_dead(ended, Fault(FaultKind.DNS, FaultAction.DEAD))


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (halting.signal, Fault(FaultKind.SIGNAL, FaultAction.SEND, signal="USR1")),
        (halting.pause, Fault(FaultKind.PAUSE, FaultAction.PAUSE, moment=FaultMoment(When.AFTER))),
    ],
    ids=["signal", "pause"],
)
def test_what_the_engine_refuses_of_a_container_that_has_ended_came_too_late(
    ended: FaultScene, make: Callable[[FaultScene, Fault], Applied], fault: Fault
) -> None:
    """That is the reason, in place of the engine's own words."""
    with pytest.raises(FaultNotApplied, match=r"^it was gone already$"):
        make(ended, fault)
