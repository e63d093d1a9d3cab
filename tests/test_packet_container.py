"""The container of ours that disturbs packets in the network of another one: what it is told, answers, and leaves."""

from __future__ import annotations

import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any

import docker
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stop_harness
from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker import packet_container
from stop_harness.engines.docker.address import Address
from stop_harness.engines.docker.faults import packets
from stop_harness.engines.docker.host import DockerHost, probe
from stop_harness.engines.docker.packet_container import Lacking, PacketContainer
from stop_harness.engines.docker.program_container import PROGRAMS
from stop_harness.engines.docker.reaper import OWNER_LABEL, RUN_LABEL, owner
from stop_harness.engines.interface import FaultNotApplied
from stop_harness.linux.disturbance import (
    CannotDisturb,
    Course,
    Disturbance,
    Packets,
    all_packets,
    late,
    late_answers,
    lossy,
    rationed,
)
from stop_harness.model import (
    NS_PER_S,
    CommandProperty,
    Expectation,
    Fault,
    FaultAction,
    FaultKind,
    FaultMoment,
    Readiness,
    RestartProperty,
    Scenario,
    StopPlan,
    Subject,
    When,
)
from stop_harness.trial.perform import Interruption
from tests.silence import Silence

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
RUN = f"packets-test-{os.getpid()}"
PROGRAM = PROGRAMS / f"packets-{platform.machine()}"
QUICK_S, PATIENCE_S = 0.09, 20
"""A round trip on this machine, and what a busy one may take for anything."""

SERVES = """
import os, signal, socket, threading
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
def answer(server, port):
    while True:
        peer, _ = server.accept()
        threading.Thread(target=echo, args=(peer,), daemon=True).start()
def echo(peer):
    try:
        while piece := peer.recv(65536):
            peer.sendall(piece)
        os.write(1, b"closed\\n")
    except OSError as error:
        os.write(1, (type(error).__name__ + "\\n").encode())
for port in (7001, 7002):
    threading.Thread(target=answer, args=(socket.create_server(("", port)), port), daemon=True).start()
os.write(1, b"ready\\n")
signal.pause()
"""


@pytest.fixture
def far(tcp_engine: str, docker_engine_host: DockerHost) -> DockerHost:
    """An engine whose machine is not ours, as far as one can tell."""
    host = probe(Address(tcp_engine))
    assert not host.root_near
    if not docker_engine_host.local:
        pytest.skip("containers of this engine are not reached from here")
    if found := packet_container.lacking(host, labels()).disturbed:
        pytest.skip(found)
    return host


@pytest.fixture
def served(client: docker.DockerClient) -> Iterator[Any]:
    """A container that echoes what it gets on two ports."""
    made = client.containers.run(BASE_IMAGE, ["python3", "-c", SERVES], detach=True, labels=labels())
    try:
        eventually(lambda: b"ready" in made.logs())
        made.reload()
        yield made
    finally:
        made.remove(force=True)


def labels() -> dict[str, str]:
    """As every container of a run has them."""
    return {RUN_LABEL: RUN, OWNER_LABEL: owner()}


def of_program(client: docker.DockerClient) -> list[str]:
    """Containers of the program that this process, or one that it started, has made."""
    found = client.api.containers(all=True, filters={"label": f"{RUN_LABEL}={RUN}"})
    return [it["Id"] for it in found if it["Image"].startswith("stop-harness/packets")]


def eventually(condition: Callable[[], bool]) -> None:
    """Return when it holds; AssertionError where it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def connected(served: Any, port: int = 7001, timeout_s: float = 10) -> socket.socket:
    """From this machine, over the engine's bridge."""
    address = served.attrs["NetworkSettings"]["IPAddress"]
    made = socket.create_connection((address, port), timeout=timeout_s)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def round_trip_s(peer: socket.socket, size: int = 1) -> float:
    """Of so many bytes that are echoed."""
    begun, left = time.monotonic(), size
    peer.sendall(b"x" * size)
    while left:
        left -= len(peer.recv(65536))
    return time.monotonic() - begun


def in_its_network(host: DockerHost, served: Any) -> PacketContainer:
    """A container of ours."""
    return PacketContainer.start(host, f"container:{served.id}", labels())


# ── what is disturbed ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.docker
def test_packets_are_late_each_way_also_of_open_connections_and_then_no_more(far: DockerHost, served: Any) -> None:
    """A packet is late on its way in and on its way out."""
    with connected(served) as peer:
        assert round_trip_s(peer) < QUICK_S
        container = in_its_network(far, served)
        try:
            assert container.disturb(Disturbance(late(60_000_000), all_packets())) in {2, 4}
            found = [round_trip_s(peer) for _ in range(5)]
            assert min(found) >= 0.12
            assert statistics.median(found) < 0.4
            container.undo()
            assert min(round_trip_s(peer) for _ in range(5)) < QUICK_S
        finally:
            container.close()


@pytest.mark.docker
def test_answers_alone_are_late_in_one_way_and_jitter_spreads_them(far: DockerHost, served: Any) -> None:
    """`in_ns` and `out_ns` are told apart; what jitters stays within twice its delay."""
    with connected(served) as peer:
        for course, least_s in ((late_answers(60_000_000), 0.06), (Course(out_ns=60_000_000), 0.06)):
            end = packet_container.disturb(far, f"container:{served.id}", labels(), Disturbance(course, all_packets()))
            assert least_s <= min(round_trip_s(peer) for _ in range(5)) < 0.12
            end()
        jittery = Disturbance(Course(out_ns=50_000_000, jitter_ns=50_000_000), all_packets())
        end = packet_container.disturb(far, f"container:{served.id}", labels(), jittery)
        found = [round_trip_s(peer) for _ in range(30)]
        end()
    assert min(found) < 0.045
    assert max(found) > 0.055


@pytest.mark.docker
def test_another_port_is_not_disturbed(far: DockerHost, served: Any) -> None:
    """Of TCP here; both of its ends count."""
    with connected(served, 7001) as disturbed, connected(served, 7002) as other:
        end = packet_container.disturb(
            far, f"container:{served.id}", labels(), Disturbance(late(80_000_000), all_packets(7001))
        )
        assert round_trip_s(disturbed) >= 0.16
        assert min(round_trip_s(other) for _ in range(5)) < QUICK_S
        end()


@pytest.mark.docker
def test_a_link_carries_as_much_as_its_bandwidth(far: DockerHost, served: Any) -> None:
    """50,000 bytes there and back, at 800 kbit/s each way, with what TCP adds: half a second at least."""
    with connected(served) as peer:
        assert round_trip_s(peer, 50_000) < 0.4
        end = packet_container.disturb(
            far, f"container:{served.id}", labels(), Disturbance(rationed(800_000), all_packets())
        )
        assert 0.5 <= round_trip_s(peer, 50_000) < 8
        end()


@pytest.mark.docker
def test_packets_are_lost_and_get_through_when_it_is_over(far: DockerHost, served: Any) -> None:
    """All of them first; then TCP sends again what was lost."""
    with connected(served) as peer:
        container = in_its_network(far, served)
        container.disturb(Disturbance(lossy(1.0), all_packets()))
        peer.settimeout(0.5)
        with pytest.raises(TimeoutError):
            round_trip_s(peer)
        container.undo()
        peer.settimeout(PATIENCE_S)
        assert peer.recv(1) == b"x"
        container.close()


@pytest.mark.docker
def test_what_is_excepted_passes_and_only_an_address_can_be_meant(far: DockerHost, served: Any) -> None:
    """As AWS' fault injection has it: to these networks, but not to those."""
    gateway = served.attrs["NetworkSettings"]["Gateway"]
    everywhere = (Packets(leaves=True, destination=IPv4Network("0.0.0.0/0")),)
    here = (Packets(leaves=True, destination=IPv4Network(f"{gateway}/32")),)
    near = (Packets(leaves=False, source=IPv4Network(f"{gateway}/30", strict=False)),)
    elsewhere = (Packets(leaves=True, destination=IPv4Network("192.0.2.0/24")),)
    with connected(served) as peer:
        for only, but, is_late in (
            (everywhere, (), True),
            (here, (), True),
            (near, (), True),
            (elsewhere, (), False),
            (everywhere, here, False),
            ((), (), False),
        ):
            disturbance = Disturbance(late(90_000_000), only, but)
            end = packet_container.disturb(far, f"container:{served.id}", labels(), disturbance)
            assert (min(round_trip_s(peer) for _ in range(3)) >= 0.09) is is_late, disturbance
            end()


@pytest.mark.docker
def test_open_connections_are_reset_for_both_ends(far: DockerHost, served: Any) -> None:
    """Those of a port, or all; how many there were."""
    container = in_its_network(far, served)
    with connected(served, 7001) as first, connected(served, 7002) as second, connected(served, 7002) as third:
        assert container.reset(9) == 0
        assert container.reset(7001) == 1
        with pytest.raises(ConnectionResetError):
            first.recv(1)
        assert round_trip_s(second) < PATIENCE_S
        assert container.reset() == 2
        for peer in (second, third):
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
        assert container.reset() == 0
    eventually(lambda: served.logs().count(b"ConnectionResetError") + served.logs().count(b"ConnectionAborted") == 3)
    container.close()


@pytest.mark.docker
def test_of_two_at_once_each_packet_meets_both(far: DockerHost, served: Any) -> None:
    """Each has tables of its own."""
    with connected(served) as peer:
        ends = [
            packet_container.disturb(far, f"container:{served.id}", labels(), Disturbance(late(ns), all_packets()))
            for ns in (40_000_000, 50_000_000)
        ]
        assert min(round_trip_s(peer) for _ in range(3)) >= 0.18
        ends.pop()()
        assert 0.08 <= min(round_trip_s(peer) for _ in range(3)) < 0.18
        ends.pop()()
        assert min(round_trip_s(peer) for _ in range(3)) < QUICK_S


# ── how it ends ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.docker
@pytest.mark.parametrize("how", ["the harness", "the container"])
def test_whatever_is_killed_packets_pass_again_and_nothing_is_left(
    how: str, far: DockerHost, served: Any, client: docker.DockerClient
) -> None:
    """`kill -9` of the harness ends its input, of the container itself what the kernel kept for it."""
    program = (
        "import time\n"
        "from stop_harness.engines.docker import packet_container\n"
        "from stop_harness.engines.docker.address import Address\n"
        "from stop_harness.engines.docker.host import probe\n"
        "from stop_harness.linux.disturbance import Disturbance, all_packets, lossy\n"
        f"host = probe(Address({far.url!r}))\n"
        "everything = Disturbance(lossy(1.0), all_packets())\n"
        f"end = packet_container.disturb(host, 'container:{served.id}', {labels()!r}, everything)\n"
        "print('disturbed', flush=True)\n"
        "time.sleep(600)\n"
    )
    with connected(served, timeout_s=PATIENCE_S) as peer:
        harness = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        try:
            assert harness.stdout is not None
            assert harness.stdout.readline() == "disturbed\n"
            (made,) = of_program(client)
            peer.settimeout(0.3)
            with pytest.raises(TimeoutError):
                round_trip_s(peer)
            if how == "the harness":
                harness.send_signal(signal.SIGKILL)
            else:
                client.api.kill(made, signal="KILL")
            peer.settimeout(PATIENCE_S)
            assert peer.recv(1) == b"x"
            eventually(lambda: of_program(client) == [])
        finally:
            harness.kill()
            harness.wait()
            harness.stdout.close() if harness.stdout is not None else None


@pytest.mark.docker
def test_one_that_is_gone_is_told_of(far: DockerHost, served: Any, client: docker.DockerClient) -> None:
    """What it did has ended with it, and nobody knows when."""
    container = in_its_network(far, served)
    container.disturb(Disturbance(late(1), all_packets()))
    (made,) = of_program(client)
    client.api.kill(made, signal="KILL")
    eventually(lambda: of_program(client) == [])
    with pytest.raises(CannotDisturb, match=r"is gone|does not listen"):
        container.undo()
    container.close()


ASKS_THIS_MACHINE = """
import socket, struct
gateway = next(line.split()[2] for line in open("/proc/net/route") if line.split()[1] == "00000000")
with socket.socket() as asking:
    asking.settimeout(2)
    try:
        asking.connect((socket.inet_ntoa(struct.pack("<L", int(gateway, 16))), 9))
    except ConnectionRefusedError:
        pass
"""


@pytest.mark.docker
def test_a_next_start_is_without_it(far: DockerHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is started again has another network, in which an answer comes."""
    monkeypatch.setenv("DOCKER_HOST", far.url)
    scenario = Scenario(
        "again",
        Subject(image=BASE_IMAGE, command=("python3", "-c", SERVES)),
        readiness=Readiness(log="^ready$"),
        stop=StopPlan((5 * NS_PER_S,)),
        faults=(Fault(FaultKind.NETWORK, FaultAction.LOSS, FaultMoment(When.BEFORE), amount=1.0),),
        expectations=(
            Expectation(
                after_stop=(
                    RestartProperty(PATIENCE_S * NS_PER_S),
                    CommandProperty(("python3", "-c", ASKS_THIS_MACHINE)),
                )
            ),
        ),
    )
    request = RunRequest((scenario,), "test", None, engine="docker")
    (result,) = pipeline.run(request, Silence(), Interruption()).report.results
    (record,) = result.observation.faults
    assert record.problem is None, record
    assert [item.held for item in result.observation.properties] == [True, True], result.observation.properties


# ── where it cannot be done ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.docker
@pytest.mark.parametrize(
    "way",
    [
        "tcp_engine",
        "tls_engine",
        "ssh_engine",
        pytest.param("engine_in_a_vm", marks=pytest.mark.long),
    ],
)
def test_an_engine_that_can_lacks_nothing_however_it_is_reached(
    way: str, far: DockerHost, client: docker.DockerClient, request: pytest.FixtureRequest
) -> None:
    """And nothing of what was tried is left. `far` says whether this kernel can at all."""
    address = request.getfixturevalue(way)
    host = probe(Address(address) if isinstance(address, str) else address)
    assert not host.root_near
    assert packet_container.lacking(host, labels()) == Lacking()
    assert of_program(client) == []


@pytest.mark.docker
def test_a_scenario_is_refused_with_what_is_missing(
    far: DockerHost, tcp_engine: str, client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is started: here the kernel refuses a container of ours that has no rights."""
    monkeypatch.setenv("DOCKER_HOST", tcp_engine)
    monkeypatch.setattr(packet_container, "CAPABILITIES", ())
    for fault in ("network=latency:10ms", "network=reset"):
        result = stop_harness.check(image=BASE_IMAGE, command=["sleep", "100"], faults=[fault], timeouts=["1s"])
        assert not result.stops
        said = " ".join(str(result).split())
        assert "its packets cannot be disturbed: a container of ours may not do that on this engine" in said
    assert of_program(client) == []


@pytest.mark.docker
@pytest.mark.parametrize("through", [False, True], ids=["itself", "through another's"])
def test_the_network_of_the_engines_machine_is_never_entered(through: bool, client: docker.DockerClient) -> None:
    """Also where a container has it by another one."""
    made = [client.containers.run(BASE_IMAGE, ["sleep", "100"], detach=True, network_mode="host", labels=labels())]
    try:
        if through:
            of = f"container:{made[0].id}"
            made.append(
                client.containers.run(BASE_IMAGE, ["sleep", "100"], detach=True, network_mode=of, labels=labels())
            )
        scene: Any = SimpleNamespace(
            ask=lambda _what, call, *arguments: call(*arguments),
            api=client.api,
            container_id=made[-1].id,
            inspect=lambda: client.api.inspect_container(str(made[-1].id)),
            host=None,
        )
        with pytest.raises(FaultNotApplied, match="the network of the engine's machine"):
            packets.by_container(scene)
    finally:
        for container in made:
            container.remove(force=True)


# ── the program alone ────────────────────────────────────────────────────────────────────────────────────────────────

EVERYTHING = "R 1 0 0 0 0 0 0 0 0\nR 1 1 0 0 0 0 0 0 0\n"

alone = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not PROGRAM.exists(), reason="no program for this machine"
)


def told(spoken: str | bytes) -> list[str]:
    """What the program answers, in a network namespace of its own, until its input ends."""
    given = spoken.encode() if isinstance(spoken, str) else spoken
    allowed = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        ["unshare", *allowed, "--net", str(PROGRAM)], input=given, capture_output=True, timeout=60, check=False
    )
    first, *answers = done.stdout.decode().splitlines()
    if first.split()[2:4] != ["ready", "0"]:
        pytest.skip(f"this kernel does not let it: {first or done.stderr!r}")
    assert done.returncode == 0
    return answers


@alone
@pytest.mark.namespaces
def test_the_program_says_what_the_kernel_has_and_undoes_it_once() -> None:
    """Two rules for each version of IP; a second disturbance is refused while there is one."""
    answers = told(f"{EVERYTHING}D 1 5 5 0 0 0\n{EVERYTHING}D 2 5 5 0 0 0\nU 3\nU 4\n{EVERYTHING}D 5 5 5 0 0 0\n")
    assert answers[0] in {"A 1 ok 2", "A 1 ok 4"}
    assert answers[1:4] == ["A 2 error rules 16", "A 3 ok 0", "A 4 ok 0"]
    assert answers[4] == answers[0].replace("A 1", "A 5")


@alone
@pytest.mark.namespaces
def test_the_program_takes_128_rules_and_says_so_of_more() -> None:
    """The longest ones that there are, for both versions and for one."""
    plain, of_address = "R 1 1 0 6 2 80 0 0 0\n", "R 1 1 0 17 1 53 2 3221225984 24\n"
    assert told(plain * 128 + "D 1 0 0 0 0 0\n")[0] in {"A 1 ok 128", "A 1 ok 256"}
    assert told(of_address * 128 + "D 1 0 0 0 0 0\n") == ["A 1 ok 128"]
    assert told(of_address * 129 + "D 1 0 0 0 0 0\nU 2\n") == ["A 1 error rules 7", "A 2 ok 0"]
    assert told("D 1 0 0 0 0 0\n") == ["A 1 ok 0"]


@alone
@pytest.mark.namespaces
@given(st.text(st.sampled_from("RDUK 0123456789\n\0x-"), max_size=300))
@settings(max_examples=60, deadline=None)
def test_the_program_survives_whatever_it_is_told(spoken: str) -> None:
    """It ends with its input, in order, and answers nothing but answers."""
    for line in told(spoken):
        assert line.startswith("A ")


LARGEST = 2**64 - 1
SENDS = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for _ in range(50):
        sender.sendto(b"x" * 900, ("127.0.0.1", 9))
"""


@alone
@pytest.mark.namespaces
@pytest.mark.parametrize(
    "course", [f"{LARGEST} {LARGEST} {LARGEST} 0 0", f"0 0 0 {LARGEST} {LARGEST}", "0 0 0 0 1", f"0 0 {LARGEST} 0 1"]
)
def test_no_number_is_too_large_for_the_program(course: str) -> None:
    """Traffic of its own namespace passes it, and what waits goes on when it ends: no crash, and it listens."""
    loopback = "R 1 0 1 0 0 0 0 0 0\nR 1 1 1 0 0 0 0 0 0\n"
    allowed = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = f"ip link set lo up 2>/dev/null; exec {PROGRAM}"
    with subprocess.Popen(
        ["unshare", *allowed, "--net", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        if program.stdout.readline().split()[2:4] != ["ready", "0"]:
            program.stdin.close()
            pytest.skip("this kernel does not let it")
        program.stdin.write(f"{loopback}D 1 {course}\n")
        program.stdin.flush()
        assert program.stdout.readline().startswith("A 1 ok")
        entering = [
            "nsenter",
            "--target",
            str(program.pid),
            "--net",
            *(["--user", "--preserve-credentials"] if os.geteuid() else []),
        ]
        subprocess.run([*entering, sys.executable, "-c", SENDS], check=True, timeout=60)
        program.stdin.write("U 2\n")
        program.stdin.flush()
        assert program.stdout.readline() == "A 2 ok 0\n"
        program.stdin.close()
        assert program.wait(timeout=PATIENCE_S) == 0
