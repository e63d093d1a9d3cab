"""How ECS ends tasks beside StopTask: Spot interruptions, draining, scale-in, and the protection against that."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from tests.ecs_support import Simulation, simulation, until

APP: dict[str, Any] = {"name": "app", "stopTimeout": 5}
DEAF = {"app": ContainerScript(leaves_after_s=None)}
FARGATE: dict[str, Any] = {
    "requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512",
}  # fmt: skip
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
SPOT: dict[str, Any] = {
    "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}],
    "networkConfiguration": NETWORK,
}
ROLE = "arn:aws:iam::123456789012:role/task"
SLACK_S = 1000
"""Of this fast clock: a busy machine may be ten seconds late."""


def interrupt(it: Simulation, arn: str, query: str = "") -> dict[str, Any]:
    """Announce a Spot interruption to a task or an instance, by its ARN."""
    kind = "container-instances" if ":container-instance/" in arn else "tasks"
    url = f"{it.url}/stop-harness/{kind}/{arn.rpartition('/')[2]}/spot-interruption{query}"
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=20) as answer:
        return dict(json.load(answer))


def refusal(it: Simulation, path: str) -> tuple[int, str]:
    """Status and message of a refused POST."""
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(urllib.request.Request(f"{it.url}/stop-harness/{path}", method="POST"), timeout=20)
    told = json.load(error.value)
    error.value.close()
    return error.value.code, told["message"]


def evidence(it: Simulation, arn: str) -> dict[str, dict[str, Any]]:
    """The measured stop, by container."""
    with urllib.request.urlopen(f"{it.url}/stop-harness/tasks/{arn.rpartition('/')[2]}", timeout=20) as answer:
        return {item["name"]: item for item in json.load(answer)["containers"]}


def seconds(task: dict[str, Any], begin: str, end: str) -> float:
    """Between two of its times."""
    return float((task[end] - task[begin]).total_seconds())


def instances(it: Simulation) -> list[dict[str, Any]]:
    """As DescribeContainerInstances shows those that are listed."""
    arns = it.client.list_container_instances()["containerInstanceArns"]
    return list(it.client.describe_container_instances(containerInstances=arns)["containerInstances"])


def serve(it: Simulation, count: int, minimum: int = 100, maximum: int = 200, **more: Any) -> list[str]:
    """A service `s` of the container `app`; the ARNs of its tasks once they run."""
    it.client.create_service(
        serviceName="s",
        taskDefinition=it.register(APP),
        desiredCount=count,
        deploymentConfiguration={"minimumHealthyPercent": minimum, "maximumPercent": maximum},
        **more,
    )
    until(lambda: service(it), lambda seen: seen["runningCount"] == count)
    return tasks(it)


def service(it: Simulation) -> dict[str, Any]:
    """The service `s`."""
    return dict(it.client.describe_services(services=["s"])["services"][0])


def tasks(it: Simulation) -> list[str]:
    """The tasks of the service `s` that are wanted."""
    return list(it.client.list_tasks(serviceName="s")["taskArns"])


def drain(it: Simulation, arn: str) -> dict[str, Any]:
    """UpdateContainerInstancesState."""
    answer = it.client.update_container_instances_state(containerInstances=[arn], status="DRAINING")
    return dict(answer["containerInstances"][0])


def ticks(it: Simulation) -> None:
    """Let the service scheduler look many times."""
    begin_ns = it.clock.now_ns()
    until(it.clock.now_ns, lambda now_ns: now_ns - begin_ns > 10 * 10**9)


# ── Spot interruptions ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_of_fargate_spot_gets_its_stop_signal_with_the_notice() -> None:
    """Stop code and reason as published; its stop timeout holds as ever, and the two minutes are said."""
    with simulation(DEAF) as it:
        it.register(APP, **FARGATE)
        arn = it.client.run_task(taskDefinition="web", **SPOT)["tasks"][0]["taskArn"]
        it.until(arn, lambda task: task["lastStatus"] == "RUNNING")
        told = interrupt(it, arn)
        assert told["interrupted"] == arn
        notice = it.task(arn)
        assert (notice["desiredStatus"], notice["stopCode"]) == ("STOPPED", "SpotInterruption")
        assert notice["stoppedReason"] == "Your Spot Task was interrupted."
        assert told["endsAt"] - notice["stoppingAt"].timestamp() == pytest.approx(120, abs=60)
        assert interrupt(it, arn)["endsAtNs"] == told["endsAtNs"], "a second notice gives no more time"
        task = it.stopped(arn)
        assert task["stopCode"] == "SpotInterruption"
        assert 5 <= seconds(task, "stoppingAt", "stoppedAt") < 5 + SLACK_S
        assert (task["containers"][0]["exitCode"], evidence(it, arn)["app"]["sigkill"]) == (137, "observed")


def test_a_chain_has_two_minutes_in_all() -> None:
    """What is left of them is what the engine is told, and what the evidence says was granted."""
    names = ("app", "proxy", "router")
    with simulation(dict.fromkeys(names, ContainerScript(leaves_after_s=None))) as it:
        depends = {"app": "proxy", "proxy": "router"}
        containers = [
            {"name": name, "stopTimeout": 50, "dependsOn": [{"containerName": depends[name], "condition": "START"}]}
            if name in depends
            else {"name": name, "stopTimeout": 50}
            for name in names
        ]
        it.register(*containers, **FARGATE)
        arn = it.client.run_task(taskDefinition="web", **SPOT)["tasks"][0]["taskArn"]
        it.until(arn, lambda task: task["lastStatus"] == "RUNNING")
        ends_at = interrupt(it, arn)["endsAt"]
        task = it.stopped(arn)
        assert seconds(task, "stoppingAt", "stoppedAt") >= 100
        assert [name for name, _ in it.containers.stop_calls] == list(names)
        told = evidence(it, arn)
        assert [told[name]["stopTimeoutSeconds"] for name in names] == [50, 50, 50]
        granted = [told[name]["grantedSeconds"] for name in names]
        assert granted[0] == 50
        assert granted[1] <= 50  # less where a busy machine is 0.2 s late: 20 s of this clock
        assert sum(granted) <= 120, "three times 50 s are cut"
        assert max(0, int(ends_at - told["router"]["stopCalledAt"])) <= granted[2] <= 20
        assert granted == [granted_s for _, granted_s in it.containers.stop_calls]


def test_a_service_replaces_what_spot_took() -> None:
    """The interrupted task is not wanted any more, so that another one starts while it stops."""
    with simulation(DEAF) as it:
        it.register(APP, **FARGATE)
        it.client.create_service(serviceName="s", taskDefinition="web", desiredCount=1, **SPOT)
        until(lambda: service(it), lambda seen: seen["runningCount"] == 1)
        (old,) = tasks(it)
        interrupt(it, old)
        assert it.stopped(old)["stopCode"] == "SpotInterruption"
        until(lambda: service(it), lambda seen: seen["runningCount"] == 1)
        assert tasks(it) != [old]


@pytest.mark.parametrize("draining", [True, False])
def test_an_interrupted_instance_takes_its_tasks_along(draining: bool) -> None:
    """With draining the tasks of services stop first; who stands alone hears nothing until the instance is gone."""
    scripts = {"app": ContainerScript(leaves_after_s=None), "alone": ContainerScript()}
    with simulation(scripts) as it:
        (served,) = serve(it, 1, minimum=0)
        alone = it.run({"name": "alone"}, family="alone")
        host = it.task(alone)["containerInstanceArn"]
        ec2_id = instances(it)[0]["ec2InstanceId"]
        told = interrupt(it, host, "" if draining else "?draining=false")
        assert told["interrupted"] == host
        ended = {arn: it.stopped(arn) for arn in (served, alone)}
        gone = f"Host EC2 (instance {ec2_id}) terminated."
        assert (ended[alone]["stopCode"], ended[alone]["stoppedReason"]) == ("TerminationNotice", gone)
        assert -1 <= ended[alone]["stoppingAt"].timestamp() - told["endsAt"] < SLACK_S
        if draining:
            assert ended[served]["stopCode"] == "ServiceSchedulerInitiated"
            assert ended[served]["stoppedAt"] < ended[alone]["stoppingAt"]
        else:
            assert ended[served]["stopCode"] == "TerminationNotice"
        (shown,) = it.client.describe_container_instances(containerInstances=[host])["containerInstances"]
        assert (shown["status"], shown["agentConnected"], shown["statusReason"]) == ("INACTIVE", False, gone)
        until(lambda: service(it), lambda seen: seen["runningCount"] == 1)
        assert host not in it.client.list_container_instances()["containerInstanceArns"]


def test_interruptions_that_cannot_be_say_why() -> None:
    """4xx in ECS's form, with what is possible instead."""
    with simulation() as it:
        on_instance = it.run({"name": "app"}).rpartition("/")[2]
        it.register({"name": "app"}, family="fargate", **FARGATE)
        run = it.client.run_task(taskDefinition="fargate", launchType="FARGATE", networkConfiguration=NETWORK)
        on_demand = run["tasks"][0]["taskArn"].rpartition("/")[2]
        instance = instances(it)[0]["containerInstanceArn"].rpartition("/")[2]
        for path, status, words in (
            (f"tasks/{on_instance}/spot-interruption", 400, f"container-instances/{instance}/spot-interruption"),
            (f"tasks/{on_demand}/spot-interruption", 400, "FARGATE_SPOT"),
            (f"tasks/{'0' * 32}/spot-interruption", 404, "not found"),
            ("container-instances/nope/spot-interruption", 404, "not found"),
            (f"container-instances/{instance}/spot-interruption?draining=perhaps", 400, "true or false"),
            (f"tasks/{on_instance}", 404, "spot-interruption"),
            ("info", 404, "spot-interruption"),
        ):
            assert (refusal(it, path)[0], words in refusal(it, path)[1]) == (status, True), path
        assert it.task(it.client.list_tasks(family="web")["taskArns"][0])["desiredStatus"] == "RUNNING"


# ── draining ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_draining_stops_the_tasks_of_services_and_replaces_them_first() -> None:
    """By the service's own minimum of 100 %: each is stopped when another runs elsewhere. Who stands alone stays."""
    with simulation({"app": ContainerScript(leaves_after_s=12)}) as it:
        served = serve(it, 2)
        alone = it.run({"name": "alone"}, family="alone")
        (instance,) = instances(it)
        assert (instance["runningTasksCount"], instance["status"]) == (3, "ACTIVE")
        assert drain(it, instance["containerInstanceArn"])["status"] == "DRAINING"
        for arn in served:
            task = it.stopped(arn)
            assert task["stopCode"] == "ServiceSchedulerInitiated"
            assert task["stoppedReason"].startswith("Scaling activity initiated by (deployment ecs-svc/")
        until(lambda: service(it), lambda seen: seen["runningCount"] == 2)
        for arn in tasks(it):
            task = it.task(arn)
            assert task["containerInstanceArn"] != instance["containerInstanceArn"]
            assert task["startedAt"] <= max(it.task(old)["stoppingAt"] for old in served)
        assert it.task(alone)["lastStatus"] == "RUNNING"
        assert [shown["status"] for shown in instances(it)] == ["DRAINING", "ACTIVE"]


def test_no_new_task_comes_to_an_instance_that_drains() -> None:
    """RunTask finds none, StartTask is refused it; both work again once it is ACTIVE."""
    with simulation() as it:
        it.run({"name": "app"})
        arn = instances(it)[0]["containerInstanceArn"]
        drain(it, arn)
        with pytest.raises(ClientError, match="No Container Instances were found in your cluster"):
            it.client.run_task(taskDefinition="web")
        refused = it.client.start_task(taskDefinition="web", containerInstances=[arn])
        assert (refused["tasks"], refused["failures"]) == ([], [{"arn": arn, "reason": "INACTIVE"}])
        it.client.update_container_instances_state(containerInstances=[arn], status="ACTIVE")
        assert it.client.run_task(taskDefinition="web")["tasks"][0]["containerInstanceArn"] == arn


def test_a_pending_task_of_a_service_is_stopped_at_once_when_its_instance_drains() -> None:
    """Whatever the service's minimum."""
    with simulation({"app": ContainerScript(pulls_for_s=10_000)}) as it:
        it.client.create_service(serviceName="s", taskDefinition=it.register(APP), desiredCount=1)
        (pending,) = until(lambda: tasks(it), lambda seen: len(seen) == 1)
        drain(it, it.task(pending)["containerInstanceArn"])
        task = it.until(pending, lambda seen: seen["desiredStatus"] == "STOPPED")
        assert (task["stopCode"], "startedAt" in task) == ("ServiceSchedulerInitiated", False)


# ── protection ───────────────────────────────────────────────────────────────────────────────────────────────────────


def protect(it: Simulation, *arns: str, enabled: bool = True, **more: Any) -> dict[str, Any]:
    """UpdateTaskProtection."""
    answer = it.client.update_task_protection(
        cluster="default", tasks=list(arns), protectionEnabled=enabled, **more
    )  # fmt: skip
    return dict(answer)


def test_scale_in_takes_another_than_the_protected_task() -> None:
    """Even the oldest one stays, for two hours unless something else is asked for; then it goes like any other."""
    with simulation() as it:
        oldest, other = serve(it, 2)
        (shown,) = protect(it, oldest)["protectedTasks"]
        assert (shown["taskArn"], shown["protectionEnabled"]) == (oldest, True)
        left_s = shown["expirationDate"].timestamp() - it.clock.now_ns() / 1e9
        assert left_s == pytest.approx(7200, abs=SLACK_S)
        it.client.update_service(service="s", desiredCount=1)
        it.stopped(other)
        it.client.update_service(service="s", desiredCount=0)
        ticks(it)
        assert it.task(oldest)["desiredStatus"] == "RUNNING"
        it.clock.advance(7200)
        assert it.stopped(oldest)["stopCode"] == "ServiceSchedulerInitiated"


def test_a_deployment_waits_for_protected_tasks() -> None:
    """The new task runs beside the old one until its protection is taken back."""
    with simulation() as it:
        (old,) = serve(it, 1)
        protect(it, old, expiresInMinutes=2880)
        it.client.update_service(service="s", forceNewDeployment=True)
        until(lambda: service(it), lambda seen: seen["runningCount"] == 2)
        ticks(it)
        assert [one["status"] for one in service(it)["deployments"]] == ["PRIMARY", "ACTIVE"]
        protect(it, old, enabled=False)
        assert it.stopped(old)["stopCode"] == "ServiceSchedulerInitiated"
        until(lambda: service(it), lambda seen: len(seen["deployments"]) == 1)


def test_protection_is_no_help_against_stop_task_or_draining() -> None:
    """It is against the scheduler's own choice only."""
    with simulation() as it:
        first, second = serve(it, 2)
        protect(it, first, second)
        it.client.stop_task(task=first)
        assert it.stopped(first)["stopCode"] == "UserInitiated"
        drain(it, it.task(second)["containerInstanceArn"])
        assert it.stopped(second)["stopCode"] == "ServiceSchedulerInitiated"


def test_what_cannot_be_protected_is_a_failure() -> None:
    """A task of no service, one that is unknown, one that stops, and one more than the service wants."""
    with simulation() as it:
        first, second = serve(it, 2)
        alone = it.run({"name": "alone"}, family="alone")
        unknown = f"{alone.rpartition('/')[0]}/{'0' * 32}"
        answer = protect(it, alone, unknown, first)
        assert [failure["reason"] for failure in answer["failures"]] == ["TASK_NOT_VALID", "MISSING"]
        assert [task["taskArn"] for task in answer["protectedTasks"]] == [first]
        it.client.update_service(service="s", desiredCount=1)
        it.stopped(second)
        it.client.update_service(service="s", forceNewDeployment=True)
        until(lambda: service(it), lambda seen: seen["runningCount"] == 2)
        (new,) = [arn for arn in tasks(it) if arn != first]
        assert protect(it, new)["failures"][0]["reason"] == "DEPLOYMENT_BLOCKED"
        shown = it.client.get_task_protection(cluster="default")["protectedTasks"]
        assert {task["taskArn"]: task["protectionEnabled"] for task in shown} == {first: True, new: False}
        failed = it.client.get_task_protection(cluster="default", tasks=[second])["failures"]
        assert [failure["reason"] for failure in failed] == ["TASK_NOT_VALID"]
        for minutes in (0, 2881):
            with pytest.raises(ClientError, match="expiresInMinutes should be between 1 and 2880"):
                protect(it, first, expiresInMinutes=minutes)
        with pytest.raises(ClientError, match="Tasks cannot be empty"):
            protect(it)


def agent(it: Simulation, arn: str, body: str | None = None) -> tuple[int, dict[str, Any]]:
    """(status, answer) of the agent's API, as a container of the task asks it: PUT with a body, else GET."""
    own = it.server.endpoint.agent
    url = f"{own.api_url}/api/{own.runs[arn.rpartition('/')[2]].agent_id}/task-protection/v1/state"
    return asked(url, body)


def asked(url: str, body: str | None = None) -> tuple[int, dict[str, Any]]:
    """(status, answer)."""
    request = urllib.request.Request(url, None if body is None else body.encode(), method="PUT" if body else "GET")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_container_protects_its_own_task() -> None:
    """With the agent's answers, and the effect that UpdateTaskProtection has."""
    with simulation() as it:
        it.register(APP, family="role", taskRoleArn=ROLE)
        it.client.create_service(serviceName="s", taskDefinition="role", desiredCount=2)
        until(lambda: service(it), lambda seen: seen["runningCount"] == 2)
        first, second = tasks(it)
        unprotected = {"ExpirationDate": None, "ProtectionEnabled": False, "TaskArn": first}
        assert agent(it, first) == (200, {"protection": unprotected})
        status, answer = agent(it, first, '{"ProtectionEnabled": true, "ExpiresInMinutes": 60}')
        shown = it.client.get_task_protection(cluster="default", tasks=[first])["protectedTasks"][0]
        expires = f"{shown['expirationDate']:%Y-%m-%dT%H:%M:%S}Z"
        assert shown["expirationDate"].timestamp() - it.clock.now_ns() / 1e9 == pytest.approx(3600, abs=SLACK_S)
        assert (status, answer) == (
            200,
            {"protection": {"ExpirationDate": expires, "ProtectionEnabled": True, "TaskArn": first}},
        )
        it.client.update_service(service="s", desiredCount=1)
        it.stopped(second)
        assert agent(it, first, '{"protectionenabled": false}') == (200, {"protection": unprotected})
        _, answer = agent(it, second, '{"ProtectionEnabled": true}')
        assert (answer["failure"]["Arn"], answer["failure"]["Reason"]) == (second, "TASK_NOT_VALID")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", "InvalidParameterException"),
        ("[]", "InvalidParameterException"),
        ('{"ProtectionEnabled": "true"}', "InvalidParameterException"),
        ('{"ProtectionEnabled": true, "ExpiresInMinutes": 1.5}', "InvalidParameterException"),
        ('{"ProtectionEnabled": true, "Minutes": 1}', "InvalidParameterException"),
        ('{"ExpiresInMinutes": 1}', "InvalidParameterException"),
        ('{"ProtectionEnabled": true, "ExpiresInMinutes": 2881}', "InvalidParameterException"),
    ],
)
def test_what_the_agent_refuses(body: str, code: str) -> None:
    """A body that it cannot decode, one without the switch, and what ECS refuses."""
    with simulation() as it:
        it.register(APP, family="role", taskRoleArn=ROLE)
        it.client.create_service(serviceName="s", taskDefinition="role", desiredCount=1)
        until(lambda: service(it), lambda seen: seen["runningCount"] == 1)
        (arn,) = tasks(it)
        status, answer = agent(it, arn, body)
        assert (status, answer["error"]["Code"]) == (400, code)
        assert not it.client.get_task_protection(cluster="default", tasks=[arn])["protectedTasks"][0][
            "protectionEnabled"
        ]


def test_the_agent_knows_who_asks() -> None:
    """403 without a task role, 404 for an address of no task; containers reach no operation of ECS there."""
    with simulation() as it:
        arn = it.run(APP)
        message = "Invalid Request: no task IAM role credentials available for task"
        error = {"Arn": arn, "Code": "AccessDeniedException", "Message": message}
        assert agent(it, arn) == (403, {"error": error})
        url = it.server.endpoint.agent.api_url
        unknown = {"Code": "ResourceNotFoundException", "Message": "Failed to find a task for the request"}
        assert asked(f"{url}/api/{arn.rpartition('/')[2]}/task-protection/v1/state") == (404, {"error": unknown})
        assert asked(f"{url}/stop-harness/info")[0] == 404
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(urllib.request.Request(f"{url}/", b"{}"), timeout=20)


# ── container instances ──────────────────────────────────────────────────────────────────────────────────────────────


def test_an_instance_is_this_machine_and_shows_what_its_tasks_leave() -> None:
    """CPU, memory and ports of the engine's machine; each registration is one more name of it."""
    with simulation() as it:
        ports = [{"containerPort": 80, "hostPort": 8080}]
        it.run({"name": "app", "cpu": 512, "memory": 1024, "portMappings": ports})
        document = json.dumps({"instanceId": "i-0123456789abcdef0"})
        made = it.client.register_container_instance(instanceIdentityDocument=document)["containerInstance"]
        assert made["ec2InstanceId"] == "i-0123456789abcdef0"
        first, second = instances(it)
        assert second == {**made, "tags": []}
        registered, remaining = (
            {item["name"]: item.get("stringSetValue") or item["integerValue"] for item in first[which]}
            for which in ("registeredResources", "remainingResources")
        )
        assert (registered["CPU"], registered["MEMORY"]) == (2048, 4096)
        assert (remaining["CPU"], remaining["MEMORY"]) == (1536, 3072)
        assert set(remaining["PORTS"]) - set(registered["PORTS"]) == {"8080"}
        assert (first["runningTasksCount"], second["runningTasksCount"]) == (1, 0)
        assert {"name": "ecs.os-type", "value": "linux"} in first["attributes"]
        drain(it, second["containerInstanceArn"])
        listed = it.client.list_container_instances(status="DRAINING")["containerInstanceArns"]
        assert listed == [second["containerInstanceArn"]]
        assert it.client.describe_clusters()["clusters"][0]["registeredContainerInstancesCount"] == 2


def test_mistakes_about_instances() -> None:
    """In ECS's own form; one that is unknown is a failure beside those that are known."""
    with simulation() as it:
        (known,) = instances(it)
        arn = known["containerInstanceArn"]
        answer = it.client.describe_container_instances(containerInstances=["nope", arn])
        assert [item["reason"] for item in answer["failures"]] == ["MISSING"]
        assert [item["containerInstanceArn"] for item in answer["containerInstances"]] == [arn]
        elsewhere, ecs = arn.replace("/default/", "/other/"), it.client
        calls: tuple[tuple[Callable[..., Any], dict[str, Any], str], ...] = (
            (ecs.describe_container_instances, {"containerInstances": []}, "cannot be empty"),
            (ecs.describe_container_instances, {"containerInstances": ["a"] * 101}, "more than 100"),
            (ecs.describe_container_instances, {"containerInstances": [elsewhere]}, "for cluster"),
            (ecs.update_container_instances_state, {"containerInstances": [arn], "status": "DEREGISTERING"}, "one of"),
            (ecs.list_container_instances, {"filter": "task:group == x"}, "query language"),
            (ecs.register_container_instance, {"instanceIdentityDocument": "{"}, "not JSON"),
            (ecs.register_container_instance, {"containerInstanceArn": arn + "0"}, "not registered"),
        )
        for call, request, words in calls:
            with pytest.raises(ClientError, match=words):
                call(**request)
