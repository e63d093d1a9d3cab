"""The process table read from /proc is the one that the engine's `top` gives."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import docker
import pytest

from stop_harness.engines.docker import reading
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.host_processes import PidOne
from stop_harness.linux import proc
from stop_harness.model import ProcessInfo

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
TREE = ("sh", "-c", "trap '' USR1; (sleep 1000 & sleep 1000); true")
PATIENCE_S = 20.0

pytestmark = pytest.mark.docker


@pytest.fixture
def client(docker_engine_host: DockerHost) -> Iterator[docker.DockerClient]:
    """The SDK, on an engine of this machine."""
    if not docker_engine_host.local or docker_engine_host.podman:
        pytest.skip("/proc is read with Docker on this machine only")
    found = docker_engine_host.connect()
    yield found
    found.close()


@pytest.fixture
def container(client: docker.DockerClient) -> Iterator[Any]:
    """A shell with two programs, one below the other, and one program from outside."""
    made = client.containers.run(BASE_IMAGE, list(TREE), detach=True)
    try:
        client.api.exec_start(client.api.exec_create(made.id, ["sleep", "999"])["Id"], detach=True)
        made.reload()
        yield made
    finally:
        made.remove(force=True)


def settled(pid_one: PidOne, count: int) -> tuple[ProcessInfo, ...]:
    """The table once it has `count` processes, all asleep."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        table = pid_one.table() or ()
        if len(table) == count and all(row.waits_in and not row.command.startswith("runc") for row in table):
            return table
        assert time.monotonic() < deadline, table
        time.sleep(0.02)


def test_table_from_proc_is_that_of_top(
    client: docker.DockerClient, container: Any, docker_engine_host: DockerHost
) -> None:
    """The same processes with the same masks, states and commands, also one that `docker exec` started; PID 1 first."""
    pid_one = PidOne.of(container.attrs["State"]["Pid"], container.id)
    assert pid_one is not None
    if not proc.shows_waits(pid_one.pid):
        pytest.skip("where processes of others sleep is not told to this user; the next test is for him")
    ours = settled(pid_one, 4)
    theirs = reading.processes(client.api, container.id, docker_engine_host)
    assert theirs is not None
    assert ours[0].pid == pid_one.pid
    assert sorted(map(_steady, ours), key=lambda row: row.pid) == sorted(map(_steady, theirs), key=lambda row: row.pid)


def test_everybody_sees_who_is_there(
    client: docker.DockerClient, container: Any, docker_engine_host: DockerHost
) -> None:
    """Without a right to look at namespaces the same pids are found; a table without waits is none, `top` has them."""
    pid_one = PidOne.of(container.attrs["State"]["Pid"], container.id)
    assert pid_one is not None
    if not proc.shows_waits(pid_one.pid):
        assert pid_one.table() is None
    deadline = time.monotonic() + PATIENCE_S
    while True:
        theirs = reading.processes(client.api, container.id, docker_engine_host) or ()
        ours = proc.living([pid_one.pid, *proc.entered(pid_one.pid, proc.status_of(pid_one.pid))])
        if len(theirs) == 4 and not any(row.command.startswith("runc") for row in theirs):
            break
        assert time.monotonic() < deadline, theirs
        time.sleep(0.02)
    assert sorted(ours) == sorted(row.pid for row in theirs)
    for by_cgroup in (proc.roots(pid_one.pid, True, container.id), proc.roots(pid_one.pid, True)):
        assert sorted(proc.living(by_cgroup)) == sorted(ours)


def test_pid_one_that_left_is_not_looked_at(container: Any) -> None:
    """It does not live, has no table, and cannot be found any more."""
    pid_one = PidOne.of(container.attrs["State"]["Pid"], container.id)
    assert pid_one is not None
    assert pid_one.lives()
    container.kill("SIGKILL")
    container.wait(timeout=PATIENCE_S)
    assert not pid_one.lives()
    assert pid_one.table() is None
    assert PidOne.of(pid_one.pid, container.id) is None


def test_reused_pid_is_somebody_else() -> None:
    """A process that lives, but began at another time than PID 1 did."""
    other = PidOne(os.getpid(), "1")
    assert not other.lives()
    assert other.table() is None


def test_process_of_another_container_is_not_taken_for_pid_one(container: Any) -> None:
    """/proc may be another machine's: the pid must be in a cgroup with the container's name."""
    assert PidOne.of(container.attrs["State"]["Pid"], "0" * 64) is None
    assert PidOne.of(os.getpid(), container.id) is None


def _steady(row: ProcessInfo) -> ProcessInfo:
    """Without what may be more at the second look."""
    return replace(row, switches=None, cpu_ns=None)
