"""What the ECS endpoint refuses, fills in and keeps apart as ECS does."""

from __future__ import annotations

import socket
import time
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from stop_harness.ecs_endpoint import server
from stop_harness.ecs_endpoint.state import EndpointSettings
from tests.ecs_support import simulation

APP = {"name": "app", "stopTimeout": 10}

NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
FARGATE: dict[str, Any] = {
    "requiresCompatibilities": ["FARGATE"],
    "networkMode": "awsvpc",
    "cpu": "256",
    "memory": "512",
}


@pytest.mark.parametrize(
    ("definition", "configuration", "said"),
    [
        (FARGATE, None, "Network Configuration must be provided when networkMode 'awsvpc' is specified."),
        (FARGATE, {"awsvpcConfiguration": {"subnets": []}}, "subnets can not be empty."),
        ({}, NETWORK, "Network Configuration is not valid for the given networkMode of this task definition."),
    ],
)
def test_the_network_of_a_task_is_asked_for_as_ecs_asks(
    definition: dict[str, Any], configuration: dict[str, Any] | None, said: str
) -> None:
    """By RunTask and CreateService alike."""
    with simulation() as it:
        arn = it.register(APP, **definition)
        more = {} if configuration is None else {"networkConfiguration": configuration}
        service = {"serviceName": "s", "desiredCount": 1}
        for call, needed in ((it.client.run_task, {}), (it.client.create_service, service)):
            with pytest.raises(ClientError) as refused:
                call(taskDefinition=arn, **needed, **more)
            assert refused.value.response["Error"] == {"Code": "InvalidParameterException", "Message": said}


def test_members_that_a_definition_asks_for_are_filled() -> None:
    """The network interface of an awsvpc task, its storage, the platform version that LATEST is, the architecture."""
    with simulation() as it:
        arm: dict[str, Any] = {"runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}}
        definition = it.register(APP, **FARGATE, **arm)
        told = it.client.describe_task_definition(taskDefinition=definition)["taskDefinition"]
        assert told["compatibilities"] == ["EC2", "FARGATE"]
        run = {"launchType": "FARGATE", "platformVersion": "LATEST", "networkConfiguration": NETWORK}
        started = it.client.run_task(taskDefinition=definition, enableExecuteCommand=True, **run)["tasks"][0]
        assert (started["platformVersion"], started["enableExecuteCommand"]) == ("1.4.0", True)
        assert started["ephemeralStorage"] == {"sizeInGiB": 20}
        assert {"name": "ecs.cpu-architecture", "value": "arm64"} in started["attributes"]
        (interface,) = started["attachments"]
        assert interface["type"] == "ElasticNetworkInterface"
        assert {"name": "subnetId", "value": "subnet-1"} in interface["details"]
        plain = it.client.describe_task_definition(taskDefinition=it.register(APP, family="plain"))["taskDefinition"]
        assert plain["compatibilities"] == ["EXTERNAL", "EC2"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {**FARGATE, "pidMode": "host"},
            "Tasks using the Fargate launch type do not support pidMode 'host'. "
            "The supported value for pidMode is 'task'.",
        ),
        ({**FARGATE, "ipcMode": "task"}, "Tasks using the Fargate launch type do not support ipcMode."),
        (
            {**FARGATE, "volumes": [{"name": "v", "host": {"sourcePath": "/v"}}]},
            "Fargate compatible task definitions do not support sourcePath",
        ),
    ],
)
def test_what_fargate_does_not_take_is_refused_in_its_words(more: dict[str, Any], said: str) -> None:
    """When it is registered, not when it runs."""
    with simulation() as it, pytest.raises(ClientError) as refused:
        it.register(APP, **more)
    assert refused.value.response["Error"] == {"Code": "ClientException", "Message": said}


def test_an_unknown_pid_mode_is_refused_in_ecs_words() -> None:
    """Also the empty one, which some tools send where nothing was chosen."""
    with (
        simulation() as it,
        pytest.raises(ClientError, match=r"^.*:  is not a valid value for pidMode\. The value must"),
    ):
        it.register(APP, pidMode="")


def test_each_region_has_resources_of_its_own() -> None:
    """By what the client signed for; an ARN of another region or account names nothing here."""
    with simulation(settings=EndpointSettings(account="111122223333")) as it:
        arn = it.run(APP)
        assert arn.startswith("arn:aws:ecs:us-east-1:111122223333:task/default/")
        there = boto3.client(
            "ecs", endpoint_url=it.url, region_name="eu-west-3", aws_access_key_id="x", aws_secret_access_key="x"
        )
        assert there.list_tasks()["taskArns"] == []
        created = there.create_cluster(clusterName="c")["cluster"]["clusterArn"]
        assert created == "arn:aws:ecs:eu-west-3:111122223333:cluster/c"
        with pytest.raises(ClientError, match=r"Identifier is for region us-east-1\. Your region is eu-west-3"):
            there.stop_task(task=arn)
        with pytest.raises(ClientError, match=r"Identifier is for account 999\. Your account is 111122223333"):
            it.client.stop_task(task=arn.replace("111122223333", "999"))
        assert it.task(arn)["desiredStatus"] == "RUNNING"


def test_a_request_that_drips_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps no connection open; the endpoint closes it without an answer."""
    monkeypatch.setattr(server, "REQUEST_LIMIT_S", 0.3)
    with simulation() as it, socket.create_connection(("127.0.0.1", int(it.url.rpartition(":")[2]))) as slow:
        slow.settimeout(0.05)
        slow.sendall(b"POST / HTTP/1.1\r\nX-A: ")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                slow.sendall(b"a")
                if slow.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except OSError:
                return
    pytest.fail("it is still open")
