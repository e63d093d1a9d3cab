"""What must be true after a stop under a fault: looked at when the fault is undone, also of a container that has ended.

An engine keeps the limits and networks of a container that has ended, and starts it with them again. So a next start
that fails would be the fault's and not the program's.
"""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import docker
import pytest

from stop_harness.conductor import pipeline
from stop_harness.conductor.open_engine import open_engine
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker import engine_api
from stop_harness.engines.docker.faults import freezer
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reached import OfSdk, Reached, Unreachable
from stop_harness.engines.docker.reaper import RUN_LABEL
from stop_harness.model import (
    NS_PER_S,
    CommandProperty,
    ContainerSettings,
    Content,
    Expectation,
    FileProperty,
    LogProperty,
    Member,
    Mount,
    MountKind,
    Outcome,
    ProblemKind,
    Property,
    Readiness,
    RestartProperty,
    Scenario,
    StopPlan,
    Subject,
    TrialResult,
)
from stop_harness.plan import trials
from stop_harness.scenario import faults
from stop_harness.trial.faults import Faults
from stop_harness.trial.perform import Interruption
from tests import group_support
from tests.free_port import free_port
from tests.group_support import BASE_IMAGE, project, service
from tests.silence import Silence
from tests.variants import only_long

pytestmark = pytest.mark.docker

PROGRAM = """
import os, signal, socket, sys, time
def end(*_):
    with open("/left", "w") as file:
        file.write("bye")
    if os.environ["ENDS"] == "killed":
        time.sleep(60)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
server = socket.create_server(("", 7000))
server.settimeout(0.05)
while True:
    try:
        server.accept()[0].close()
    except TimeoutError:  # a handler that runs just before a wait without an end would leave it waiting
        pass
"""

STATE = """
for file in pids/pids.max memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us pids.max memory.max cpu.max; do
  [ ! -e /sys/fs/cgroup/$file ] || echo $file $(cat /sys/fs/cgroup/$file)
done
grep -v '^#' /etc/resolv.conf
ls /sys/class/net
stat -f -c 'free %f' /scratch
touch /scratch/writable && ls /scratch
ulimit -n
"""
"""What a fault may have left with a container, as a program in it sees that."""

STATE_NOW = CommandProperty(("sh", "-c", STATE))
AGAIN = RestartProperty(20 * NS_PER_S)
SCRATCH = Mount(MountKind.TMPFS, "/scratch", options="size=1m")

ENDS = ("by itself", "killed")
FAULTS = [
    "network=cut",
    "pids=1",
    "memory=64MiB",
    "memory=headroom:8MiB",
    "cpu=0.05",
    "cpu=load:1",
    "disk=full:/scratch",
    "disk=read_only:/scratch",
    "dns=dead",
    "fds=16",
    "pause=true@after:200ms",
    "process=stop:python3@200ms",
    "stop=again@100ms",
]
CASES = [
    pytest.param(fault, ends, marks=[pytest.mark.long] if number % 3 or ends == ENDS[number % 2] else [])
    for number, fault in enumerate(FAULTS)
    for ends in ENDS
]
"""Each fault with both ends; every third, with one of the two, in `make test`."""
CASES += [pytest.param("pause=true@before", "killed")]  # what is frozen in the whole stop does not end by itself


@pytest.fixture(autouse=True)
def an_engine_that_keeps_what_faults_leave(docker_engine_host: DockerHost) -> None:
    """Docker."""
    if docker_engine_host.podman:
        pytest.skip("Podman does nothing else to a container that it stops; see test_faults_before_the_stop.py")


def asked_for(text: str) -> Any:
    """The fault of an option's text."""
    return faults.FaultSection.model_validate(faults.option(text)).made()


def stopped(
    *asked: Property,
    under: tuple[str, ...] = (),
    ends: str = "by itself",
    listener: Silence | None = None,
    network: str | None = None,
    ready: Readiness | None = None,
) -> TrialResult:
    """One stop of the program under faults. `ends` "killed": by SIGKILL, at the stop timeout."""
    scenario = asked_of(*asked, under=under, ends=ends, network=network, ready=ready)
    request = RunRequest((scenario,), "test", None, engine="docker")
    (result,) = pipeline.run(request, listener or Silence(), Interruption()).report.results
    return result


def asked_of(
    *asked: Property,
    under: tuple[str, ...] = (),
    ends: str = "by itself",
    network: str | None = None,
    ready: Readiness | None = None,
) -> Scenario:
    """What `stopped` performs."""
    subject = Subject(
        image=BASE_IMAGE,
        command=("python3", "-u", "-c", PROGRAM),
        environment=(("ENDS", ends),),
        settings=ContainerSettings(mounts=(SCRATCH,), network=network),
    )
    return Scenario(
        "left",
        subject,
        readiness=ready or Readiness(tcp_port=7000, timeout_ns=20 * NS_PER_S),
        stop=StopPlan(((1 if ends == "killed" else 5) * NS_PER_S,)),
        faults=tuple(map(asked_for, under)),
        expectations=(Expectation(after_stop=asked),),
    )


@functools.cache
def undisturbed() -> str:
    """What the program's container is like when it was started again and nothing had gone wrong."""
    result = stopped(AGAIN, STATE_NOW)
    assert held(result) == [True, True], result.observation.properties
    return result.observation.properties[1].excerpt


def held(result: TrialResult) -> list[bool | None]:
    return [record.held for record in result.observation.properties]


@pytest.mark.parametrize(("fault", "ends"), CASES)
def test_the_next_start_is_without_the_fault(fault: str, ends: str, docker_engine_host: DockerHost) -> None:
    """It gets ready by its port, and is limited, connected and named as one that nothing disturbed."""
    near = docker_engine_host.same_kernel and os.geteuid() == 0
    if not near and fault.startswith(("fds", "process", "pause=true@before", "disk=read_only")):
        pytest.skip("root on the engine's machine is needed")
    if fault == "pause=true@before" and freezer.file_of(os.getpid()) is None:
        pytest.skip("it takes the kernel's freezer")
    late = fault.endswith("ms") and ends != "killed"
    asked = (FileProperty("/left"), AGAIN, STATE_NOW)
    result = stopped(*asked, under=(fault,), ends=ends)
    (record,) = result.observation.faults
    if not late:  # a program that leaves at once may be gone before the moment of such a fault
        assert record.problem is None, record
    frozen = fault == "pause=true@before"
    assert held(result) == [not frozen, True, True], result.observation.properties
    assert result.observation.properties[2].excerpt == undisturbed()


def test_a_fault_has_ended_with_its_container_and_not_when_something_was_given_back() -> None:
    """What is mended for the next start changes no time on record."""
    scenario = asked_of(under=("network=cut", "pids=1"), ends="killed")
    (trial,) = trials.expand((scenario,)).trials
    engine = open_engine("docker", "after-stop-test").engine
    subject = None
    try:
        engine.prepare((scenario,), lambda *_: None)
        subject = engine.start(trial)
        subject.wait_ready()
        made = Faults(scenario.faults, subject, trial.stop_timeout_ns)
        made.ready()
        made.mark_stop()
        subject.stop(trial.stop_timeout_ns)
        made.end()
        record = subject.record().stop
        _, before = made.records(record)
        time.sleep(0.5)
        assert made.give_back() == ()
        assert made.records(record)[1] == before
        assert all(item.ended_ns is not None and item.ended_ns >= NS_PER_S for item in before), before
    finally:
        if subject is not None:
            subject.remove()
        engine.close()


class WithoutNetwork(Silence):
    """Takes the network away that a container would have to be given back to, when its stop is over."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self._network = network

    def step(self, running: Any, step: str) -> None:
        """The step before properties are looked at."""
        super().step(running, step)
        if step == "looking at what is left":
            self._network.remove()


def test_what_cannot_be_given_back_leaves_open_what_depends_on_it(
    client: docker.DockerClient, docker_engine_host: DockerHost
) -> None:
    """Its network is gone. What it left in a file and in its log is known all the same, and nothing has failed."""
    name = f"stop-harness-after-stop-{os.getpid()}"
    network = client.networks.create(name, labels={RUN_LABEL: "after-stop-test"})
    asked = (FileProperty("/left", Content(equals="bye")), LogProperty("never", written=False), AGAIN, STATE_NOW)
    result = stopped(*asked, under=("network=cut",), listener=WithoutNetwork(network), network=name)
    assert held(result) == [True, True, None, None], result.observation.properties
    assert "not found" in result.observation.properties[2].found


def test_of_a_container_that_a_fault_removed_nothing_can_be_looked_at() -> None:
    """And that says who removed it."""
    asked = (FileProperty("/left"), LogProperty("never", written=False), AGAIN, STATE_NOW)
    result = stopped(*asked, under=("stop=remove@100ms",), ends="killed")
    assert held(result) == [None] * 4, result.observation.properties
    for record in (result.observation.properties[0], result.observation.properties[2]):
        assert "the container was removed by the fault `stop: remove`" in record.found


# ── beside others ────────────────────────────────────────────────────────────────────────────────────────────────────

DATABASE = """
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open("/stored", "a").write("order 7\\n")
time.sleep(1)
server = socket.create_server(("", 5432))
while True:
    peer, _ = server.accept()
    peer.send(b"here")
    peer.close()
"""
"""It needs a second from its start until it answers."""

NEEDS_IT = """
import os, signal, socket, sys, time
first = not os.path.exists("/started")
open("/started", "w").close()
while True:
    try:
        peer = socket.create_connection(("db", 5432), timeout=2)
        assert peer.recv(4) == b"here"
        break
    except (OSError, AssertionError):
        if not first:
            sys.exit("no database")
        time.sleep(0.1)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = socket.create_server(("", 7000))
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""
"""At its first start it waits for its database; at the next one it gives up at once."""


def beside(fault: str, *asked: Property, database: Member | None = None, **web: Any) -> TrialResult:
    """The stop of a service that needs another one."""
    db = database or service("db", group_support.subject(DATABASE))
    group = project(service("web", group_support.subject(NEEDS_IT), **web), db, stopped="web")
    ready = Readiness(log="^ready$", tcp_port=7000, timeout_ns=30 * NS_PER_S)
    return group_support.stopped(
        group,
        faults=(asked_for(fault),) if fault else (),
        readiness=ready,
        expectations=(Expectation(after_stop=asked),),
    )


STORED = CommandProperty(("cat", "/stored"), "db", content=Content(contains="order 7"))
ANSWERS = CommandProperty(
    ("python3", "-c", "import socket; print(socket.create_connection(('localhost', 5432)).recv(4))"),
    "db",
    content=Content(contains="here"),
)
KEPT = FileProperty("/stored", Content(contains="order 7"), container="db")


@pytest.mark.parametrize(
    "fault",
    [
        "network=cut",
        "dependency=kill:db",
        *only_long("dependency=stop:db", "dependency=pause:db", "dependency=cut:db", "pids=1"),
    ],
)
def test_what_depends_on_others_is_asked_when_they_are_back(fault: str) -> None:
    """One that a fault killed is started again and listens where it did, before anything is asked of it or of the next
    start of the one that needs it; and that is found under its name again."""
    result = beside(fault, KEPT, ANSWERS, STORED, AGAIN)
    (record,) = result.observation.faults
    assert record.problem is None, record
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    assert held(result) == [True, True, True, True], result.observation.properties


def test_under_a_name_of_its_own_it_is_found_again_when_its_network_is_given_back() -> None:
    """Its links and names in the network are the container's own, and the engine forgets them with the connection."""
    asks = CommandProperty(
        ("python3", "-c", "import socket; socket.create_connection(('shop', 7000), timeout=5)"), "db"
    )
    named = CommandProperty(("python3", "-c", "import socket; print(socket.gethostbyname('store'))"))
    result = beside("network=cut", AGAIN, asks, named, aliases=("shop",), links=(("db", "store"),))
    assert held(result) == [True, True, True], result.observation.properties


DIES_AT_THE_SECOND_START = """
import os, sys
if os.path.exists("/started"):
    sys.exit("corrupt")
open("/started", "w").close()
""" + DATABASE.replace("time.sleep(1)", "pass")


def test_a_dependency_that_does_not_come_back_leaves_open_what_needs_it() -> None:
    """Its second start fails by itself, which is nothing that the stop of the other one did."""
    db = service("db", group_support.subject(DIES_AT_THE_SECOND_START))
    result = beside("dependency=kill:db", KEPT, STORED, AGAIN, database=db)
    assert held(result) == [True, None, None], result.observation.properties
    said = result.observation.properties[2].found
    assert said.startswith("what a fault had ended did not come back: db exited with code 1"), said
    assert "corrupt" in said


def test_in_the_network_of_another_container_the_next_start_is_reached_there() -> None:
    """It has no address of its own at which its port could be looked for, and listens at the other's alone."""
    program = PROGRAM.replace('("", 7000)', "(socket.gethostbyname(socket.gethostname()), 7000)")
    web = replace(service("web", group_support.subject(program, ENDS="by itself")), networks=(), network_of="db")
    group = project(web, service("db", group_support.subject(DATABASE)), stopped="web")
    result = group_support.stopped(
        group,
        faults=(asked_for("pids=1"),),
        readiness=Readiness(tcp_port=7000, timeout_ns=20 * NS_PER_S),
        expectations=(Expectation(after_stop=(AGAIN,)),),
    )
    assert held(result) == [True], result.observation.properties


def test_names_that_only_a_command_in_it_could_write_back_are_left_to_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At each start it writes a container's own file anew. One that is another container's stays as it is, which the
    next start is not blamed for."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    own = stopped(AGAIN, STATE_NOW, under=("dns=dead",))
    assert held(own) == [True, True], own.observation.properties
    assert own.observation.properties[1].excerpt == undisturbed()
    web = replace(service("web", group_support.subject(NEEDS_IT)), networks=(), network_of="db")
    group = project(web, service("db", group_support.subject(DATABASE)), stopped="web")
    shared = group_support.stopped(
        group,
        faults=(asked_for("dns=dead"),),
        readiness=Readiness(log="^ready$", timeout_ns=20 * NS_PER_S),
        expectations=(Expectation(after_stop=(AGAIN, STORED)),),
    )
    assert held(shared) == [None, True], shared.observation.properties
    said = "dns dead could not be taken back from the container after its end: /etc/resolv.conf is that of another"
    assert said in shared.observation.properties[0].found


# ── a container without a network ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def somebody_listens_here() -> Iterator[int]:
    """A port of this machine, on which another program accepts connections."""
    with socket.create_server(("", free_port())) as server:
        yield server.getsockname()[1]


def test_without_a_network_a_port_is_looked_for_inside_alone(
    somebody_listens_here: int, docker_engine_host: DockerHost
) -> None:
    """What listens at the same port of this machine is not taken for it."""
    if os.geteuid() != 0 or not docker_engine_host.same_kernel or not docker_engine_host.local:
        pytest.skip("its network namespace is entered by root on the engine's machine")
    result = stopped(network="none")
    assert result.verdict.outcome is Outcome.GRACEFUL, (result.verdict.reason, result.observation.problem)
    patience = Readiness(tcp_port=somebody_listens_here, timeout_ns=2 * NS_PER_S)
    for ready in (patience, replace(patience, tcp_port=None, http_port=somebody_listens_here)):
        problem = stopped(network="none", ready=ready).observation.problem
        assert problem is not None
        assert problem.kind is ProblemKind.NOT_READY, problem


@pytest.mark.parametrize("cut", [False, True], ids=["none", "cut"])
@pytest.mark.parametrize("local", [True, False], ids=["here", "elsewhere"])
def test_a_container_in_no_network_is_said_to_be_in_none(
    local: bool, cut: bool, client: docker.DockerClient, docker_engine_host: DockerHost
) -> None:
    """Where its ports would be published, too: neither a KeyError nor an address that is this machine's."""
    labels, network = {RUN_LABEL: "after-stop-test"}, "bridge" if cut else "none"
    made = client.containers.run(
        BASE_IMAGE, ["sleep", "60"], detach=True, init=True, labels=labels, network_mode=network
    )
    host = replace(docker_engine_host, local=local)
    api = engine_api.of(host.address, host.api_version, 60)
    try:
        if cut:
            client.networks.get("bridge").disconnect(made)
        reached = Reached(OfSdk(api, str(made.id)), api, host, None)
        with pytest.raises(Unreachable, match=r"in no network|is not published"):
            raise AssertionError((reached.get_container_host_ip(), reached.get_exposed_port(7000)))
    finally:
        api.close()
        made.remove(force=True)
