"""Engines that are not simply here: inside a VM, behind a proxy, by tcp, tls and ssh. None is taken for a near one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stop_harness.conductor import open_engine, pipeline
from stop_harness.conductor.request import RunRequest
from stop_harness.engines.docker import host as docker_host
from stop_harness.engines.docker.address import Address
from stop_harness.engines.docker.engine import DockerEngine
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.starting import creation
from stop_harness.errors import EngineError
from stop_harness.model import NS_PER_S, Outcome, Readiness, Scenario, Subject, Trial, Vantage
from stop_harness.scenario import discovery
from stop_harness.trial.perform import Interruption
from tests.second_engine import SecondEngine
from tests.silence import Silence

SAMPLES = Path(__file__).parent.parent / "scenarios"
PATIENCE_S = 20.0

pytestmark = pytest.mark.docker


def test_an_engine_of_this_machine_is_near_for_everybody(docker_engine_host: DockerHost) -> None:
    """By who listens at its socket, whether or not he who asks is root."""
    if not docker_engine_host.url.startswith("unix://") or docker_engine_host.podman:
        pytest.skip("the engine is not known to be near")
    assert docker_engine_host.same_kernel
    assert docker_engine_host.local


@pytest.mark.long
def test_an_engine_in_a_vm_is_not_near_although_its_kernel_has_our_release(engine_in_a_vm: Address) -> None:
    """Its pids and addresses mean something else here, or nothing."""
    host = docker_host.probe(engine_in_a_vm)
    assert (host.local, host.same_kernel, host.info.proves_lost_processes) == (False, False, False)
    assert any("another PID namespace" in caveat for caveat in host.info.caveats)


def test_an_engine_behind_a_proxy_is_not_taken_for_a_near_one(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """The proxy may lead anywhere, as those of Docker Desktop and Colima do; the caveat names it."""
    if not docker_engine_host.url.startswith("unix://"):
        pytest.skip("the engine is not behind a socket file")
    path = str(tmp_path / "engine.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        threading.Thread(target=_forward_all, args=(server, docker_engine_host.url), daemon=True).start()
        host = docker_host.probe(Address(f"unix://{path}"))
        server.shutdown(socket.SHUT_RDWR)
    assert (host.local, host.same_kernel) == (False, False)
    assert any("its socket belongs to" in caveat for caveat in host.info.caveats)


def _forward_all(server: socket.socket, url: str) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        engine = socket.socket(socket.AF_UNIX)
        engine.connect(url.removeprefix("unix://"))
        for source, target in ((client, engine), (engine, client)):
            threading.Thread(target=_forward, args=(source, target), daemon=True).start()


def _forward(source: socket.socket, target: socket.socket) -> None:
    while piece := source.recv(1 << 16):
        target.sendall(piece)
    target.shutdown(socket.SHUT_WR)


@pytest.mark.long
def test_ports_of_another_machine_are_reached_where_it_publishes_them(second_docker: SecondEngine) -> None:
    """By tcp: a request in flight is answered while the server drains, and said to have come by a published port."""
    (lesson,) = (item for item in discovery.load((SAMPLES,)) if item.name == "web-server")
    lesson = replace(lesson, stop=replace(lesson.stop, timeouts_ns=(10 * NS_PER_S,)))
    host = docker_host.probe(Address(second_docker.tcp))
    request = RunRequest((lesson,), "reach", None)
    outcome = pipeline.run(
        request, Silence(), Interruption(), lambda _, run_id: open_engine.Chosen(DockerEngine(run_id, host=host))
    )
    (result,) = outcome.report.results
    assert result.verdict.outcome is Outcome.GRACEFUL, result.verdict.reason
    assert result.observation.vantage is Vantage.PUBLISHED_PORT


def test_a_port_of_another_machine_is_published_where_the_scenario_says(docker_engine_host: DockerHost) -> None:
    """Any other port that is reached is published at one that the engine chooses."""
    subject = Subject(image="web", ports=((8000, 18000),))
    web = Scenario("web", subject, readiness=Readiness(tcp_port=8000, http_port=8001))
    trial = Trial("web", web, stop_timeout_ns=NS_PER_S, stop_after_ns=0, repetition=1)
    assert creation(trial, {}, replace(docker_engine_host, local=False))["ports"] == {"8000": 18000, "8001": None}
    assert creation(trial, {}, replace(docker_engine_host, local=True))["ports"] == {"8000": 18000}


@pytest.mark.parametrize("way", ["tls_engine", "ssh_engine"])
def test_stops_are_performed_and_judged_through_an_encrypted_connection(
    request: pytest.FixtureRequest, way: str
) -> None:
    """One that leaves, one that is killed; all others through tls and ssh too in `test_contract.py` (`long`)."""
    host = docker_host.probe(request.getfixturevalue(way))
    lessons = [item for item in discovery.load((SAMPLES,)) if item.name in {"handles-sigterm", "pid1-without-handler"}]
    lessons = [replace(item, stop=replace(item.stop, timeouts_ns=(3 * NS_PER_S,))) for item in lessons]
    asked = RunRequest(tuple(lessons), "reach", None)
    report = pipeline.run(
        asked, Silence(), Interruption(), lambda _, run_id: open_engine.Chosen(DockerEngine(run_id, host=host))
    ).report
    found = {
        item.observation.scenario: (item.verdict.outcome, item.observation.record.exit_code) for item in report.results
    }
    assert found == {"handles-sigterm": (Outcome.GRACEFUL, 0), "pid1-without-handler": (Outcome.KILLED, 137)}


def test_tls_without_a_certificate_is_an_error_not_a_traceback(tls_engine: Address) -> None:
    """Neither plain, nor encrypted without what the engine asks for."""
    assert tls_engine.tls is not None
    for tls in (None, replace(tls_engine.tls, certificate=None, key=None), replace(tls_engine.tls, authority=None)):
        with pytest.raises(EngineError, match="tcp://localhost"):
            docker_host.probe(replace(tls_engine, tls=tls))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ssh://engine.test/no/such.sock", r"there is no socket /no/such\.sock"),
        ("ssh://nobody-here@engine.test", "Permission denied"),
        ("ssh://engine.test:1", "Connection refused"),
    ],
)
@pytest.mark.usefixtures("ssh_engine")
def test_what_ssh_says_is_the_reason(url: str, reason: str) -> None:
    """In its own words, without a question at the terminal."""
    with pytest.raises(EngineError, match=f"ssh: .*{reason}"):
        docker_host.probe(Address(url))


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """pytest's own are too long for socket files."""
    with tempfile.TemporaryDirectory(prefix="tunnel-", dir="/tmp") as folder:
        yield Path(folder)


def test_nothing_is_left_of_a_tunnel_whose_owner_was_killed(ssh_engine: Address, short_folder: Path) -> None:
    """Neither ssh nor its socket file, even by kill -9."""
    program = (
        "import sys, time; from stop_harness.engines.docker import ssh_tunnel; "
        "print(ssh_tunnel.socket_to(sys.argv[1]), flush=True); time.sleep(600)"
    )
    environment = {**os.environ, "TMPDIR": str(short_folder)}
    owner = subprocess.Popen(
        [sys.executable, "-c", program, ssh_engine.url], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert owner.stdout is not None
        file = Path(owner.stdout.readline().strip())
        assert file.is_socket()
        assert file.is_relative_to(short_folder)
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    deadline = time.monotonic() + PATIENCE_S
    while any(short_folder.iterdir()):
        assert time.monotonic() < deadline, list(short_folder.iterdir())
        time.sleep(0.05)
