"""Faults in groups of containers: what cannot be made is said by its line, and a dependency is taken away or slow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stop_harness.conductor import pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker.faults import refusals
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.packet_container import Lacking
from stop_harness.linux import packet_faults
from stop_harness.model import (
    NS_PER_MS,
    ContainerSettings,
    Fault,
    FaultAction,
    FaultKind,
    FaultMoment,
    Group,
    Mount,
    MountKind,
    Observation,
    Scenario,
    Subject,
    When,
)
from stop_harness.scenario import discovery, faults
from stop_harness.trial.perform import Interruption
from tests import group_support
from tests.group_support import pod, project, service
from tests.silence import Silence

pytestmark = pytest.mark.docker

KINDS = [
    "cpu=0.5",
    "memory=64MiB",
    "pids=9",
    "pause=true@after",
    "network=cut",
    "disk=full:/data",
    "dns=dead",
    "process=kill:x",
    "signal=SIGHUP",
    "stop=again",
    "exec=true",
]


def asked_for(text: str) -> Fault:
    """The fault of an option's text."""
    section = faults.FaultSection.model_validate(faults.option(text))
    return section.made()


def refused(group: Group, text: str, host: DockerHost) -> str | None:
    """Why a fault is refused in this group."""
    return refusals.refusal(Scenario("a", Subject(group=group), faults=(asked_for(text),)), host)


WHOLE = project(service("web"), service("db"))
POD = pod(service("web"), service("side"))


@pytest.mark.parametrize("text", KINDS)
@pytest.mark.parametrize("group", [WHOLE, POD], ids=["project", "pod"])
def test_a_fault_of_one_container_is_refused_where_several_are_stopped_together(
    group: Group, text: str, docker_engine_host: DockerHost
) -> None:
    """Before any of them starts, and with what can be made."""
    said = refused(group, text, replace(docker_engine_host, podman=False))
    assert said is not None
    assert "several containers are stopped together, and nobody says in which it is to be made" in said
    assert "of the whole, `dependency` alone" in said


def test_it_is_refused_by_its_line_and_nothing_is_started(tmp_path: Path, docker_engine_host: DockerHost) -> None:
    """Of a file, as of a task definition's and a pod's."""
    (tmp_path / "compose.yaml").write_text("services: {web: {image: no-such-image-anywhere}, db: {image: neither}}\n")
    file = tmp_path / "shop.yaml"
    file.write_text("version: 1\nname: shop\nsubject: {compose: {file: compose.yaml}}\nfaults:\n  - {cpu: 0.5}\n")
    request = RunRequest(discovery.load((file,)), "test", None, engine="docker")
    outcome = pipeline.run(request, Silence(), Interruption())
    (skipped,) = outcome.report.skipped
    assert skipped.reason.startswith(f"{file}:5:")
    assert "several containers are stopped together" in skipped.reason
    assert not outcome.report.results


@pytest.mark.parametrize("text", KINDS)
def test_in_the_only_container_that_is_stopped_it_can_be_made(text: str, docker_engine_host: DockerHost) -> None:
    """A service of a project, and the only container of a group."""
    mounts = (Mount(MountKind.TMPFS, "/data", options="size=1m"),)
    web = service("web", group_support.subject(settings=ContainerSettings(mounts=mounts)))
    host = replace(docker_engine_host, podman=False)
    if text.startswith("process") and not host.same_kernel:
        pytest.skip("on the engine's machine")
    assert refused(project(web, service("db"), stopped="web"), text, host) is None
    assert refused(project(web), text, host) is None


@pytest.mark.parametrize(
    ("group", "text", "said"),
    [
        (POD, "dependency=cut:side", "the containers of a pod have one network together"),
        (POD, "dependency=slow:side,latency:20ms", "the containers of a pod have one network together"),
        (replace(POD, stopped="web"), "network=cut", "`{loss: 100%}` loses all packets of that network"),
        (WHOLE, "dependency=kill:cache", "no container of its group is 'cache'; there are: web, db"),
        (project(service("web"), service("db", network_of="web")), "dependency=cut:db", "it is in the network of web"),
        (WHOLE, "dependency=kill:db@log:bye", "nobody says in whose log the line is"),
    ],
)
def test_what_a_group_has_no_place_for_is_refused(
    group: Group, text: str, said: str, docker_engine_host: DockerHost
) -> None:
    """Rather than found missing in every trial."""
    assert said in (refused(group, text, docker_engine_host) or "")


def test_packets_of_a_dependency_need_an_engine_that_can(docker_engine_host: DockerHost) -> None:
    """Elsewhere what was missing when it was tried is the reason; before that nobody knows."""
    scenario = Scenario("a", Subject(group=WHOLE), faults=(asked_for("dependency=slow:db,latency:20ms"),))
    far = replace(docker_engine_host, same_kernel=False)
    said = refusals.refusal(scenario, far, tried=lambda: Lacking("its kernel has no nf_tables", None))
    assert "its packets cannot be disturbed: its kernel has no nf_tables" in (said or "")
    assert refusals.refusal(scenario, far, tried=lambda: Lacking(None, "it resets nothing")) is None
    assert refusals.refusal(scenario, far) is None


# ── in containers ────────────────────────────────────────────────────────────────────────────────────────────────────

ANSWERS = """
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
listener = socket.create_server(("", 7000))
while True:
    peer, _ = listener.accept()
    while peer.recv(1):
        peer.send(b"a")
    peer.close()
"""

ASKS_AT_ITS_END = """
import signal, socket, sys, time
for _ in range(100):
    try:
        peer = socket.create_connection(("db", 7000))
        break
    except OSError:
        time.sleep(0.1)
def end(*_):
    began = time.monotonic()
    peer.send(b"a")
    peer.recv(1)
    print("round trip", round((time.monotonic() - began) * 1000), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


def stopped(fault: Fault | None) -> Observation:
    """The stop of a service that asks another one before it leaves."""
    group = project(
        service("web", group_support.subject(ASKS_AT_ITS_END)),
        service("db", group_support.subject(ANSWERS)),
        stopped="web",
    )
    return group_support.stopped(group, faults=() if fault is None else (fault,)).observation


def round_trip_ms(observation: Observation) -> int:
    """As the service measured it."""
    line = next(line for line in observation.looks.logs.text.splitlines() if line.startswith("round trip"))
    return int(line.rpartition(" ")[2])


@pytest.mark.parametrize("far", [False, True], ids=["by root", "by a container"])
def test_a_slow_dependency_answers_late_and_is_not_missed(
    far: bool, docker_engine_host: DockerHost, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So much later each way, from its moment on."""
    if far:
        monkeypatch.setenv("DOCKER_HOST", request.getfixturevalue("tcp_engine"))
    elif not docker_engine_host.root_near or packet_faults.why_not() is not None:
        pytest.skip("it takes root on the engine's machine")
    slow = Fault(
        FaultKind.DEPENDENCY, FaultAction.LATENCY, FaultMoment(When.BEFORE), amount=150 * NS_PER_MS, target="db"
    )
    under = stopped(slow)
    (record,) = under.faults
    assert record.problem is None, record
    assert under.record.gone_beside == ()
    assert round_trip_ms(under) >= 300
    assert round_trip_ms(stopped(None)) < 300


def test_of_several_containers_of_a_service_all_are_slow(tcp_engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by a container of its own, made ready while the group gets ready."""
    monkeypatch.setenv("DOCKER_HOST", tcp_engine)
    group = project(service("web", group_support.subject(DRAIN="1")), service("db", replicas=2), stopped="web")
    moment = FaultMoment(When.AFTER, 200 * NS_PER_MS)
    slow = Fault(FaultKind.DEPENDENCY, FaultAction.LATENCY, moment, amount=50 * NS_PER_MS, target="db")
    (record,) = group_support.stopped(group, faults=(slow,)).observation.faults
    assert record.problem is None, record
    assert record.seen.endswith("in each of 2 containers")


def test_of_several_containers_of_a_service_all_go(docker_engine_host: DockerHost) -> None:
    """The name of the service means each of them, and that of one container that one."""
    group = project(service("web"), service("db", replicas=2), stopped="web")
    for target, seen in (("db", "kill event, in each of 2 containers"), ("db-2", "kill event")):
        fault = Fault(FaultKind.DEPENDENCY, FaultAction.KILL, FaultMoment(When.BEFORE), target=target)
        observation = group_support.stopped(group, faults=(fault,)).observation
        (record,) = observation.faults
        assert (record.problem, record.seen) == (None, seen)
        assert observation.record.gone_beside == ()
