"""The same calls to moto and to us: every difference is listed with its reason, and no other exists."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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


# ── moto's own tests of ECS ──────────────────────────────────────────────────────────────────────────────────────────

MOTO_TESTS = os.environ.get("STOP_HARNESS_MOTO_TESTS")
"""The folder `tests/test_ecs` of moto 5.2.5's source distribution, unpacked; it is not in the package."""

ROOT = Path(__file__).parent.parent

NOT_APPLICABLE = {
    "asks for an operation that is not emulated, such as those on account settings and capacity providers": """
        test_put_capacity_providers test_poll_endpoint test_run_task_with_capacity_provider_strategy_ec2
        test_ecs_service_tag_resource test_update_cluster test_list_account_settings_initial test_put_account_setting
        test_list_account_setting test_list_account_settings_wrong_name test_delete_account_setting
        test_put_account_setting_changes_service_arn test_put_account_setting_changes_containerinstance_arn
        test_run_task_default_cluster_new_arn_format test_create_capacity_provider
        test_create_capacity_provider_with_tags test_describe_capacity_provider__using_name
        test_describe_capacity_provider__using_arn test_describe_capacity_provider__missing
        test_delete_capacity_provider test_update_capacity_provider
    """,
    "asks for DAEMON services, load balancers or a deployment controller that is not ECS, which are not emulated": """
        test_create_service_scheduling_strategy test_list_services test_describe_services_scheduling_strategy
        test_create_service_load_balancing test_remove_tg test_create_task_set test_create_task_set_errors
        test_describe_task_sets test_delete_task_set test_delete_task_set__using_partial_arn
        test_update_service_primary_task_set test_update_task_set test_create_task_sets_with_tags
        test_create_task_set_and_list_tasks
    """,
    "is about moto's CloudFormation, which calls moto's own ECS, never ours": """
        test_update_task_definition_family_through_cloudformation_should_trigger_a_replacement
        test_create_service_through_cloudformation test_create_service_through_cloudformation_without_desiredcount
        test_update_service_through_cloudformation_should_trigger_replacement
        test_update_service_through_cloudformation_without_desiredcount test_create_cluster_through_cloudformation
        test_create_cluster_through_cloudformation_no_name
        test_update_cluster_name_through_cloudformation_should_trigger_a_replacement
        test_create_task_definition_through_cloudformation test_cloudformation_container_definition_validation
    """,
    "moves the clock or the states of moto's own tasks": """
        test_wait_tasks_stopped test_task_state_transitions
    """,
}

STAY = {
    "moto has no cluster before one is made; here a cluster `default` exists, with this machine as its instance": """
        test_create_cluster test_list_unknown_service test_delete_service_exceptions test_update_service_exceptions
        test_describe_container_instances_exceptions test_describe_tasks_exceptions test_stop_task_exceptions
        test_list_container_instances test_start_task_exceptions test_deregister_container_instance
    """,
    "moto gives every instance an attribute without targetId; here it is refused, for ECS does not say": """
        test_attributes test_describe_container_instances_with_attributes
    """,
    "moto starts and stops within the call; ECS answers first, and its services reach their count later": """
        test_create_service test_describe_services test_update_service test_delete_service test_delete_service_force
        test_stop_task
    """,
    "moto lets a task of an awsvpc definition run without a networkConfiguration in services; ECS refuses it": """
        test_create_running_service test_create_running_service_bad_env_var
        test_create_running_service_negative_env_var test_create_service_rollout_state_completed
        test_create_service_failed_tasks_env_var test_create_service_failed_tasks_invalid_env_var
    """,
    "moto runs on Fargate what has no cpu and memory for the task; ECS refuses that": """
        test_run_task_with_capacity_provider_strategy_fargate test_run_task_awsvpc_network
        test_run_task_awsvpc_network__unknown_sec_group test_run_task_default_cluster
        test_run_task_uses_cluster_default_capacity_provider_strategy
    """,
    "moto leaves `tags` out where none were asked for; ECS shows an empty list": """
        test_create_cluster_with_tags test_describe_clusters test_describe_tasks_include_tags
    """,
    "moto shows no overrides where none were given; ECS names each container": """
        test_run_task test_start_task test_start_task_with_tags
    """,
    "moto gives ids with dashes; ECS has none in them since the long ARNs": """
        test_register_container_instance
    """,
    "moto combines startedBy with other filters; the API reference forbids it": """
        test_list_tasks_with_filters
    """,
    "moto checks subnets and security groups in its EC2; there is no EC2 here": """
        test_service_exceptions
    """,
    "moto counts what instances have left and refuses more; here everything fits: all of them are this machine": """
        test_resource_reservation_and_release_memory_reservation test_task_definitions_unable_to_be_placed
        test_task_definitions_with_port_clash
    """,
    "moto knows an instance type and an image of each instance; this machine has neither": """
        test_default_container_instance_attributes
    """,
    "moto words or orders it in another way, and no answer of ECS was found that decides": """
        test_register_task_definition test_register_task_definition_memory_validation_fargate
        test_describe_services_with_known_unknown_services test_create_service_errors test_run_task_exceptions
        test_list_tags_exceptions test_delete_task_definitions
    """,
}
"""Where moto's tests fail here, by the reason. Those where moto was nearer to ECS were mended."""


def names(table: dict[str, str]) -> list[str]:
    """Of the tests in a table, without their parameters."""
    return [name for listed in table.values() for name in listed.split()]


def test_every_one_of_motos_tests_that_fails_has_one_reason() -> None:
    """No test stands twice, and each reason says what moto does or why it does not apply."""
    listed = names(NOT_APPLICABLE) + names(STAY)
    assert len(set(listed)) == len(listed)
    assert all(reason.startswith("moto ") for reason in STAY)


@pytest.mark.oracle
@pytest.mark.skipif(not MOTO_TESTS, reason="STOP_HARNESS_MOTO_TESTS does not name moto's tests/test_ecs")
def test_motos_own_tests_fail_where_that_is_listed_and_nowhere_else(tmp_path: Path) -> None:
    """Against a fresh endpoint for each."""
    assert MOTO_TESTS
    report, folder = tmp_path / "report.xml", Path(MOTO_TESTS).resolve()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ["-c", str(tmp_path / "pytest.ini"), "-p", "moto_plugin", "-p", "no:cacheprovider", "--timeout=30"]
    command = [sys.executable, "-m", "pytest", "-q", *options, f"--junitxml={report}", str(folder)]
    path = os.pathsep.join((str(ROOT / "tests"), str(folder.parent.parent)))
    subprocess.run(command, cwd=folder.parent.parent, env={**os.environ, "PYTHONPATH": path}, check=False, timeout=1200)
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    assert len(cases) > 100
    failed = {str(it.get("name")).partition("[")[0] for it in cases if it.find("failure") is not None}
    assert failed == {*names(NOT_APPLICABLE), *names(STAY)}
