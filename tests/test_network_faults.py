"""Faults of the network: seen by a program in a container that asks this machine for the time all the while.

It sends a datagram each 10 ms; its peer answers each at once. Packets are disturbed by root on the engine's machine,
and where the engine is reached through TCP by a container of ours.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator

import docker
import pytest

import stop_harness
from stop_harness.engines.docker.host import DockerHost
from stop_harness.linux import network_namespace, packet_faults
from stop_harness.linux.disturbance import CannotDisturb, Disturbance, all_packets, late, lossy, rationed
from tests.test_faults_docker import BASE_IMAGE, Stopped, nothing_is_left, stop_under

__all__ = ["nothing_is_left"]

SEEN_LATE_S = 2.5
"""How late a program may see what happens to it: on two CPUs with a load of 35 it was 0.7 s."""

PROGRAM = r"""
import json, os, signal, socket, sys, time
watched, drain_s = sys.argv[1], float(sys.argv[2])
host, port = watched.split(":")
ending = []

def say(what, **more):
    os.write(1, (json.dumps({"t": time.time(), "what": what, **more}) + "\n").encode())

def end(number, frame):
    say("signal", number=number)
    ending.append(time.monotonic())

signal.signal(signal.SIGTERM, end)
peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer.connect((host, int(port)))
peer.settimeout(0.01)
stream = socket.create_connection((host, int(port)))
stream.setblocking(False)
sent, answered, before = 0, time.time(), ""
while not ending or time.monotonic() - ending[0] < drain_s:
    now = time.time()
    if now - sent > 0.01:
        sent = now
        peer.send(str(now).encode() + b" " * 900)
    state = before
    try:
        answer = peer.recv(2000)
        answered = time.time()
        state = "late" if answered - float(answer) > 0.09 else "quick"
    except OSError:
        if time.time() - answered > 0.25:
            state = "gone"
    if stream is not None:
        try:
            stream.recv(1)
        except BlockingIOError:
            pass
        except OSError as error:
            say("reset", error=type(error).__name__)
            stream = None
    if state != before:
        say("state", state=state)
        if not before:
            os.write(1, b"up\n")
        before = state
say("end")
"""


ROOT, CONTAINER = "by root", "by a container"
SEEN_BY = {ROOT: "rules of iptables", CONTAINER: "rules of nf_tables"}


@pytest.fixture(params=[ROOT, CONTAINER])
def by(request: pytest.FixtureRequest, docker_engine_host: DockerHost, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who disturbs packets."""
    way = str(request.param)
    if not docker_engine_host.local:
        pytest.skip("containers of this engine do not reach this machine")
    if way == CONTAINER:
        monkeypatch.setenv("DOCKER_HOST", request.getfixturevalue("tcp_engine"))
    elif os.geteuid() != 0 or packet_faults.why_not() is not None:
        pytest.skip("it takes root on the engine's machine")
    return way


@pytest.fixture
def peer(docker_engine_host: DockerHost, by: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """`ADDRESS:PORT` of this machine as containers see it; what is sent there by UDP comes back, by TCP is kept. The
    parameter is the port, else it is any."""
    client: docker.DockerClient = docker_engine_host.connect()
    address = str(ipaddress.ip_network(client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"])[1])
    client.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo, socket.socket() as keeper:
        _bind(echo, (address, getattr(request, "param", 0)))
        keeper.bind(echo.getsockname())
        keeper.listen()
        echo.settimeout(0.1)
        over = threading.Event()

        def answer() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    echo.sendto(*echo.recvfrom(2000))

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"{address}:{echo.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def _bind(echo: socket.socket, address: tuple[str, int]) -> None:
    """Another test may have the port for some seconds."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return echo.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                pytest.skip(f"somebody has that port: {error}")
        time.sleep(0.1)


def under(fault: str, peer: str, drain_s: float = 2.5) -> Stopped:
    """The program, stopped under a fault."""
    return stop_under(fault, peer, drain_s, program=PROGRAM)


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        pytest.param("latency:60ms", "late", marks=pytest.mark.long),
        ("latency:60ms,port:{port}", "late"),
        pytest.param("bandwidth:64kbit", "late", marks=pytest.mark.long),
        ("loss:100%", "gone"),
        ("cut,port:{port}", "gone"),
    ],
)
def test_a_bad_network_is_seen_from_inside_at_its_time_and_is_good_again_afterwards(
    fault: str, state: str, peer: str, by: str
) -> None:
    """For datagrams that are on their way all the time."""
    port = peer.rpartition(":")[2]
    stopped = under(f"network={fault.format(port=port)}@300ms:900ms", peer, drain_s=5)
    record = stopped.fault
    assert record.problem is None, record
    assert SEEN_BY[by] in record.seen
    assert record.asked_ns is not None
    assert record.begun_ns is not None
    assert record.ended_ns is not None
    asked_s, begun_s, ended_s = (ns / 1e9 for ns in (record.asked_ns, record.begun_ns, record.ended_ns))
    zero = next(item["t"] for item in stopped.seen if item["what"] == "signal")
    states = [(item["state"], item["t"] - zero) for item in stopped.seen if item["what"] == "state"]
    bad_s = next(seen_s for seen, seen_s in states if seen == state and seen_s >= asked_s - 0.02)
    good_s = next(seen_s for seen, seen_s in states if seen == "quick" and seen_s > bad_s)
    assert asked_s >= 0.3
    assert bad_s <= begun_s + SEEN_LATE_S
    assert begun_s + 0.8 <= good_s <= ended_s + SEEN_LATE_S
    assert stopped.result.outcome == "graceful"


@pytest.mark.parametrize("peer", [53], indirect=True)
def test_answers_of_a_name_server_are_late(peer: str) -> None:
    """Whoever listens at its port."""
    stopped = under("dns=late:120ms@300ms:900ms", peer)
    assert stopped.fault.problem is None, stopped.fault
    states = [item["state"] for item in stopped.seen if item["what"] == "state"]
    assert "late" in states
    assert states[-1] == "quick"


def test_another_port_is_not_touched(peer: str) -> None:
    """Nobody uses that one."""
    stopped = under("network=loss:100%,port:9@100ms:900ms", peer, drain_s=1.5)
    assert stopped.fault.problem is None
    assert "gone" not in {item.get("state") for item in stopped.seen}


def test_open_connections_are_reset_for_the_program(peer: str) -> None:
    """An idle one as well; it is done once, and nothing is left to undo."""
    stopped = under("network=reset@300ms", peer, drain_s=1.0)
    assert stopped.fault.problem is None, stopped.fault
    assert stopped.fault.seen == "1 connection reset, by sock_diag"
    (reset_s,) = stopped.at_s("reset")
    assert stopped.fault.asked_ns is not None
    assert stopped.fault.asked_ns / 1e9 <= reset_s + 0.02


def test_a_reset_without_a_connection_leaves_the_stop_undecided(peer: str) -> None:
    """As a pattern that matches no process."""
    stopped = under("network=reset,port:9@100ms", peer, drain_s=0.5)
    assert stopped.result.stops[0].findings[0].rule == "fault-not-applied"
    assert "no connection was open that could be reset" in stopped.result.stops[0].reason


@pytest.mark.parametrize("network", ["host", "none"])
def test_a_network_that_is_not_its_own_is_refused_before_anything_starts(network: str, peer: str) -> None:
    """That of the engine's machine above all."""
    result = stop_harness.check(
        image=BASE_IMAGE, command=["sleep", "100"], faults=["network=latency:10ms"], timeouts=["1s"], network=network
    )
    assert not result.stops
    assert "it has no network of its own that could be disturbed" in " ".join(str(result).split())


def test_this_machines_own_network_is_never_touched() -> None:
    """Also where somebody asks for it by its namespace."""
    with pytest.raises(CannotDisturb, match="the network of the engine's machine"):
        packet_faults.disturb(network_namespace.opened(os.getpid()), Disturbance(late(1), all_packets()))


def test_packets_are_lost_as_often_as_is_asked() -> None:
    """Within what chance allows: 5 standard deviations of 10,000."""
    schedule = lossy(0.3).schedule()
    lost = sum(schedule(100, True, 0) is None for _ in range(10_000))
    assert abs(lost - 3000) < 5 * (10_000 * 0.3 * 0.7) ** 0.5


def test_a_link_with_a_bandwidth_passes_that_much_each_way_and_loses_the_rest() -> None:
    """1000 bytes each 10 ms are ten times what 80 kbit/s carry: after a second's backlog nine of ten are lost."""
    schedule = rationed(80_000).schedule()
    for leaves in (True, False):
        times = [schedule(1000, leaves, number * 10_000_000) for number in range(1000)]
        passed = [at_ns for at_ns in times if at_ns is not None]
        assert 100 <= len(passed) <= 112
        assert all(later - earlier == 100_000_000 for earlier, later in itertools.pairwise(passed))
