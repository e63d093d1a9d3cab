"""A container that ran before the harness came is looked at without being touched."""

from __future__ import annotations

import os
import uuid
from typing import Any

import docker
import pytest

from stop_harness import signals
from stop_harness.engines.docker import running
from stop_harness.engines.docker.calls import Calls
from stop_harness.engines.docker.host import DockerHost
from stop_harness.model import SignalDisposition

BASE_IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
TRAPS = ["/bin/sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"]

ANSWER: dict[str, Any] = {
    "Id": "c0ffee" * 10 + "c0ff",
    "Name": "/shop-web-1",
    "Image": "sha256:1",
    "State": {"Running": False, "Pid": 0, "ExitCode": 3, "StartedAt": "2026-01-01T00:00:00Z", "FinishedAt": None},
    "Config": {"Image": "shop/web", "Cmd": ["serve"], "Entrypoint": ["/init"], "StopTimeout": 25, "StopSignal": "QUIT"},
    "HostConfig": {"AutoRemove": True, "RestartPolicy": {"Name": "always"}},
}


def test_what_inspect_says_is_read() -> None:
    """Its name, image, command, stop signal and timeout, and what becomes of it after its end."""
    found = running.described(ANSWER, same_kernel=True)
    assert (found.name, found.image, found.command) == ("shop-web-1", "shop/web", ("/init", "serve"))
    assert (found.stop_timeout_s, found.state.stop_signal) == (25, signals.NUMBERS["QUIT"])
    assert (found.auto_remove, found.restart_policy, found.pid_one) == (True, "always", None)


def test_what_inspect_leaves_out_has_the_engines_defaults() -> None:
    """A bare answer is enough."""
    state = {"Running": False, "ExitCode": 0}
    found = running.described({"Id": "ab" * 32, "State": state, "Config": {}}, same_kernel=True)
    assert (found.name, found.stop_timeout_s, found.restart_policy) == ("abababababab", None, "no")


@pytest.mark.docker
def test_a_running_container_shows_who_takes_the_stop_signal(
    docker_engine_host: DockerHost, client: docker.DockerClient
) -> None:
    """Found by its name, with the process table; it runs on afterwards."""
    name = f"watch-look-{uuid.uuid4().hex[:8]}"
    container = client.containers.run(BASE_IMAGE, TRAPS, name=name, detach=True, labels={"stop-harness.test": "look"})
    try:
        next(line for line in container.logs(stream=True) if b"ready" in line)
        calls = Calls(docker_engine_host.url, 60)
        found = running.look(client.api, calls, name, same_kernel=docker_engine_host.same_kernel)
        assert (found.id, found.name, found.image) == (container.id, name, BASE_IMAGE)
        for _ in range(50):
            table = running.processes(found, docker_engine_host, client.api)
            assert table is not None
            if (met := table[0].disposition(signals.SIGTERM)) is not SignalDisposition.BLOCKED:
                break  # dash blocks every signal for the moment in which it starts a program
        assert met is SignalDisposition.CAUGHT
        container.reload()
        assert container.status == "running"
        with pytest.raises(running.NoSuchContainer, match="no container 'no-such-"):
            running.look(client.api, calls, f"no-such-{name}", same_kernel=True)
    finally:
        container.remove(force=True)
