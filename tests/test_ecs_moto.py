"""The same calls to moto and to us: every difference is listed with its reason, and no other exists."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.ecs_support import CREDENTIALS, simulation, until

FARGATE = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}
CONTAINERS = [
    {"name": "app", "image": "app", "memory": 10, "essential": True},
    {"name": "side", "image": "side", "memory": 10, "essential": False},
]

DIFFERENCES = {
    "stop: lastStatus": "moto stops within the call; ECS answers before anything stops",
    "stop: stopCode": "moto has none",
    "stop: stoppingAt": "moto has none",
    "stop: containers": "moto shows one container however many the definition has",
    "stop: version": "moto has none",
    "stop without a reason": "moto has no default; ECS says `Task stopped by user`",
    "stop again: stoppedReason": "moto overwrites the reason; ECS keeps the first",
    "stop unknown": "moto fails with an exception of its own; ECS says InvalidParameterException",
    "describe unknown": "moto leaves `failures` empty; ECS lists it as MISSING",
    "list after stop": "moto lists by no status unless asked; ECS lists what is desired to run",
    "instances of a new cluster": "moto has none before one is registered; here a cluster has this machine",
    "tags after stop": "moto keeps the tags of a task; ECS deletes them on stop",
}


def attempt(call: Callable[[], Any]) -> Any:
    """The result, or the error's code and message; any other failure counts as one."""
    try:
        return call()
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    except Exception as error:  # noqa: BLE001 - moto lets Python's own exceptions through
        return type(error).__name__


def record_instances(ecs: Any, document: str) -> dict[str, Any]:
    """A course of calls about container instances, in a cluster of its own."""
    seen: dict[str, Any] = {}
    cluster = {"cluster": "instances"}
    ecs.create_cluster(clusterName="instances")
    seen["instances of a new cluster"] = len(ecs.list_container_instances(**cluster)["containerInstanceArns"])
    made = ecs.register_container_instance(**cluster, instanceIdentityDocument=document)["containerInstance"]
    arn = made["containerInstanceArn"]
    seen["instance: ec2InstanceId"] = made["ec2InstanceId"] == json.loads(document)["instanceId"]
    seen["instance"] = made["status"], made["agentConnected"], made["runningTasksCount"], made["pendingTasksCount"]
    for which in ("registeredResources", "remainingResources"):
        seen[f"instance: {which}"] = [(item["name"], item["type"]) for item in made[which]]
    seen["describe no instances"] = attempt(lambda: ecs.describe_container_instances(**cluster, containerInstances=[]))
    unknown = ecs.describe_container_instances(**cluster, containerInstances=["nope"])
    seen["describe an unknown instance"] = [item["reason"] for item in unknown["failures"]]

    def turned(status: str) -> Any:
        answer = ecs.update_container_instances_state(**cluster, containerInstances=[arn], status=status)
        return answer["containerInstances"][0]["status"]

    for status in ("DRAINING", "ACTIVE", "REGISTERING"):
        seen[f"instance to {status}"] = attempt(partial(turned, status))
    return seen


def record(ecs: Any, ready: Callable[[str], None], subnet: str, group: str) -> dict[str, Any]:
    """One course of calls, as plain values that can be compared."""
    seen: dict[str, Any] = {}
    ecs.create_cluster(clusterName="default")
    definition = ecs.register_task_definition(family="web", containerDefinitions=CONTAINERS, **FARGATE)
    taken = definition["taskDefinition"]
    seen["register"] = (taken["family"], taken["revision"], taken["status"], len(taken["containerDefinitions"]))
    network = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group]}}
    run = {"taskDefinition": "web:1", "launchType": "FARGATE", "networkConfiguration": network}
    tags = [{"key": "a", "value": "b"}]
    arns = [ecs.run_task(**run, tags=tags)["tasks"][0]["taskArn"] for _ in range(2)]
    for arn in arns:
        ready(arn)
    seen["run"] = sorted(task["taskDefinitionArn"] for task in ecs.describe_tasks(tasks=arns)["tasks"])
    seen["list"] = len(ecs.list_tasks()["taskArns"])
    seen["list by family"] = len(ecs.list_tasks(family="web")["taskArns"])
    stopped = ecs.stop_task(task=arns[0], reason="one")["task"]
    for member in ("lastStatus", "stopCode", "desiredStatus", "stoppedReason"):
        seen[f"stop: {member}"] = stopped.get(member)
    seen["stop: stoppingAt"], seen["stop: version"] = "stoppingAt" in stopped, "version" in stopped
    seen["stop: containers"] = len(stopped["containers"])
    seen["stop without a reason"] = ecs.stop_task(task=arns[1])["task"].get("stoppedReason")
    seen["stop again: stoppedReason"] = ecs.stop_task(task=arns[0], reason="two")["task"].get("stoppedReason")
    seen["stop unknown"] = attempt(lambda: ecs.stop_task(task="0" * 32))
    seen["stop in an unknown cluster"] = attempt(lambda: ecs.stop_task(task="0" * 32, cluster="nope"))[0]
    seen["describe unknown"] = attempt(lambda: len(ecs.describe_tasks(tasks=["0" * 32])["failures"]))
    seen["describe empty"] = attempt(lambda: ecs.describe_tasks(tasks=[]))
    seen["list after stop"] = len(ecs.list_tasks()["taskArns"])
    seen["tags after stop"] = ecs.list_tags_for_resource(resourceArn=arns[0])["tags"]
    ecs.deregister_task_definition(taskDefinition="web:1")
    seen["definitions after deregister"] = ecs.list_task_definitions()["taskDefinitionArns"]
    return seen


@pytest.mark.oracle
def test_every_difference_from_moto_is_known() -> None:
    """None is missing from the list, and none of the list has gone."""
    from moto import mock_aws  # a second of CPU, which whoever only collects the tests need not pay

    with simulation() as it:

        def ready(arn: str) -> None:
            until(lambda: it.task(arn)["lastStatus"], lambda status: status == "RUNNING")

        ours = record(it.client, ready, "subnet-1", "sg-1")
        ours |= record_instances(it.client, json.dumps({"instanceId": "i-0123456789abcdef0"}))
    with mock_aws():
        ec2 = boto3.client("ec2", **CREDENTIALS)
        subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
        theirs = record(boto3.client("ecs", **CREDENTIALS), lambda _arn: None, subnet, group)
        machine = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        theirs |= record_instances(boto3.client("ecs", **CREDENTIALS), json.dumps({"instanceId": machine}))
    found = {what for what in ours if ours[what] != theirs[what]}
    assert found == set(DIFFERENCES), {what: (ours[what], theirs[what]) for what in found ^ set(DIFFERENCES)}


@pytest.mark.parametrize("what", sorted(DIFFERENCES))
def test_every_difference_has_a_reason(what: str) -> None:
    """One that says what each does."""
    assert "moto" in DIFFERENCES[what]
