"""Standard faults in real containers: the copies beside their twin, what a fault broke, and what it cost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

import stop_harness
from stop_harness.engines.docker.host import DockerHost
from stop_harness.engines.docker.reaper import OWNER_LABEL
from stop_harness.model import ComplianceStatus, Outcome, Status

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")

LOCKS_UP = """
import signal, sys, threading, time
lock = threading.Lock()
def end(number, frame):
    lock.acquire()
    time.sleep(1.5)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True:
    time.sleep(0.01)
"""
"""A second signal waits for the lock that the first one holds, in the same thread."""


@pytest.fixture
def made_while_it_stops(docker_engine_host: DockerHost) -> None:
    """An engine on which a fault may begin after the stop signal."""
    if docker_engine_host.podman:
        pytest.skip("Podman does nothing else to a container that it stops")


@pytest.fixture(autouse=True)
def nothing_is_left(docker_engine_host: DockerHost) -> Iterator[None]:
    """No container of these runs outlives its test."""
    yield
    client: docker.DockerClient = docker_engine_host.connect()
    left = client.api.containers(all=True, filters={"label": OWNER_LABEL, "name": "matrix-locks"})
    client.close()
    assert not left


def scenario(folder: Path, name: str = "matrix-locks") -> Path:
    """A file with the program that locks up."""
    file = folder / f"{name}.yaml"
    command = json.dumps(["python3", "-c", LOCKS_UP])
    file.write_text(
        f"version: 1\nname: {name}\nsubject: {{image: '{BASE_IMAGE}', command: {command}}}\n"
        "ready: {log: '^up$'}\nstop: {timeouts: [4s]}\n"
    )
    return file


@pytest.mark.usefixtures("made_while_it_stops")
def test_what_a_second_signal_breaks_and_a_pause_costs_is_told(tmp_path: Path) -> None:
    """Undisturbed the container is graceful; three faults beside it, and one that does not apply."""
    report = stop_harness.run(
        scenario(tmp_path), faults=["paused", "second-signal", "network-cut"], report_dir=tmp_path / "reports"
    )
    (row,) = report.record.resilience
    assert (row.scenario, row.outcome, row.status) == ("matrix-locks", Outcome.GRACEFUL, Status.PASS)
    assert row.undisturbed.status is ComplianceStatus.COMPLIANT
    paused, second, cut = row.faults
    assert (paused.fault, paused.outcome, paused.status) == ("paused", Outcome.GRACEFUL, Status.PASS)
    assert (cut.fault, cut.outcome) == ("network-cut", Outcome.GRACEFUL)
    assert (second.fault, second.outcome, second.status) == ("second-signal", Outcome.KILLED, Status.FAIL)
    assert second.broke == ("sigkill-needed",)
    assert second.cut_off
    assert second.cost_ns is not None
    assert second.cost_ns > 10**9
    assert report.exit_code == 1
    assert [item.scenario for item in report.record.compliance] == ["matrix-locks"]
    seen = {result.observation.scenario: result.observation for result in report.record.results}
    (signal,) = seen["matrix-locks+second-signal"].faults
    assert signal.begun_ns is not None
    assert 150 * 10**6 < signal.begun_ns < 2 * 10**9
    assert "matrix-locks+second-signal" in str(report)


@pytest.mark.usefixtures("made_while_it_stops")
@pytest.mark.long
def test_a_failed_copy_is_repeated_beside_its_undisturbed_twin(tmp_path: Path) -> None:
    """Against which it is measured; the others are not."""
    first = stop_harness.run(scenario(tmp_path), faults="paused,second-signal", report_dir=tmp_path / "reports")
    assert first.directory is not None
    again = stop_harness.rerun(first.directory, failed=True)
    names = {result.observation.scenario for result in again.record.results}
    assert names == {"matrix-locks", "matrix-locks+second-signal"}


@pytest.mark.usefixtures("made_while_it_stops")
def test_a_container_that_leaves_before_the_fault_is_no_doubt(tmp_path: Path) -> None:
    """It exits at once: the second signal, 0.2 s later, finds nobody."""
    file = tmp_path / "fast.yaml"
    trap = json.dumps(["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"])
    file.write_text(
        f"version: 1\nname: matrix-fast\nsubject: {{image: '{BASE_IMAGE}', command: {trap}}}\n"
        "ready: {log: '^up$'}\nstop: {timeouts: [5s]}\n"
    )
    report = stop_harness.run(file, faults="second-signal")
    (cell,) = report.record.resilience[0].faults
    assert (cell.too_fast, cell.status, report.exit_code) == (True, Status.PASS, 0)


def test_check_takes_standard_faults_and_says_what_is_not_tried(docker_engine_host: DockerHost) -> None:
    """A text names standard faults; a list says what goes wrong in each stop."""
    result = stop_harness.check(image=BASE_IMAGE, command=["sleep", "60"], init=True, timeouts=[3], faults="standard")
    said = str(result)
    assert "not tried  dependency-gone: no other container runs beside it that it could" in said
    tried = {item.fault for item in result.record.resilience[0].tried}
    assert "cpu-starved" in tried
    assert ("stop-twice" in tried) is not docker_engine_host.podman
    assert not tried & {"tmpfs-full", "dependency-gone"}
