"""The pause container of a group: what joins it shares its namespaces, and what is orphaned there is reaped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from stop_harness.conductor.request import new_run_id
from stop_harness.engines import pause_program
from stop_harness.engines.docker import reaper, shared_namespaces
from stop_harness.engines.docker.calls import Calls
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.shared_namespaces import PauseContainer, Shared

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
PATIENCE_S = 60


def test_the_program_is_an_elf_file_for_two_architectures() -> None:
    """And for no other; it is smaller than a page."""
    for machine, number in (("x86_64", 62), ("aarch64", 183)):
        program = pause_program.build(machine)
        assert program is not None
        assert program[:5] == b"\x7fELF\x02"
        assert int.from_bytes(program[18:20], "little") == number
        assert len(program) < 512
    assert pause_program.build("riscv64") is None


@dataclass
class Group:
    """A pause container and those that joined it, on a real engine."""

    api: Any
    host: DockerHost
    run_id: str = field(default_factory=new_run_id)

    @property
    def labels(self) -> dict[str, str]:
        """Of everything that the group makes."""
        return {reaper.RUN_LABEL: self.run_id, reaper.OWNER_LABEL: reaper.owner()}

    def pause(self, shared: Shared, **more: Any) -> PauseContainer:
        """Started."""
        pause = shared_namespaces.create(self.api, Calls(self.host.url, PATIENCE_S), self.labels, shared, **more)
        pause.start()
        return pause

    def join(self, pause: PauseContainer, *command: str) -> str:
        """The id of a container that runs and shares the namespaces."""
        host_config = self.api.create_host_config(**pause.joined())
        created = self.api.create_container(BASE_IMAGE, list(command), labels=self.labels, host_config=host_config)
        self.api.start(created["Id"])
        return str(created["Id"])

    def log(self, container_id: str) -> str:
        """All that it wrote."""
        return bytes(self.api.logs(container_id)).decode()


@pytest.fixture
def group(docker_engine_host: DockerHost) -> Iterator[Group]:
    """Nothing of it is left."""
    client = docker_engine_host.connect(timeout_s=PATIENCE_S)
    made = Group(client.api, docker_engine_host)
    yield made
    _, problems = reaper.remove_run(docker_engine_host.address, made.run_id)
    client.close()
    assert not problems


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for what must become true."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.docker
def test_containers_of_one_network_namespace_reach_each_other_on_localhost(group: Group) -> None:
    """One listens, the other connects to 127.0.0.1; each keeps a PID namespace of its own."""
    pause = group.pause(Shared())
    serve = "import socket; s = socket.create_server(('127.0.0.1', 9000)); s.accept()[0].sendall(b'hello')"
    group.join(pause, "python3", "-c", serve)
    ask = (
        "import os, socket, time\n"
        "while True:\n"
        "  try: print(os.getpid(), socket.create_connection(('127.0.0.1', 9000)).recv(9)); break\n"
        "  except ConnectionRefusedError: time.sleep(0.1)\n"
    )
    asking = group.join(pause, "python3", "-c", ask)
    group.api.wait(asking, timeout=PATIENCE_S)
    assert group.log(asking) == "1 b'hello'\n"


@pytest.mark.docker
def test_ports_are_published_on_the_pause_container(group: Group) -> None:
    """And its address is that of every container of the group."""
    pause = group.pause(Shared(), ports={"9000/tcp": ("127.0.0.1", None)}, settings={"hostname": "group"})
    assert pause.address()
    (binding,) = pause.inspect()["NetworkSettings"]["Ports"]["9000/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    naming = group.join(pause, "hostname")
    group.api.wait(naming, timeout=PATIENCE_S)
    assert group.log(naming) == "group\n"


@pytest.mark.docker
def test_in_a_shared_pid_namespace_no_container_is_pid_1(group: Group) -> None:
    """So the kernel ends `sleep`, which has no handler, by SIGTERM: exit code 143, long before the stop timeout."""
    pause = group.pause(Shared(pid=True))
    sleeping = group.join(pause, "sleep", "300")
    group.api.stop(sleeping, timeout=PATIENCE_S)
    assert group.api.inspect_container(sleeping)["State"]["ExitCode"] == 143
    assert pause.inspect()["State"]["Running"]


@pytest.mark.docker
def test_orphans_of_a_shared_pid_namespace_are_reaped(group: Group) -> None:
    """The child of a shell that has left goes to the pause program; once it ends, it is nowhere, not even a zombie."""
    pause = group.pause(Shared(pid=True))
    orphan = "sh -c 'sleep 0.2 & echo $!' > /orphan; while [ -e /proc/$(cat /orphan) ]; do sleep 0.05; done; echo gone"
    running = group.join(pause, "sh", "-c", orphan)
    group.api.wait(running, timeout=PATIENCE_S)
    assert group.log(running) == "gone\n"


@pytest.mark.docker
def test_the_pause_container_leaves_at_once_when_it_is_stopped(group: Group) -> None:
    """With exit code 0, by SIGTERM."""
    pause = group.pause(Shared(pid=True))
    group.api.stop(pause.id, timeout=PATIENCE_S)
    assert pause.inspect()["State"]["ExitCode"] == 0


@pytest.mark.docker
def test_who_is_left_in_the_pid_namespace_ends_with_the_pause_container(group: Group) -> None:
    """The kernel sees to it. Removing it a second time is no error."""
    pause = group.pause(Shared(pid=True, ipc=True))
    staying = group.join(pause, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    pause.remove()
    until(lambda: not group.api.inspect_container(staying)["State"]["Running"], "the container still runs")
    assert group.api.inspect_container(staying)["State"]["ExitCode"] == 137
    pause.remove()
