"""The ECS endpoint's HTTP: bad input is refused in ECS's form, never with a traceback or a 500."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stop_harness.cli.main import cli
from stop_harness.ecs_endpoint import server, wire
from stop_harness.ecs_endpoint.errors import EcsError
from stop_harness.ecs_endpoint.operations import dispatch
from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from stop_harness.engines.ecs.api import EcsApi, EcsSettings
from stop_harness.errors import UsageError
from tests import aws_cli
from tests.ecs_support import Simulation, simulation

STOP = "AmazonEC2ContainerServiceV20141113.StopTask"


@pytest.fixture(scope="module")
def running() -> Iterator[Simulation]:
    """One server for all."""
    with simulation() as it:
        yield it


def post(it: Simulation, body: bytes, target: str | None = STOP, **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and body of a raw request."""
    host, port = it.server.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    sent = {"Content-Type": wire.CONTENT_TYPE, **({"X-Amz-Target": target} if target else {}), **headers}
    connection.request("POST", "/any/../path", body, sent)
    answer = connection.getresponse()
    assert answer.headers["x-amzn-RequestId"]
    assert answer.headers["Content-Type"] == wire.CONTENT_TYPE
    read = dict(json.loads(answer.read()))
    connection.close()
    return answer.status, read


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"task": NaN}', b"[" * 100_000, b'{"task": 1}', b'{"task": true}',
        b'{"task": ["x"]}', b'{"task": {}}', b'{"task": 1e400}', b'{"a": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_not_json_of_the_right_types_is_a_serialization_exception(running: Simulation, body: bytes) -> None:
    """With status 400 and both members of an error."""
    status, answer = post(running, body)
    assert (status, answer["__type"]) == (400, "SerializationException")
    assert answer["message"]


def test_missing_members_are_named(running: Simulation) -> None:
    """Null is as good as missing."""
    for body in (b"", b"{}", b'{"task": null}'):
        status, answer = post(running, body)
        assert (status, answer["__type"]) == (400, "InvalidParameterException")
        assert '"task"' in answer["message"]


def test_unknown_members_are_ignored(running: Simulation) -> None:
    """As awsJson asks of servers."""
    status, answer = post(running, b'{"task": "abc", "future": {"a": [1]}}')
    assert (status, answer["message"]) == (400, "taskId length should be one of [32,36]")


def test_numbers_and_enums_are_checked() -> None:
    """32 bits; the values of the model."""
    run = wire.service_model().operation_model("RunTask")
    with pytest.raises(EcsError, match="does not fit"):
        wire.parse(run, b'{"taskDefinition": "a", "count": 4294967296}')
    with pytest.raises(EcsError, match="launch type should be one of"):
        wire.parse(run, b'{"taskDefinition": "a", "launchType": "MOON"}')
    with pytest.raises(EcsError, match="enum value set"):
        wire.parse(run, b'{"taskDefinition": "a", "propagateTags": "MOON"}')
    with pytest.raises(EcsError, match="cannot be read as integer"):
        wire.parse(run, b'{"taskDefinition": "a", "count": 1.5}')


@pytest.mark.parametrize("target", [None, "", "StopTask", "Other.StopTask", STOP + "X", "AmazonEC2Conta.\u00e9"])
def test_unknown_targets(running: Simulation, target: str | None) -> None:
    """UnknownOperationException."""
    assert post(running, b"{}", target)[1]["__type"] == "UnknownOperationException"


def test_a_long_body_is_refused_unread(running: Simulation) -> None:
    """Ten megabytes: a clear error, and the client gets to read it."""
    status, answer = post(running, b'{"task": "' + b"x" * 10_000_000 + b'"}')
    assert (status, answer["__type"]) == (413, "RequestEntityTooLargeException")
    assert str(server.MAX_BODY_BYTES) in answer["message"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "a@127.0.0.1", "[::1"])
def test_a_host_that_is_not_loopback_is_refused(running: Simulation, host: str) -> None:
    """DNS rebinding: a web page's name that resolves to 127.0.0.1."""
    status, answer = post(running, b"{}", Host=host)
    assert (status, answer["__type"]) == (403, "AccessDeniedException")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000", "https://127.0.0.1:80", ""])
def test_a_page_of_another_site_is_refused(running: Simulation, origin: str) -> None:
    """Its browser sends where it comes from; another port of this machine is another site."""
    status, answer = post(running, b"{}", Origin=origin)
    assert (status, answer["__type"]) == (403, "AccessDeniedException")
    assert "Origin" in answer["message"]


def test_the_endpoints_own_origin_passes(running: Simulation) -> None:
    """It is refused for what is wrong with it, not for where it comes from."""
    assert post(running, b"{}", Origin=running.url)[1]["__type"] == "InvalidParameterException"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Simulation]:
    """A server with a token."""
    with simulation(token="open sesame") as it:
        yield it


@pytest.mark.parametrize("token", [None, "", "open", "open sesame!", "\xff"])
def test_without_the_token_nothing_is_answered(guarded: Simulation, token: str | None) -> None:
    """Operations and our own resources alike."""
    sent = {} if token is None else {server.TOKEN_HEADER: token}
    status, answer = post(guarded, b"{}", **sent)
    assert (status, answer["__type"]) == (403, "AccessDeniedException")
    assert "open sesame" not in answer["message"]
    host, port = guarded.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("GET", "/stop-harness/info", headers=sent)
    assert connection.getresponse().status == 403
    connection.close()


def test_boto3_sends_the_token_as_a_session_token(guarded: Simulation) -> None:
    """The credentials that people export."""
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}

    def ecs_client(token: str | None) -> Any:
        return boto3.client("ecs", region_name="us-east-1", endpoint_url=guarded.url, aws_session_token=token, **keys)

    assert ecs_client("open sesame").list_tasks()["taskArns"] == []
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDeniedException"):
        ecs_client("guess").list_tasks()
    with pytest.raises(botocore.exceptions.ClientError, match="set AWS_SESSION_TOKEN"):
        ecs_client(None).list_tasks()
    api = EcsApi(EcsSettings(endpoint_url=guarded.url, own_endpoint=True, token="open sesame"))
    assert api.ours("info") is not None


def test_the_aws_cli_sends_the_token_too(guarded: Simulation, tmp_path: Path) -> None:
    """AWS_SESSION_TOKEN, as `ecs serve` says when it starts."""
    command = [aws_cli.needed(), "ecs", "list-tasks", "--endpoint-url", guarded.url]
    for token, code in (("open sesame", 0), ("guess", 254)):
        variables = aws_cli.environment(tmp_path, {"AWS_SESSION_TOKEN": token})
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stderr


def test_a_token_that_no_header_can_carry_is_refused() -> None:
    """Before anything is served."""
    for token in ("", "a\nb", " a", "ä"):
        result = CliRunner().invoke(cli, ["ecs", "serve", "--token", token])
        assert isinstance(result.exception, UsageError)
        assert "--token" in str(result.exception)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "127.1.2.3", "[::1]:80", "LOCALHOST:1"])
def test_loopback_hosts_pass(running: Simulation, host: str) -> None:
    """Whatever they are called."""
    assert post(running, b"{}", Host=host)[1]["__type"] == "InvalidParameterException"


def test_hosts_of_a_server_that_others_may_reach() -> None:
    """Its own name and any literal address, but no other name."""
    assert server.is_allowed_host("10.1.1.1:80", "0.0.0.0")
    assert server.is_allowed_host("me.example", "me.example")
    assert not server.is_allowed_host("evil.example", "0.0.0.0")


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /stop-harness/tasks/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /stop-harness/tasks/%0a%2e%2e HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /stop-harness/info HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /stop-harness/tasks/x/logs?container=%0a%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /stop-harness/tasks/x/../../info HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[::1/stop-harness/info HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /stop-harness/\xff\xfe\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /stop-harness/tasks/x?" + b"a=b&" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"DELETE /stop-harness/tasks/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /stop-harness/info HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\nExpect: 100-continue\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\n" + b"A: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
def test_raw_requests_get_a_client_error(running: Simulation, raw: bytes) -> None:
    """4xx with a body in ECS's form; no CORS header for web pages."""
    host, port = running.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/"):
        assert head.split()[1].startswith(b"4")
        assert b"Access-Control" not in head
    assert {"__type", "message"} <= json.loads(body or answer).keys()
    assert b"Traceback" not in answer


def test_a_client_that_leaves_changes_nothing(running: Simulation) -> None:
    """Half a request, and the next client is served."""
    host, port = running.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert running.client.list_clusters()["clusterArns"]


def test_head_gets_a_head_only(running: Simulation) -> None:
    """Refused like every other method, and without the body that would be taken for the next answer."""
    host, port = running.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"HEAD /stop-harness/info HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 405")
    assert answer.endswith(b"\r\n\r\n")


def stop_request(task: str, reason: str) -> bytes:
    """A whole StopTask request."""
    body = json.dumps({"task": task, "reason": reason}).encode()
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: {STOP}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_client_that_leaves_in_the_middle_of_stop_task_or_repeats_it_changes_nothing() -> None:
    """A request that came whole stops the task once, with its own reason, whoever waits for the answer; half a request
    stops nothing."""
    with simulation({"app": ContainerScript(leaves_after_s=20)}) as it:
        arn = it.run({"name": "app"})
        host, port = it.server.url.removeprefix("http://").split(":")

        def send_and_leave(request: bytes) -> None:
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(request)
                # Reset instead of an orderly end: the answer meets a connection that is no more.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        whole = stop_request(arn, "half")
        for length in (len(whole) - 1, len(whole) // 2, 1):
            send_and_leave(whole[:length])
        assert it.task(arn)["desiredStatus"] == "RUNNING"
        send_and_leave(stop_request(arn, "first"))
        first = it.until(arn, lambda task: task["desiredStatus"] == "STOPPED")
        for number in range(20):
            send_and_leave(stop_request(arn, f"again {number}"))
        done = it.stopped(arn)
        assert done["stoppedReason"] == first["stoppedReason"] == "first"
        assert done["stoppingAt"] == first["stoppingAt"]
        assert done["containers"][0]["exitCode"] == 0
        assert it.containers.stop_calls == [("app", 30)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    "task cluster tasks reason taskDefinition count overrides tags resourceArn tagKeys service services serviceName "
    "family containerDefinitions maxResults nextToken clusters include containerInstances desiredCount".split()
)


@given(operation=st.sampled_from(sorted(dispatch.OPERATIONS)), request_=st.dictionaries(MEMBERS, JSON, max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_answered_or_refused(running: Simulation, operation: str, request_: dict[str, Any]) -> None:
    """No client can make the endpoint fail."""
    endpoint = running.server.endpoint
    status, answer = 400, b"{}"
    try:
        answer = dispatch.call(endpoint, wire.target(operation), json.dumps(request_).encode())
    except EcsError as refusal:
        status = refusal.status
    assert isinstance(json.loads(answer), dict)
    assert status == 400


def test_serving_others_needs_a_flag() -> None:
    """Whoever reaches it can start containers."""
    result = CliRunner().invoke(cli, ["ecs", "serve", "--host", "0.0.0.0"])
    assert isinstance(result.exception, UsageError)
    assert "--allow-remote" in str(result.exception)
