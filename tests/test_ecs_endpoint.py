"""The ECS endpoint through boto3, on scripted containers: stop timeouts of minutes in milliseconds."""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from stop_harness.ecs_endpoint.containers import ContainerProblem
from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from stop_harness.ecs_endpoint.state import EndpointSettings
from tests.ecs_support import simulation, until

APP: dict[str, Any] = {"name": "app"}
SLACK_S = 1000
"""Of virtual time: a loaded machine may be a second late."""

UNKNOWN_ID = "0123456789abcdef0123456789abcdef"


def seconds(task: dict[str, Any], begin: str, end: str) -> float:
    """Between two of a task's time stamps."""
    return float((task[end] - task[begin]).total_seconds())


def by_name(task: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Its containers."""
    return {item["name"]: item for item in task["containers"]}


# ── StopTask ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stop_task_answers_at_once_and_the_task_stops_behind_it() -> None:
    """The answer: desiredStatus STOPPED, lastStatus as it was; the end: killed after the default of 30 s."""
    with simulation({"app": ContainerScript(leaves_after_s=None)}) as it:
        arn = it.run(APP, tags=[{"key": "a", "value": "b"}], startedBy="me")
        assert it.task(arn, include=["TAGS"])["tags"] == [{"key": "a", "value": "b"}]
        answer = it.client.stop_task(task=arn, reason="because")["task"]
        assert (answer["desiredStatus"], answer["lastStatus"]) == ("STOPPED", "RUNNING")
        assert (answer["stopCode"], answer["stoppedReason"]) == ("UserInitiated", "because")
        assert answer["stoppingAt"] >= answer["startedAt"]
        assert "exitCode" not in answer["containers"][0]
        assert "stoppedAt" not in answer
        assert "executionStoppedAt" not in answer
        assert answer["tags"] == []
        done = it.stopped(arn)
        assert done["version"] > answer["version"]
        assert done["containers"][0]["exitCode"] == 137
        assert "reason" not in done["containers"][0]
        assert 30 <= seconds(done, "stoppingAt", "executionStoppedAt") < 30 + SLACK_S
        assert (done["startedBy"], done["group"], done["launchType"]) == ("me", "family:web", "EC2")
        assert it.task(arn, include=["TAGS"])["tags"] == []
        assert it.containers.stop_calls == [("app", 30)]


def test_stop_task_again_changes_nothing() -> None:
    """Neither while it stops nor afterwards: reason, stoppingAt, and no second call to the engine."""
    with simulation({"app": ContainerScript(leaves_after_s=20)}) as it:
        arn = it.run(APP)
        first = it.client.stop_task(task=arn)["task"]
        assert first["stoppedReason"] == "Task stopped by user"
        second = it.client.stop_task(task=arn, reason="other")["task"]
        it.stopped(arn)
        third = it.client.stop_task(task=arn, reason="other")["task"]
        for again in (second, third):
            assert again["stoppedReason"] == first["stoppedReason"]
            assert again["stoppingAt"] == first["stoppingAt"]
        assert third["lastStatus"] == "STOPPED"
        assert len(it.containers.stop_calls) == 1


@pytest.mark.parametrize("form", ["{id}", "{arn}", "arn:aws:ecs:us-east-1:123456789012:task/{id}"])
def test_every_form_of_the_task_stops_it(form: str) -> None:
    """Id, long ARN, short ARN."""
    with simulation() as it:
        arn = it.run(APP)
        it.client.stop_task(task=form.format(id=arn.rpartition("/")[2], arn=arn), cluster="default")
        assert it.stopped(arn)["containers"][0]["exitCode"] == 0


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"task": UNKNOWN_ID}, "InvalidParameterException", "The referenced task was not found."),
        ({"task": UNKNOWN_ID, "cluster": "nope"}, "ClusterNotFoundException", "Cluster not found."),
        ({"task": "abc"}, "InvalidParameterException", "taskId length should be one of [32,36]"),
        ({"task": ""}, "InvalidParameterException", "taskId length should be one of [32,36]"),
        (
            {"task": UNKNOWN_ID + "\n"},
            "InvalidParameterException",
            "Invalid identifier: Unexpected number of separators",
        ),
        (
            {"task": f"arn:aws:ecs:us-east-1:123456789012:task/other/{UNKNOWN_ID}"},
            "InvalidParameterException",
            "Invalid identifier: Identifier is for cluster other. Your cluster is default",
        ),
        ({"task": UNKNOWN_ID, "reason": "x" * 2000}, "InvalidParameterException", "The referenced task was not found."),
    ],
)
def test_the_errors_of_stop_task(request_: dict[str, str], code: str, message: str) -> None:
    """Word for word; modelled exceptions, status 400."""
    with simulation() as it:
        with pytest.raises(ClientError) as refusal:
            it.client.stop_task(**request_)
        error = refusal.value.response
        assert (error["Error"]["Code"], error["Error"]["Message"]) == (code, message)
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert type(refusal.value).__name__ == code


def test_a_hundred_stops_at_once_are_answered_quickly() -> None:
    """While containers drain for two minutes."""
    with simulation({"app": ContainerScript(leaves_after_s=None)}) as it:
        definition = it.register({**APP, "stopTimeout": 120})
        arns = [
            task["taskArn"]
            for _ in range(5)
            for task in it.client.run_task(taskDefinition=definition, count=10)["tasks"]
        ]

        def stop(arn: str) -> float:
            begin = time.perf_counter()
            it.client.stop_task(task=arn)
            return time.perf_counter() - begin

        with ThreadPoolExecutor(20) as pool:
            durations = list(pool.map(stop, arns * 2))
        assert statistics.median(durations) < 5  # a generous deadline; benchmarks measure it
        assert sorted({task["desiredStatus"] for task in it.client.describe_tasks(tasks=arns)["tasks"]}) == ["STOPPED"]


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_containers_stop_in_the_reverse_of_their_dependencies() -> None:
    """app → proxy → router: a chain costs the sum; `other`, which nobody names, stops at once."""
    scripts = {
        "app": ContainerScript(leaves_after_s=20),
        "proxy": ContainerScript(leaves_after_s=None),
        "router": ContainerScript(leaves_after_s=10, exit_code=3),
    }
    with simulation(scripts) as it:
        arn = it.run(
            {"name": "router"},
            {"name": "proxy", "stopTimeout": 15, "links": ["router"]},
            {"name": "app", "dependsOn": [{"containerName": "proxy", "condition": "START"}]},
            {"name": "other", "essential": False},
        )
        it.client.stop_task(task=arn)
        during = it.until(arn, lambda task: by_name(task)["app"]["lastStatus"] == "STOPPED")
        assert during["lastStatus"] == "STOPPING"
        assert by_name(during)["router"]["lastStatus"] == "RUNNING"
        done = it.stopped(arn)
        assert 45 <= seconds(done, "stoppingAt", "stoppedAt") < 45 + SLACK_S
        assert [name for name, _ in it.containers.stop_calls if name != "other"] == ["app", "proxy", "router"]
        codes = {name: item["exitCode"] for name, item in by_name(done).items()}
        assert codes == {"app": 0, "proxy": 137, "router": 3, "other": 0}


def test_containers_start_in_the_order_of_their_dependencies() -> None:
    """SUCCESS of an init container, HEALTHY of a database."""
    check = {"command": ["CMD-SHELL", "true"]}
    scripts = {"init": ContainerScript(runs_for_s=5), "db": ContainerScript(healthy_after_s=10)}
    with simulation(scripts) as it:
        arn = it.run(
            {"name": "init", "essential": False},
            {
                "name": "db",
                "healthCheck": check,
                "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}],
            },
            {"name": "app", "dependsOn": [{"containerName": "db", "condition": "HEALTHY"}]},
        )
        task = it.task(arn)
        created = [request.definition["name"] for request in it.containers.requests.values()]
        assert created == ["init", "db", "app"]
        assert task["healthStatus"] == "HEALTHY"
        assert by_name(task)["init"]["exitCode"] == 0
        assert seconds(task, "createdAt", "startedAt") >= 15


# ── ends that nobody asked for ───────────────────────────────────────────────────────────────────────────────────────


def test_an_essential_exit_stops_the_others_gracefully() -> None:
    """With their own stop timeouts; executionStoppedAt is not after stoppingAt."""
    with simulation({"app": ContainerScript(runs_for_s=5), "side": ContainerScript(leaves_after_s=None)}) as it:
        arn = it.run(APP, {"name": "side", "stopTimeout": 7, "essential": False}, wait=False)
        done = it.stopped(arn)
        assert (done["stopCode"], done["stoppedReason"]) == (
            "EssentialContainerExited",
            "Essential container in task exited",
        )
        assert {name: item["exitCode"] for name, item in by_name(done).items()} == {"app": 0, "side": 137}
        assert done["executionStoppedAt"] <= done["stoppingAt"]
        assert it.containers.stop_calls == [("side", 7)]


def test_failures_to_start_have_a_reason_and_no_exit_code() -> None:
    """A failed pull and a failed start."""
    pull = ContainerProblem("CannotPullContainerError", "Error response from daemon: not found")
    start = ContainerProblem("CannotStartContainerError", "Error response from daemon: no such file")
    with simulation({"pull": ContainerScript(pull_problem=pull), "start": ContainerScript(start_problem=start)}) as it:
        one = it.stopped(it.run({"name": "pull"}, wait=False))
        assert one["stopCode"] == "TaskFailedToStart"
        assert one["stoppedReason"] == one["containers"][0]["reason"] == pull.reason
        assert one["pullStartedAt"] <= one["pullStoppedAt"]
        other = it.stopped(it.run({"name": "start"}, wait=False))
        assert (other["stopCode"], other["stoppedReason"]) == ("TaskFailedToStart", "Task failed to start")
        assert other["containers"][0]["reason"] == start.reason
        for task in (one, other):
            assert "exitCode" not in task["containers"][0]
            assert "startedAt" not in task


def test_a_container_that_cannot_be_stopped_is_declared_stopped() -> None:
    """After five attempts, with the error as its reason and no exit code."""
    problem = ContainerProblem("CannotStopContainerError", "Error response from daemon: stuck")
    with simulation({"app": ContainerScript(stop_problem=problem)}) as it:
        arn = it.run(APP)
        it.client.stop_task(task=arn)
        done = it.stopped(arn)
        assert done["containers"][0]["reason"] == problem.reason
        assert "exitCode" not in done["containers"][0]
        assert len(it.containers.stop_calls) == 5


def test_a_task_that_is_stopped_while_its_image_is_pulled_never_runs() -> None:
    """PENDING in the answer; no start, no exit code."""
    with simulation({"app": ContainerScript(pulls_for_s=60)}) as it:
        arn = it.run(APP, wait=False)
        it.until(arn, lambda task: "pullStartedAt" in task)
        assert it.client.stop_task(task=arn)["task"]["lastStatus"] == "PENDING"
        done = it.stopped(arn)
        assert done["stopCode"] == "UserInitiated"
        assert "exitCode" not in done["containers"][0]
        assert it.containers.requests == {}


# ── describe, list, wait, forget ─────────────────────────────────────────────────────────────────────────────────────


def test_a_stopping_task_leaves_the_default_list_at_once() -> None:
    """ListTasks goes by what is desired; PENDING is never desired."""
    with simulation({"app": ContainerScript(leaves_after_s=None)}) as it:
        arn = it.run(APP)
        assert it.client.list_tasks()["taskArns"] == [arn]
        it.client.stop_task(task=arn)
        assert it.client.list_tasks()["taskArns"] == []
        assert it.client.list_tasks(desiredStatus="STOPPED", family="web")["taskArns"] == [arn]
        assert it.client.list_tasks(desiredStatus="PENDING")["taskArns"] == []
        with pytest.raises(it.client.exceptions.InvalidParameterException):
            it.client.list_tasks(startedBy="me", family="web")


def test_lists_come_in_pages() -> None:
    """nextToken is opaque, and nonsense is refused."""
    with simulation() as it:
        definition = it.register(APP)
        arns = [task["taskArn"] for task in it.client.run_task(taskDefinition=definition, count=7)["tasks"]]
        pages = it.client.get_paginator("list_tasks").paginate(PaginationConfig={"PageSize": 3})
        assert [page["taskArns"] for page in pages] == [arns[:3], arns[3:6], arns[6:]]
        for bad in ({"nextToken": "nonsense"}, {"maxResults": 101}, {"maxResults": 0}):
            with pytest.raises(it.client.exceptions.InvalidParameterException):
                it.client.list_tasks(**bad)


def test_stopped_tasks_are_described_for_an_hour() -> None:
    """Then they are MISSING, StopTask does not know them, and their containers are removed."""
    with simulation() as it:
        arn = it.run(APP)
        it.client.stop_task(task=arn)
        it.stopped(arn)
        it.clock.advance(3500)
        assert it.task(arn)["lastStatus"] == "STOPPED"
        it.clock.advance(200)
        failure = {"arn": arn, "reason": "MISSING"}
        assert it.client.describe_tasks(tasks=[arn.rpartition("/")[2]])["failures"] == [failure]
        with pytest.raises(it.client.exceptions.InvalidParameterException, match="task was not found"):
            it.client.stop_task(task=arn)
        until(lambda: it.containers.removed, bool)


def test_the_waiters_of_boto3() -> None:
    """tasks-running, tasks-stopped, and what tasks-running makes of a task that is gone."""
    with simulation({"app": ContainerScript(leaves_after_s=10)}) as it:
        arn = it.run(APP)
        quick = {"Delay": 0, "MaxAttempts": 600}
        it.client.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=quick)
        it.client.stop_task(task=arn)
        it.client.get_waiter("tasks_stopped").wait(tasks=[arn], WaiterConfig=quick)
        with pytest.raises(WaiterError):
            it.client.get_waiter("tasks_running").wait(tasks=[arn], WaiterConfig=quick)
        with pytest.raises(WaiterError):
            it.client.get_waiter("tasks_running").wait(tasks=[UNKNOWN_ID], WaiterConfig=quick)


def test_describe_tasks_refuses_an_empty_list() -> None:
    """With ECS's words."""
    with simulation() as it, pytest.raises(ClientError, match=r"Tasks cannot be empty\."):
        it.client.describe_tasks(tasks=[])


# ── run ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_run_task_refusals() -> None:
    """Count, overrides, unknown and inactive definitions, launch type."""
    with simulation() as it:
        arn = it.register(APP)
        for request, message in (
            ({"taskDefinition": arn, "count": 11}, "between 1 and 10"),
            (
                {"taskDefinition": arn, "overrides": {"containerOverrides": [{"name": "x"}]}},
                "Override for container named x is not a container in the TaskDefinition.",
            ),
            ({"taskDefinition": "nope"}, "TaskDefinition not found."),
            ({"taskDefinition": arn, "launchType": "FARGATE"}, "Task definition does not support launch_type FARGATE."),
            ({"taskDefinition": arn, "cluster": "nope"}, "Cluster not found."),
        ):
            with pytest.raises(ClientError, match=message):
                it.client.run_task(**request)
        it.client.deregister_task_definition(taskDefinition=arn)
        with pytest.raises(ClientError, match="TaskDefinition is inactive"):
            it.client.run_task(taskDefinition=arn)


def test_the_same_client_token_gives_the_same_tasks() -> None:
    """A repeated call starts nothing; another request under the same token is a conflict."""
    with simulation() as it:
        arn = it.register(APP)
        first = it.client.run_task(taskDefinition=arn, clientToken="t")["tasks"]
        again = it.client.run_task(taskDefinition=arn, clientToken="t")["tasks"]
        assert [task["taskArn"] for task in first] == [task["taskArn"] for task in again]
        with pytest.raises(it.client.exceptions.ConflictException):
            it.client.run_task(taskDefinition=arn, clientToken="t", count=2)


def test_overrides_reach_the_container() -> None:
    """Command and environment; the task shows them."""
    with simulation() as it:
        change = {"name": "app", "command": ["a"], "environment": [{"name": "A", "value": "2"}]}
        own = [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]
        arn = it.run({**APP, "environment": own}, overrides={"containerOverrides": [change]})
        made = next(iter(it.containers.requests.values()))
        assert made.definition["command"] == ["a"]
        given = {item["name"]: item["value"] for item in made.definition["environment"]}
        assert given.pop("ECS_AGENT_URI").startswith("http://127.0.0.1:")
        assert given == {"A": "2", "B": "3"}
        assert it.task(arn)["overrides"]["containerOverrides"] == [change]
        assert made.name.startswith("ecs-web-1-app-")
        assert made.labels["com.amazonaws.ecs.task-arn"] == arn


def test_fargate_ignores_the_instances_stop_timeout() -> None:
    """30 s there; ECS_CONTAINER_STOP_TIMEOUT on EC2."""
    fargate: dict[str, Any] = {
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": "256",
        "memory": "512",
    }
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
    with simulation(settings=EndpointSettings(agent_stop_timeout="1500ms")) as it:
        definition = it.register(APP, **fargate)
        for launch_type in ("FARGATE", "EC2"):
            started = it.client.run_task(
                taskDefinition=definition, launchType=launch_type, networkConfiguration=network
            )
            arn = started["tasks"][0]["taskArn"]
            it.until(arn, lambda task: task["lastStatus"] == "RUNNING")
            it.client.stop_task(task=arn)
            it.stopped(arn)
        assert it.containers.stop_calls == [("app", 30), ("app", 1)]


def test_start_task_wants_the_clusters_instance() -> None:
    """Another is MISSING."""
    with simulation() as it:
        arn = it.run(APP)
        instance = it.task(arn)["containerInstanceArn"]
        answer = it.client.start_task(taskDefinition="web", containerInstances=[instance, "other"])
        assert len(answer["tasks"]) == 1
        assert answer["failures"] == [{"arn": "other", "reason": "MISSING"}]


def test_a_restart_policy_brings_a_container_back() -> None:
    """The same container, while the task stays RUNNING; StopTask ends it for good."""
    with simulation({"app": ContainerScript(runs_for_s=120, exit_code=1, leaves_after_s=1)}) as it:
        arn = it.run({**APP, "restartPolicy": {"enabled": True, "restartAttemptPeriod": 60}})
        first = it.task(arn)["containers"][0]["runtimeId"]

        def told() -> dict[str, Any]:
            with urllib.request.urlopen(f"{it.url}/stop-harness/tasks/{arn}") as answer:
                return dict(json.load(answer)["containers"][0])

        until(told, lambda seen: seen["restartCount"] >= 2 and seen["lastStatus"] == "RUNNING")
        assert it.task(arn)["lastStatus"] == "RUNNING"
        it.client.stop_task(task=arn)
        done = it.stopped(arn)
        assert (done["stopCode"], done["containers"][0]["runtimeId"]) == ("UserInitiated", first)
        assert len(it.containers.stop_calls) == 1
        assert told()["exitCode"] == 1


# ── the rest of the API ──────────────────────────────────────────────────────────────────────────────────────────────


def test_task_definitions_have_revisions() -> None:
    """Register, describe, list, deregister, delete."""
    with simulation() as it:
        one, two = it.register(APP), it.register(APP)
        assert two.endswith("web:2")
        assert it.client.describe_task_definition(taskDefinition="web")["taskDefinition"]["revision"] == 2
        assert it.client.list_task_definitions(sort="DESC")["taskDefinitionArns"] == [two, one]
        assert it.client.list_task_definition_families(familyPrefix="w")["families"] == ["web"]
        still = it.client.delete_task_definitions(taskDefinitions=[one])["failures"]
        assert "ACTIVE" in still[0]["reason"]
        assert it.client.deregister_task_definition(taskDefinition=one)["taskDefinition"]["status"] == "INACTIVE"
        gone = it.client.delete_task_definitions(taskDefinitions=[one])["taskDefinitions"]
        assert gone[0]["status"] == "DELETE_IN_PROGRESS"
        with pytest.raises(ClientError, match=r"Unable to describe task definition\."):
            it.client.describe_task_definition(taskDefinition="nope")


def test_windows_is_refused_with_the_reason() -> None:
    """Its stop is an event that cannot be sent here."""
    with simulation() as it, pytest.raises(ClientError, match="CTRL_SHUTDOWN_EVENT"):
        it.register(APP, runtimePlatform={"operatingSystemFamily": "WINDOWS_SERVER_2019_FULL"})


def test_clusters_keep_their_tasks_apart() -> None:
    """Create, list, describe, delete only when empty; an ARN of another cluster is refused."""
    with simulation() as it:
        it.client.create_cluster(clusterName="blue", tags=[{"key": "k", "value": "v"}])
        definition = it.register(APP)
        arn = it.client.run_task(taskDefinition=definition, cluster="blue")["tasks"][0]["taskArn"]
        assert "/blue/" in arn
        assert it.client.list_tasks()["taskArns"] == []
        until(lambda: it.task(arn, cluster="blue"), lambda task: task["lastStatus"] == "RUNNING")
        with pytest.raises(it.client.exceptions.ClusterContainsTasksException):
            it.client.delete_cluster(cluster="blue")
        shown = it.client.describe_clusters(clusters=["blue", "nope"], include=["TAGS"])
        assert shown["clusters"][0]["runningTasksCount"] == 1
        assert [failure["reason"] for failure in shown["failures"]] == ["MISSING"]
        it.client.stop_task(task=arn, cluster="blue")
        until(lambda: it.task(arn, cluster="blue"), lambda task: task["lastStatus"] == "STOPPED")
        assert it.client.delete_cluster(cluster="blue")["cluster"]["status"] == "INACTIVE"
        with pytest.raises(it.client.exceptions.ClusterNotFoundException, match=r"Cluster not found\."):
            it.client.list_tasks(cluster="blue")


def test_tags_by_arn() -> None:
    """On tasks until they stop, on definitions for good."""
    with simulation() as it:
        arn = it.run(APP)
        it.client.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}])
        it.client.untag_resource(resourceArn=arn, tagKeys=["a"])
        assert it.client.list_tags_for_resource(resourceArn=arn)["tags"] == [{"key": "b", "value": "2"}]
        it.client.stop_task(task=arn)
        assert it.client.list_tags_for_resource(resourceArn=arn)["tags"] == []
        with pytest.raises(it.client.exceptions.ResourceNotFoundException):
            it.client.tag_resource(resourceArn=arn[:-1] + "x", tags=[])


def test_what_is_not_emulated_says_so() -> None:
    """A modelled operation of ECS that is not here."""
    with simulation() as it, pytest.raises(ClientError, match="not emulated by stop-harness") as refusal:
        it.client.list_account_settings()
    assert type(refusal.value).__name__ == "UnsupportedFeatureException"


def test_a_rolling_restart_replaces_tasks_by_the_same_stop_path() -> None:
    """New ones first, then the old are stopped by the service scheduler; deletion stops the rest."""
    with simulation({"app": ContainerScript(leaves_after_s=12)}) as it:
        definition = it.register({**APP, "stopTimeout": 20})

        def service() -> dict[str, Any]:
            return dict(it.client.describe_services(services=["s"])["services"][0])

        it.client.create_service(serviceName="s", taskDefinition=definition, desiredCount=2)
        until(service, lambda seen: seen["runningCount"] == 2)
        old = it.client.list_tasks(serviceName="s")["taskArns"]
        it.client.update_service(service="s", forceNewDeployment=True)
        until(service, lambda seen: len(seen["deployments"]) == 1 and seen["deployments"][0]["runningCount"] == 2)
        assert not set(old) & set(it.client.list_tasks(serviceName="s")["taskArns"])
        for arn in old:
            task = it.stopped(arn)
            assert task["stopCode"] == "ServiceSchedulerInitiated"
            assert task["stoppedReason"].startswith("Scaling activity initiated by (deployment ecs-svc/")
            assert 12 <= seconds(task, "stoppingAt", "stoppedAt") < 12 + SLACK_S
        with pytest.raises(ClientError, match="scaled above 0"):
            it.client.delete_service(service="s")
        it.client.update_service(service="s", desiredCount=0)
        until(service, lambda seen: seen["runningCount"] == 0)
        it.client.delete_service(service="s")
        until(service, lambda seen: seen["status"] == "INACTIVE")
        assert it.client.list_services()["serviceArns"] == []


# ── the measured stop ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_measured_stop_is_told_beside_the_api() -> None:
    """Signal, SIGKILL, duration of each container."""
    with simulation({"app": ContainerScript(leaves_after_s=None), "side": ContainerScript(leaves_after_s=2)}) as it:
        arn = it.run({**APP, "stopTimeout": 5}, {"name": "side"}, networkConfiguration={})
        it.client.stop_task(task=arn)
        it.stopped(arn)
        with urllib.request.urlopen(f"{it.server.url}/stop-harness/tasks/{arn.rpartition('/')[2]}") as answer:
            told = {item["name"]: item for item in json.load(answer)["containers"]}
        assert told["app"]["sigkill"] == "observed"
        assert told["app"]["stopSignal"] == "SIGTERM"
        assert told["app"]["shutdownDurationSeconds"] == pytest.approx(5, abs=0.5)
        assert (told["side"]["sigkill"], told["side"]["exitCode"]) == ("not_sent", 0)
