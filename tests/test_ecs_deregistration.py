"""DeregisterContainerInstance: the instance is gone for ECS, and its tasks only by force; their containers run on."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from stop_harness.ecs_endpoint.records import NS_PER_S, RETENTION_NS
from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from tests.ecs_support import Simulation, simulation, until
from tests.test_ecs_ends import APP, drain, evidence, instances, serve, service, tasks, ticks
from tests.test_ecs_events import INSTANCE, TASK, heard, statuses

FORCED = "Container instance deregistration forced by user"
AN_HOUR_S = RETENTION_NS / NS_PER_S + 60


def deregister(it: Simulation, arn: str, **more: Any) -> dict[str, Any]:
    """DeregisterContainerInstance."""
    return dict(it.client.deregister_container_instance(containerInstance=arn, **more)["containerInstance"])


def described(it: Simulation, arn: str) -> dict[str, Any]:
    """DescribeContainerInstances of one."""
    return dict(it.client.describe_container_instances(containerInstances=[arn])["containerInstances"][0])


def ended(it: Simulation, arn: str) -> None:
    """Somebody stops the only container of a task on the engine; wait until the endpoint knows."""
    it.containers.stop(it.task(arn)["containers"][0]["runtimeId"], 0)
    until(lambda: evidence(it, arn)["app"]["exitedAt"], lambda at: at is not None)


def test_an_idle_instance_is_inactive_at_once_and_described_for_an_hour() -> None:
    """It is listed no more, takes no tasks, and its agent is gone."""
    with simulation() as it:
        (host,) = instances(it)
        arn = host["containerInstanceArn"]
        answer = deregister(it, arn.rpartition("/")[2])
        assert (answer["containerInstanceArn"], answer["status"], answer["agentConnected"]) == (arn, "INACTIVE", True)
        assert it.client.list_container_instances()["containerInstanceArns"] == []
        assert (described(it, arn)["status"], described(it, arn)["agentConnected"]) == ("INACTIVE", False)
        with pytest.raises(ClientError, match=r"No Container Instances were found in your cluster\."):
            it.run(APP)
        started = it.client.start_task(taskDefinition="web", containerInstances=[arn])
        assert [item["reason"] for item in started["failures"]] == ["INACTIVE"]
        it.clock.advance(AN_HOUR_S)
        forgotten = it.client.describe_container_instances(containerInstances=[arn])
        assert [item["reason"] for item in forgotten["failures"]] == ["MISSING"]


def test_tasks_on_it_keep_it_unless_it_is_forced() -> None:
    """Running ones and those that are stopping; a stopped one does not."""
    slow = ContainerScript(leaves_after_s=None)
    with simulation({"app": slow}) as it:
        arn = it.run({**APP, "stopTimeout": 3000})
        host = it.task(arn)["containerInstanceArn"]
        for _ in range(2):
            with pytest.raises(it.client.exceptions.InvalidParameterException, match="Found running tasks on the"):
                deregister(it, host)
            it.client.stop_task(task=arn)
        it.containers.stop(it.task(arn)["containers"][0]["runtimeId"], 0)
        it.stopped(arn)
        assert deregister(it, host)["status"] == "INACTIVE"


def test_by_force_its_tasks_are_stopped_for_ecs_and_run_on() -> None:
    """Nobody sends them a signal, and what becomes of them changes nothing any more."""
    with simulation() as it:
        arn = it.run(APP, tags=[{"key": "a", "value": "b"}])
        host = it.task(arn)["containerInstanceArn"]
        before = it.task(arn)
        assert deregister(it, host, force=True)["runningTasksCount"] == 0
        task = it.task(arn, include=["TAGS"])
        assert (task["desiredStatus"], task["lastStatus"], task["stoppedReason"]) == ("STOPPED", "STOPPED", FORCED)
        assert (task["connectivity"], task["tags"], task["version"]) == ("DISCONNECTED", [], before["version"] + 1)
        assert "stopCode" not in task, "AWS publishes none"
        assert task["containers"] == before["containers"], "as ECS heard of it last"
        assert it.client.stop_task(task=arn)["task"] == {**task, "tags": []}
        ticks(it)
        assert it.containers.stop_calls == []
        ended(it, arn)
        assert it.task(arn, include=["TAGS"]) == task


def test_the_scheduler_starts_others_for_those_of_a_service() -> None:
    """On another instance if there is one; protection is nothing that an orphan needs."""
    with simulation() as it:
        first, second = serve(it, 2)
        it.client.update_task_protection(cluster="default", tasks=[first], protectionEnabled=True)
        other = it.client.register_container_instance()["containerInstance"]["containerInstanceArn"]
        deregister(it, it.task(first)["containerInstanceArn"], force=True)
        until(lambda: service(it)["runningCount"], lambda count: count == 2)
        assert not {first, second} & set(tasks(it))
        assert {it.task(arn)["containerInstanceArn"] for arn in tasks(it)} == {other}
        ticks(it)
        assert len(tasks(it)) == 2
        refused = it.client.update_task_protection(cluster="default", tasks=[first], protectionEnabled=True)
        assert [item["reason"] for item in refused["failures"]] == ["TASK_NOT_VALID"]


def test_an_orphan_is_cleared_away_when_it_has_ended() -> None:
    """Not after its hour, while it runs: it is nobody's to stop."""
    with simulation() as it:
        arn = it.run(APP)
        runtime_id = it.task(arn)["containers"][0]["runtimeId"]
        deregister(it, it.task(arn)["containerInstanceArn"], force=True)
        it.clock.advance(AN_HOUR_S)
        ticks(it)
        assert runtime_id not in it.containers.removed
        assert it.client.describe_tasks(tasks=[arn])["failures"][0]["reason"] == "MISSING"
        it.containers.stop(runtime_id, 0)
        until(lambda: list(it.containers.removed), lambda removed: runtime_id in removed)


def test_what_is_told_of_it() -> None:
    """The tasks' end first, then the instance's; nothing after that."""
    with heard() as told:
        arn = told.it.run(APP)
        host = told.it.task(arn)["containerInstanceArn"]
        deregister(told.it, host, force=True)
        ended(told.it, arn)
        seen = told.of(TASK, arn)
        assert statuses(seen)[-1] == ("STOPPED", "STOPPED")
        assert (seen[-1]["stoppedReason"], seen[-1]["connectivity"]) == (FORCED, "DISCONNECTED")
        last = told.of(INSTANCE, host)[-1]
        assert (last["status"], last["agentConnected"]) == ("INACTIVE", False)
        assert [event["resources"][0] for event in told.all][-1] == host


def test_mistakes() -> None:
    """Unknown, gone already, or of another cluster."""
    with simulation() as it:
        (host,) = instances(it)
        arn = host["containerInstanceArn"]
        drain(it, arn)
        deregister(it, arn)
        for wanted, words in (
            (arn, r"Referenced container instance [0-9a-f]{32} not found\."),
            ("nope", r"Referenced container instance nope not found\."),
            (arn.replace("/default/", "/other/"), "for cluster"),
        ):
            with pytest.raises(ClientError, match=words):
                deregister(it, wanted)
        with pytest.raises(ClientError, match="not registered"):
            it.client.register_container_instance(containerInstanceArn=arn)
