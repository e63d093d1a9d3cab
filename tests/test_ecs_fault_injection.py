"""A task makes its own network bad by the words of the ECS agent, and good again; with real containers."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from stop_harness.ecs_endpoint import fault_injection
from stop_harness.ecs_endpoint.containers import EndpointClock
from stop_harness.ecs_endpoint.docker_containers import DockerContainers
from stop_harness.ecs_endpoint.server import EcsServer
from stop_harness.ecs_endpoint.state import Endpoint
from stop_harness.engines.docker.address import Address
from stop_harness.engines.docker.host import DockerHost, probe
from stop_harness.linux import packet_faults
from tests.ecs_support import client, hears, until
from tests.test_ecs_ends import FARGATE, SPOT

pytestmark = pytest.mark.docker

IMAGE = os.environ.get("STOP_HARNESS_BASE_IMAGE", "debian:bookworm-slim")
PATIENCE_S = 60
SERVES = """
import os, socket, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server = socket.create_server(("0.0.0.0", 8000))
print(os.environ.get("ECS_AGENT_URI"), flush=True)
print("ready", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b"hello")
    connection.close()
"""
HOLE = {"Port": 8000, "Protocol": "tcp", "TrafficType": "ingress"}


@pytest.fixture(scope="module", params=["by root", "by a container"])
def endpoint(docker_engine_host: DockerHost, request: pytest.FixtureRequest) -> Endpoint:
    """On the real engine: near, and reached through TCP, where a container of ours disturbs packets."""
    host = docker_engine_host
    if not host.local:
        pytest.skip("containers of this engine are not reached from here")
    if request.param == "by a container":
        host = probe(Address(request.getfixturevalue("tcp_engine")))
    elif not host.root_near or packet_faults.why_not() is not None:
        pytest.skip("it takes root on the engine's machine")
    return Endpoint(DockerContainers(f"faulty-{os.getpid()}-{int(host.local)}", host), EndpointClock())


@pytest.fixture(scope="module")
def server(endpoint: Endpoint) -> Iterator[EcsServer]:
    """What serves it."""
    serving = EcsServer(endpoint)
    yield serving
    serving.close()


@pytest.fixture(scope="module")
def ecs(server: EcsServer) -> Any:
    """boto3, and the task definitions."""
    made = client(server.url)
    app = {"name": "app", "image": IMAGE, "command": ["python3", "-c", SERVES], "memory": 64}
    made.register_task_definition(family="plain", containerDefinitions=[app], **FARGATE)
    made.register_task_definition(family="faulty", containerDefinitions=[app], **FARGATE, enableFaultInjection=True)
    return made


def runs(endpoint: Endpoint, ecs: Any, family: str) -> tuple[str, str, str]:
    """(ARN, `$ECS_AGENT_URI/fault/v1`, address) of a task that runs."""
    given = {"launchType": "FARGATE", "networkConfiguration": SPOT["networkConfiguration"]}
    arn = ecs.run_task(taskDefinition=family, **given)["tasks"][0]["taskArn"]

    def seen() -> dict[str, Any]:
        found: dict[str, Any] = ecs.describe_tasks(tasks=[arn])["tasks"][0]
        return found

    task = until(seen, lambda it: it["lastStatus"] == "RUNNING", PATIENCE_S)
    hears(ecs, arn, "app")
    run = next(it for it in endpoint.agent.runs.values() if it.arn == arn)
    (detail,) = task["attachments"]
    address = next(it["value"] for it in detail["details"] if it["name"] == "privateIPv4Address")
    return arn, f"{endpoint.agent.api_url}/api/{run.agent_id}/fault/v1", address


def post(url: str, body: object = None) -> tuple[int, dict[str, Any]]:
    """(status, answer)."""
    data = b"" if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, method="POST"), timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def took_s(address: str, patience_s: float = 2.0) -> float | None:
    """How long a connection with its answer takes; None: there was none by then."""
    begun = time.monotonic()
    try:
        with socket.create_connection((address, 8000), timeout=patience_s) as connection:
            connection.settimeout(patience_s)
            return time.monotonic() - begun if connection.recv(16) == b"hello" else None
    except OSError:
        return None


def test_a_port_of_a_task_falls_into_a_black_hole_until_it_is_stopped(endpoint: Endpoint, ecs: Any) -> None:
    """Seen from outside; `status` tells it, for this port alone."""
    arn, url, address = runs(endpoint, ecs, "faulty")
    hole = f"{url}/network-blackhole-port"
    assert took_s(address) is not None
    assert post(f"{hole}/status", HOLE) == (200, {"Status": "not-running"})
    assert post(f"{hole}/start", HOLE) == (200, {"Status": "running"})
    assert took_s(address) is None
    assert post(f"{hole}/status", HOLE)[0] == 429
    assert post(f"{hole}/stop", HOLE) == (200, {"Status": "stopped"})
    assert took_s(address, 20) is not None
    ecs.stop_task(task=arn)


def test_latency_is_there_for_its_sources_and_goes_with_the_task(endpoint: Endpoint, ecs: Any) -> None:
    """There is one latency or loss a task; what is still there when the task ends is ended."""
    arn, url, address = runs(endpoint, ecs, "faulty")
    gateway = address.rpartition(".")[0] + ".1"
    slow = {"DelayMilliseconds": 700, "JitterMilliseconds": 0, "Sources": [gateway]}
    assert post(f"{url}/network-latency/start", slow) == (200, {"Status": "running"})
    late_s = took_s(address, 20)
    assert late_s is not None
    assert late_s >= 0.6
    lossy = {"LossPercent": 100, "Sources": ["0.0.0.0/0"], "SourcesToFilter": [gateway]}
    answer = post(f"{url}/network-packet-loss/start", lossy)
    assert answer == (409, {"Error": "There is already one network latency fault running"})
    run = next(it for it in endpoint.agent.runs.values() if it.arn == arn)
    assert list(run.faults) == ["network-latency"]
    ecs.stop_task(task=arn)
    until(lambda: list(run.faults), lambda left: not left, PATIENCE_S)


def test_a_task_that_did_not_ask_for_it_is_refused(endpoint: Endpoint, ecs: Any) -> None:
    """400, with the agent's words; an unknown address is 404."""
    arn, url, address = runs(endpoint, ecs, "plain")
    refused = f"enableFaultInjection is not enabled for task: {arn}"
    assert post(f"{url}/network-blackhole-port/start", HOLE) == (400, {"Error": refused})
    assert took_s(address) is not None
    nobody = f"{endpoint.agent.api_url}/api/nobody/fault/v1/network-latency/stop"
    assert post(nobody)[0] == 404
    ecs.stop_task(task=arn)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("network-blackhole-port", None, "required request body is missing"),
        ("network-blackhole-port", {"Protocol": "tcp"}, "required parameter Port is missing"),
        ("network-blackhole-port", HOLE | {"Protocol": "icmp"}, "invalid value icmp for parameter Protocol"),
        ("network-blackhole-port", HOLE | {"Port": 70000}, "invalid value 70000 for parameter Port"),
        ("network-latency", {"DelayMilliseconds": 1}, "required parameter JitterMilliseconds is missing"),
        (
            "network-latency",
            {"DelayMilliseconds": 1, "JitterMilliseconds": 0, "Sources": ["nowhere"]},
            "invalid value nowhere for parameter Sources",
        ),
        (
            "network-packet-loss",
            {"LossPercent": 0, "Sources": ["10.0.0.1"]},
            "invalid value 0 for parameter LossPercent",
        ),
        ("network-packet-loss", {"LossPercent": 5}, "required parameter Sources is missing"),
        ("network-packet-loss", [5], "the request body is no JSON object"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused_with_the_member(kind: str, body: object, said: str) -> None:
    """Before anything is looked up."""
    data = b"" if body is None else json.dumps(body).encode()
    with pytest.raises(fault_injection.FaultRefused) as caught:
        fault_injection.wanted(kind, "start", data)
    assert (caught.value.status, str(caught.value)) == (400, said)
