"""`ecs serve --events`: every change as EventBridge tells it, by the examples that AWS publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stop_harness.ecs_endpoint import events
from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from tests.ecs_support import Simulation, simulation, until
from tests.test_ecs_ends import FARGATE, SPOT, drain, interrupt, serve, service, tasks

ENVELOPE = {"version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"}
"""Of every example, as are the members below: Amazon ECS developer guide, "Amazon ECS events and EventBridge"."""

OF_A_TASK = {
    "attachments", "availabilityZone", "clusterArn", "connectivity", "connectivityAt", "containers", "cpu", "createdAt",
    "desiredStatus", "group", "lastStatus", "launchType", "memory", "overrides", "taskArn", "taskDefinitionArn",
    "updatedAt", "version",
}  # fmt: skip
OF_A_CONTAINER = {"containerArn", "cpu", "image", "lastStatus", "name", "networkInterfaces", "taskArn"}
OF_AN_INSTANCE = {
    "agentConnected", "attributes", "clusterArn", "containerInstanceArn", "ec2InstanceId", "registeredResources",
    "remainingResources", "status", "updatedAt", "version", "versionInfo",
}  # fmt: skip
OF_AN_ACTION = {"clusterArn", "createdAt", "eventName", "eventType"}
OF_A_DEPLOYMENT = {"deploymentId", "eventName", "eventType", "reason", "updatedAt"}

TASK, INSTANCE = "ECS Task State Change", "ECS Container Instance State Change"
ACTION, DEPLOYMENT = "ECS Service Action", "ECS Deployment State Change"
MEMBERS = {TASK: OF_A_TASK, INSTANCE: OF_AN_INSTANCE, ACTION: OF_AN_ACTION, DEPLOYMENT: OF_A_DEPLOYMENT}

ISO_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


class Heard:
    """A simulation, and the lines of its events."""

    def __init__(self, it: Simulation) -> None:
        self.it, self.lines = it, list[str]()
        events.listen(it.server.endpoint, self.lines.append)

    @property
    def all(self) -> list[dict[str, Any]]:
        """In their order."""
        with self.it.server.endpoint.agent.lock:
            return [json.loads(line) for line in self.lines]

    def of(self, kind: str, resource: str = "") -> list[dict[str, Any]]:
        """The details of one type, of one resource by its ARN."""
        return [it["detail"] for it in self.all if it["detail-type"] == kind and resource in it["resources"][0]]


@contextmanager
def heard(**scripts: ContainerScript) -> Iterator[Heard]:
    """An endpoint whose events are kept."""
    with simulation(scripts) as it:
        yield Heard(it)


def statuses(details: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(desiredStatus, lastStatus) of each."""
    return [(detail["desiredStatus"], detail["lastStatus"]) for detail in details]


def test_the_life_of_a_task_is_told_step_by_step() -> None:
    """A version each, none left out; the last event is what DescribeTasks shows."""
    with heard(app=ContainerScript(leaves_after_s=3, exit_code=7)) as told:
        arn = told.it.run({"name": "app", "stopTimeout": 9})
        told.it.client.stop_task(task=arn, reason="enough")
        shown = told.it.stopped(arn)
        seen = told.of(TASK, arn)
        assert statuses(seen) == [
            ("RUNNING", "PENDING"), ("RUNNING", "RUNNING"), ("STOPPED", "RUNNING"), ("STOPPED", "STOPPING"),
            ("STOPPED", "STOPPED"),
        ]  # fmt: skip
        assert [detail["version"] for detail in seen] == list(range(1, shown["version"] + 1))
        assert (seen[-1]["stopCode"], seen[-1]["stoppedReason"]) == ("UserInitiated", "enough")
        assert seen[-1]["containers"][0]["exitCode"] == 7
        assert seen[-1]["stoppedAt"] == events.iso_time(round(shown["stoppedAt"].timestamp() * 1000) * 1_000_000)


def test_every_event_has_the_published_shape() -> None:
    """Envelope and members of the examples; times as ISO 8601; neither health nor tags."""
    with heard() as told:
        serve(told.it, 1, tags=[{"key": "a", "value": "b"}])
        until(lambda: told.of(DEPLOYMENT), lambda seen: len(seen) == 2)
        for event in told.all:
            assert event.keys() == ENVELOPE
            assert (event["version"], event["source"], event["region"]) == ("0", "aws.ecs", "us-east-1")
            assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}Z", event["time"])
            detail = event["detail"]
            assert detail.keys() >= MEMBERS[event["detail-type"]]
            assert not detail.keys() & {"healthStatus", "tags"}
            for name, value in detail.items():
                assert not name.endswith("At") or ISO_TIME.fullmatch(value), name
            for container in detail.get("containers", ()):
                assert container.keys() >= OF_A_CONTAINER
                assert "healthStatus" not in container
        assert len({event["id"] for event in told.all}) == len(told.all)
        assert {event["detail-type"] for event in told.all} == set(MEMBERS)


def test_each_container_that_ends_is_told() -> None:
    """A sidecar's exit is a version of the task although the task goes on."""
    with heard(app=ContainerScript(), side=ContainerScript(runs_for_s=5, exit_code=3)) as told:
        arn = told.it.run({"name": "app"}, {"name": "side", "essential": False})
        until(lambda: told.of(TASK, arn)[-1]["containers"][1]["lastStatus"], lambda status: status == "STOPPED")
        seen = told.of(TASK, arn)
        assert (seen[-1]["lastStatus"], seen[-1]["containers"][1]["exitCode"]) == ("RUNNING", 3)
        assert [detail["version"] for detail in seen] == list(range(1, len(seen) + 1))


def test_a_spot_interruption_is_told_before_the_task_stops() -> None:
    """The notice: wanted STOPPED, last RUNNING, with the code that rules match."""
    with heard(app=ContainerScript(leaves_after_s=30)) as told:
        told.it.register({"name": "app"}, **FARGATE)
        arn = told.it.client.run_task(taskDefinition="web", **SPOT)["tasks"][0]["taskArn"]
        told.it.until(arn, lambda task: task["lastStatus"] == "RUNNING")
        interrupt(told.it, arn)
        told.it.stopped(arn)
        notice = next(detail for detail in told.of(TASK, arn) if detail["desiredStatus"] == "STOPPED")
        assert (notice["lastStatus"], notice["stopCode"]) == ("RUNNING", "SpotInterruption")
        assert notice["stoppedReason"] == "Your Spot Task was interrupted."
        assert "stoppedAt" not in notice
        assert not told.of(INSTANCE, arn), "Fargate has no instances"


def test_an_instance_is_told_of_its_tasks_and_its_draining() -> None:
    """Its versions count on without a gap."""
    with heard() as told:
        arn = told.it.run({"name": "app", "cpu": 256})
        host = told.it.task(arn)["containerInstanceArn"]
        told.it.client.stop_task(task=arn)
        told.it.stopped(arn)
        drain(told.it, host)
        drain(told.it, host)
        seen = told.of(INSTANCE, host)
        left = [next(item for item in detail["remainingResources"] if item["name"] == "CPU") for detail in seen]
        assert [item["integerValue"] for item in left] == [2048, 1792, 2048, 2048]
        assert [detail["status"] for detail in seen] == ["ACTIVE", "ACTIVE", "ACTIVE", "DRAINING"]
        assert [detail["version"] for detail in seen] == [1, 2, 3, 4]


def test_services_tell_of_deployments_and_their_steady_state() -> None:
    """In progress, steady, completed; again for the next deployment, and steady again after scale-in."""
    with heard() as told:
        serve(told.it, 2)
        until(lambda: told.of(ACTION), lambda seen: len(seen) == 1)
        told.it.client.update_service(service="s", forceNewDeployment=True)
        until(lambda: told.of(ACTION), lambda seen: len(seen) == 2)
        told.it.client.update_service(service="s", desiredCount=1)
        until(lambda: told.of(ACTION), lambda seen: len(seen) == 3)
        assert {detail["eventName"] for detail in told.of(ACTION)} == {"SERVICE_STEADY_STATE"}
        seen = told.of(DEPLOYMENT)
        progress, completed = "SERVICE_DEPLOYMENT_IN_PROGRESS", "SERVICE_DEPLOYMENT_COMPLETED"
        assert [detail["eventName"] for detail in seen] == [progress, completed, progress, completed]
        for detail in seen:
            what = "in progress" if detail["eventName"] == progress else "completed"
            assert detail["reason"] == f"ECS deployment {detail['deploymentId']} {what}."
        assert service(told.it)["deployments"][0]["id"] == seen[-1]["deploymentId"]
        assert len(tasks(told.it)) == 1


def test_a_service_that_cannot_start_its_tasks_says_so() -> None:
    """Once, as a warning; on a busy machine the task may have been seen running before, which is a steady state."""
    with heard(app=ContainerScript(runs_for_s=0, exit_code=1)) as told:
        told.it.client.create_service(
            serviceName="s", taskDefinition=told.it.register({"name": "app"}), desiredCount=1
        )  # fmt: skip

        def warnings() -> list[dict[str, Any]]:
            return [item for item in told.of(ACTION) if item["eventType"] == "WARN"]

        (warning,) = until(warnings, lambda seen: len(seen) == 1)
        assert warning["eventName"] == "SERVICE_TASK_START_IMPAIRED"


@pytest.mark.parametrize(("at_ns", "text"), [
    (0, "1970-01-01T00:00:00.000Z"),
    (1_579_802_278_103_999_999, "2020-01-23T17:57:58.103Z"),
])  # fmt: skip
def test_times_are_cut_to_milliseconds(at_ns: int, text: str) -> None:
    """As the API's own are."""
    assert events.iso_time(at_ns) == text
