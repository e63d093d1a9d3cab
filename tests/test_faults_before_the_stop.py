"""Faults that begin before the stop: they are there when its signal comes, on Docker and on Podman."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stop_harness.engines.docker.faults import refusals
from stop_harness.engines.docker.host import DockerHost
from stop_harness.scenario import scenario_file
from tests.test_faults_docker import stop_under

pytestmark = pytest.mark.docker


@pytest.mark.parametrize(
    ("fault", "watched", "state"),
    [
        ("cpu=0.2", "cpu", "20000"),
        pytest.param("memory=64MiB", "memory", str(64 * 1024**2), marks=pytest.mark.long),
        pytest.param("pids=7", "pids", "7", marks=pytest.mark.long),
        ("disk=full:/data", "disk", "full"),
        pytest.param("dns=dead", "dns", "nameserver 192.0.2.1", marks=pytest.mark.long),
        ("network=cut", "network", "gone"),
        pytest.param("exec=touch /tmp/made", "exec", "True", marks=pytest.mark.long),
    ],
)
def test_its_effect_is_there_when_the_stop_signal_comes(
    docker_engine_host: DockerHost, fault: str, watched: str, state: str
) -> None:
    """Seen by the program itself."""
    stopped = stop_under(f"{fault}@-300ms", watched, drain_s=0.3)
    assert stopped.fault.problem is None, stopped.fault
    assert any(state in item["state"] for item in stopped.seen if item["what"] == "state")
    assert stopped.at_s("state")[0] < 0
    assert stopped.result.outcome == "graceful"


HEAD = "version: 1\nname: a\nsubject: {image: a}\nstop: {timeouts: [10s]}\n"


@pytest.mark.parametrize(
    ("fault", "refused"),
    [
        ("{cpu: 0.2, at: -1s}", False),
        ("{cpu: 0.2, at: with}", True),
        ("{signal: SIGHUP}", True),
        ("{stop: remove}", True),
        ("{stop: client_gone}", False),
        ("{cpu: {load: 2}, at: 1s}", False),
    ],
)
def test_podman_does_nothing_else_to_a_container_that_it_stops(
    docker_engine_host: DockerHost, fault: str, refused: bool
) -> None:
    """That is said with its line before anything starts."""
    scenario = scenario_file.parse(f"{HEAD}faults: [{fault}]", "a.yaml")
    said = refusals.refusal(scenario, replace(docker_engine_host, podman=True))
    assert (said is not None) is refused
    if said is not None:
        assert said.startswith("a.yaml:5:")
        assert "begin before that, such as `at: -1s`" in said
