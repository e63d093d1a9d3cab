"""Spot, scale-in, draining and protection with real containers, and `ecs serve --events` as a process of its own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stop_harness.ecs_endpoint.containers import EndpointClock
from stop_harness.ecs_endpoint.docker_containers import DockerContainers
from stop_harness.ecs_endpoint.server import EcsServer
from stop_harness.ecs_endpoint.state import Endpoint
from stop_harness.engines.docker.host import DockerHost
from tests.ecs_support import client, hears, until
from tests.test_ecs_ends import FARGATE, SPOT

pytestmark = pytest.mark.docker

IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
HEARS = ["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"]
PATIENCE_S = 60


@pytest.fixture(scope="module")
def server(docker_engine_host: DockerHost) -> Iterator[EcsServer]:
    """One endpoint on the real engine."""
    serving = EcsServer(Endpoint(DockerContainers(f"ends-{os.getpid()}", docker_engine_host), EndpointClock()))
    yield serving
    serving.close()


@pytest.fixture(scope="module")
def ecs(server: EcsServer) -> Any:
    """boto3, and the task definitions."""
    made = client(server.url)
    app = {"name": "app", "image": IMAGE, "command": HEARS, "memory": 64, "stopTimeout": 20}
    made.register_task_definition(family="ec2", containerDefinitions=[app])
    made.register_task_definition(family="fargate", containerDefinitions=[app], **FARGATE)
    return made


def once(ecs: Any, arn: str, status: str) -> dict[str, Any]:
    """The task once its lastStatus is reached."""
    seen = until(lambda: ecs.describe_tasks(tasks=[arn])["tasks"][0], lambda it: it["lastStatus"] == status, PATIENCE_S)
    return dict(seen)


def serve(ecs: Any, name: str, count: int) -> list[str]:
    """A service on instances; the ARNs of its tasks once they run."""
    ecs.create_service(serviceName=name, taskDefinition="ec2", desiredCount=count)
    look = lambda: ecs.describe_services(services=[name])["services"][0]["runningCount"]  # noqa: E731
    until(look, lambda running: running == count, PATIENCE_S)
    arns = list(ecs.list_tasks(serviceName=name)["taskArns"])
    for arn in arns:
        hears(ecs, arn, "app")
    return arns


def interrupt(server: EcsServer, path: str) -> None:
    """A Spot interruption."""
    url = f"{server.url}/stop-harness/{path}/spot-interruption"
    urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=20).close()


def stop_of(server: EcsServer, arn: str) -> tuple[str, str, int]:
    """(signal, what became of SIGKILL, exit code) of its only container."""
    with urllib.request.urlopen(f"{server.url}/stop-harness/tasks/{arn}", timeout=20) as answer:
        (it,) = json.load(answer)["containers"]
    return it["stopSignal"], it["sigkill"], it["exitCode"]


def test_a_spot_interruption_sends_the_stop_signal_at_once(server: EcsServer, ecs: Any) -> None:
    """A container that hears it is gone long before its stop timeout, let alone the two minutes."""
    arn = ecs.run_task(taskDefinition="fargate", **SPOT)["tasks"][0]["taskArn"]
    once(ecs, arn, "RUNNING")
    hears(ecs, arn, "app")
    interrupt(server, f"tasks/{arn.rpartition('/')[2]}")
    task = once(ecs, arn, "STOPPED")
    assert (task["stopCode"], task["stoppedReason"]) == ("SpotInterruption", "Your Spot Task was interrupted.")
    assert stop_of(server, arn) == ("SIGTERM", "not_sent", 7)


def test_scale_in_stops_the_task_that_is_not_protected(server: EcsServer, ecs: Any) -> None:
    """The oldest is protected; the other one gets its stop signal."""
    oldest, other = serve(ecs, "scaled", 2)
    ecs.update_task_protection(cluster="default", tasks=[oldest], protectionEnabled=True)
    ecs.update_service(service="scaled", desiredCount=1)
    task = once(ecs, other, "STOPPED")
    assert task["stopCode"] == "ServiceSchedulerInitiated"
    assert stop_of(server, other) == ("SIGTERM", "not_sent", 7)
    assert once(ecs, oldest, "RUNNING")["desiredStatus"] == "RUNNING"
    ecs.stop_task(task=oldest)
    assert once(ecs, oldest, "STOPPED")["stopCode"] == "UserInitiated"
    ecs.delete_service(service="scaled", force=True)


PROTECTS = """
import os, signal, time, urllib.request
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
url = os.environ["ECS_AGENT_URI"] + "/task-protection/v1/state"
body = b'{"ProtectionEnabled": true, "ExpiresInMinutes": 60}'
print(urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=60).status, flush=True)
print("ready", flush=True)
while True:
    time.sleep(0.05)  # a handler that runs just before one long sleep would leave it asleep
"""


@pytest.mark.parametrize("family", ["ec2", "fargate"])
def test_a_container_protects_its_own_task(server: EcsServer, ecs: Any, family: str) -> None:
    """By the address in its environment, from its own network namespace."""
    name, fargate = f"protects-{family}", FARGATE if family == "fargate" else {}
    app = {"name": "app", "image": IMAGE, "command": ["python3", "-c", PROTECTS], "memory": 64}
    role = "arn:aws:iam::123456789012:role/task"
    ecs.register_task_definition(family=name, containerDefinitions=[app], taskRoleArn=role, **fargate)
    network = {"launchType": "FARGATE", "networkConfiguration": SPOT["networkConfiguration"]} if fargate else {}
    ecs.create_service(serviceName=name, taskDefinition=name, desiredCount=1, **network)
    (arn,) = until(lambda: ecs.list_tasks(serviceName=name)["taskArns"], bool, PATIENCE_S)
    once(ecs, arn, "RUNNING")
    hears(ecs, arn, "app")
    (shown,) = ecs.get_task_protection(cluster="default", tasks=[arn])["protectedTasks"]
    assert shown["protectionEnabled"]
    ecs.delete_service(service=name, force=True)
    ecs.stop_task(task=arn)
    assert stop_of(server, once(ecs, arn, "STOPPED")["taskArn"]) == ("SIGTERM", "not_sent", 7)


def test_draining_replaces_a_task_and_stops_it(server: EcsServer, ecs: Any) -> None:
    """Of a service; by the stop path of StopTask."""
    (served,) = serve(ecs, "drained", 1)
    host = ecs.describe_tasks(tasks=[served])["tasks"][0]["containerInstanceArn"]
    ecs.update_container_instances_state(containerInstances=[host], status="DRAINING")
    assert once(ecs, served, "STOPPED")["stopCode"] == "ServiceSchedulerInitiated"
    assert stop_of(server, served) == ("SIGTERM", "not_sent", 7)
    (replacement,) = ecs.list_tasks(serviceName="drained")["taskArns"]
    assert once(ecs, replacement, "RUNNING")["containerInstanceArn"] != host
    ecs.delete_service(service="drained", force=True)


def test_events_are_in_the_file_as_they_happen(docker_engine_host: DockerHost, tmp_path: Path) -> None:
    """A line each, appended to what is there, for its owner only; while the endpoint runs."""
    del docker_engine_host
    file = tmp_path / "events.jsonl"
    command = [sys.executable, "-m", "stop_harness", "ecs", "serve", "--events", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ecs = client(process.stdout.readline().rpartition(" ")[2].strip())
            app = {"name": "app", "image": IMAGE, "command": HEARS, "memory": 64}
            ecs.register_task_definition(family="web", containerDefinitions=[app])
            arn = ecs.run_task(taskDefinition="web")["tasks"][0]["taskArn"]
            once(ecs, arn, "RUNNING")
            hears(ecs, arn, "app")
            ecs.stop_task(task=arn)
            once(ecs, arn, "STOPPED")
            told = [json.loads(line) for line in file.read_text().splitlines()]
        finally:
            process.terminate()
    assert process.returncode == 0
    seen = [event["detail"] for event in told if event["resources"] == [arn]]
    assert [(it["desiredStatus"], it["lastStatus"]) for it in seen] == [
        ("RUNNING", "PENDING"), ("RUNNING", "RUNNING"), ("STOPPED", "RUNNING"), ("STOPPED", "STOPPING"),
        ("STOPPED", "STOPPED"),
    ]  # fmt: skip
    assert seen[-1]["containers"][0]["exitCode"] == 7
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_said_before_anything_is_served(tmp_path: Path) -> None:
    """Exit code 2, with the option and the reason."""
    command = [sys.executable, "-m", "stop_harness", "ecs", "serve", "--events", str(tmp_path / "no" / "events")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--events" in done.stderr
    assert "No such file or directory" in done.stderr
