"""`stop-task` on real containers: a `sleep` that is killed, the same under an init, and what was printed of both."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stop_harness.cli import main
from stop_harness.ecs_endpoint.containers import EndpointClock
from stop_harness.ecs_endpoint.docker_containers import DockerContainers
from stop_harness.ecs_endpoint.server import EcsServer
from stop_harness.ecs_endpoint.state import Endpoint
from stop_harness.engines.docker.host import DockerHost
from tests import aws_cli
from tests.ecs_support import client, hears, until
from tests.stop_task_support import NO_HOME

pytestmark = pytest.mark.docker

IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")


@pytest.fixture(scope="module")
def server(docker_engine_host: DockerHost) -> Iterator[EcsServer]:
    """One endpoint on the real engine."""
    containers = DockerContainers(f"test-{uuid.uuid4().hex[:8]}", docker_engine_host)
    serving = EcsServer(Endpoint(containers, EndpointClock()))
    yield serving
    serving.close()


def stop(server: EcsServer, arn: str, *arguments: str) -> Result:
    """`stop-harness stop-task`."""
    environment: dict[str, str | None] = {**dict.fromkeys(os.environ), **aws_cli.environment(NO_HOME, {})}
    return CliRunner(env=environment).invoke(
        main.cli, ["stop-task", "--endpoint-url", server.url, "--task", arn, *arguments]
    )


def start(ecs: Any, *containers: dict[str, Any]) -> str:
    """A running task's ARN."""
    full = [{"image": IMAGE, "command": ["sleep", "360"], "memory": 32, "stopTimeout": 2, **it} for it in containers]
    ecs.register_task_definition(family="stop-task", containerDefinitions=full)
    arn = str(ecs.run_task(taskDefinition="stop-task")["tasks"][0]["taskArn"])
    until(lambda: ecs.describe_tasks(tasks=[arn])["tasks"][0], lambda it: it["lastStatus"] == "RUNNING", 60)
    return arn


def test_a_real_kill_and_a_real_graceful_stop(server: EcsServer) -> None:
    """`sleep` as PID 1 is there after 2 s and gets SIGKILL; under an init it leaves at once with 143."""
    ecs = client(server.url)
    deaf = {"name": "deaf"}
    said = ["sh", "-c", "echo ready; exec sleep 360"]
    minded = {"name": "minded", "command": said, "linuxParameters": {"initProcessEnabled": True}}
    both, alone = start(ecs, deaf, minded), start(ecs, minded)
    hears(ecs, both, "minded")
    hears(ecs, alone, "minded")
    killed = stop(server, both)
    assert killed.exit_code == 1, killed.output
    rows = {line.split()[0]: line for line in killed.stdout.splitlines() if line}
    match = re.fullmatch(r"deaf +(\d\.?\d*) s +2 s +137 +observed", rows["deaf"])
    assert match, rows
    assert 2 <= float(match[1]) < 8
    assert re.fullmatch(r"minded +<?0\.\d+ s +2 s +143 +not sent", rows["minded"]), rows
    assert "killed: deaf: still running 2 s after SIGTERM; ended by SIGKILL (observed:" in killed.stdout
    graceful = stop(server, alone, "--output", "text", "--query", "task.containers[].exitCode")
    assert (graceful.exit_code, graceful.stdout) == (0, "143\n")
    assert "graceful: minded: exited with code 143" in graceful.stderr
