"""Engine `ecs` on clusters of scripted containers: batches, throttling, capacity, lost services, and nothing left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stop_harness.ecs_endpoint.simulated_containers import ContainerScript
from stop_harness.engines.ecs import api as ecs_api
from stop_harness.engines.ecs import ready
from stop_harness.engines.ecs.api import EcsApi, EcsSettings
from stop_harness.engines.ecs.engine import EcsEngine
from stop_harness.errors import BuildError, EngineError, UsageError
from stop_harness.model import (
    NS_PER_S,
    Expectation,
    FileProperty,
    Outcome,
    ProblemKind,
    Scenario,
    SigkillEvidence,
    Status,
    StopPlan,
)
from stop_harness.trial.perform import Interruption
from tests.ecs_front import THROTTLED, Answer, Rule, front
from tests.ecs_runs import NEVER, aws_settings, image, only, run, running, task
from tests.ecs_support import Simulation, simulation, until
from tests.silence import Silence
from tests.variants import only_long


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings as a user of AWS has them."""
    aws_settings(monkeypatch)


@pytest.fixture
def cluster() -> Iterator[Simulation]:
    """Containers that leave at once."""
    with simulation() as it:
        yield it


# ── Two hundred at once ──────────────────────────────────────────────────────────────────────────────────────────────


def test_two_hundred_tasks_run_side_by_side_in_batches_of_ten() -> None:
    """Like on AWS, all start at once: RunTask starts ten a call; every one is stopped and gone."""
    with simulation(speed=1, host="127.0.0.2") as it, front(it.url, host="127.0.0.2") as before:
        done = run(before.url, image(repeat=200), jobs="200")
        assert len(done.report.results) == 200
        assert {
            item.verdict.reason for item in done.report.results if item.verdict.outcome is not Outcome.GRACEFUL
        } == set()
        counts = [request["count"] for operation, request in before.requests if operation == "RunTask"]
        assert sum(counts) == 200
        assert max(counts) == 10
        assert len(counts) <= 100, counts  # 20 to 50; a busy machine begins its trials one by one
        assert before.calls["StopTask"] == 200
        assert all(len(request["tasks"]) <= 100 for name, request in before.requests if name == "DescribeTasks")
        assert before.calls["DescribeTasks"] <= 300  # two a second; each task for itself would need 400 at least
        assert running(it) == []
        arns = it.client.list_tasks(desiredStatus="STOPPED")["taskArns"]
        assert len(arns) == 100  # a page; the next one is as long
        (shown,) = it.client.describe_tasks(tasks=arns[:1])["tasks"]
        assert shown["stoppedReason"].startswith("stop-harness: web@30s#")
        assert shown["startedBy"].startswith("stop-harness-")


def test_task_definitions_are_registered_once_and_taken_back(cluster: Simulation) -> None:
    """One for each scenario and stop timeout, whatever the repetitions."""
    scenario = replace(image(repeat=3), stop=StopPlan((2 * NS_PER_S, 30 * NS_PER_S)))
    with front(cluster.url) as before:
        run(before.url, scenario)
    assert before.calls["RegisterTaskDefinition"] == 2
    assert cluster.client.list_task_definitions(status="ACTIVE")["taskDefinitionArns"] == []


# ── Trouble with the service ─────────────────────────────────────────────────────────────────────────────────────────


def refuse(operation: str, answer: Answer, times: int) -> Rule:
    """The first calls of an operation are answered so."""
    return lambda name, count, _request: answer if name == operation and count <= times else None


@pytest.mark.parametrize("operation", ["RunTask", "StopTask", *only_long("DescribeTasks", "RegisterTaskDefinition")])
def test_throttling_is_waited_out(cluster: Simulation, operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More often than botocore itself tries: the trial comes to the same outcome."""
    monkeypatch.setattr(ecs_api, "ATTEMPTS", 2)
    with front(cluster.url, refuse(operation, THROTTLED, 6)) as before:
        result = only(run(before.url, image()))
    assert result.verdict.outcome is Outcome.GRACEFUL
    assert before.calls[operation] >= 7


def test_throttling_without_end_is_inconclusive(cluster: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was started, nothing is claimed."""
    monkeypatch.setattr(ecs_api, "THROTTLED_FOR_S", 1.0)
    monkeypatch.setattr(ecs_api, "ATTEMPTS", 2)
    with front(cluster.url, refuse("RunTask", THROTTLED, 1000)) as before:
        result = only(run(before.url, image()))
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "ThrottlingException: Rate exceeded" in result.verdict.reason
    assert running(cluster) == []


def test_a_lack_of_capacity_is_inconclusive() -> None:
    """The reason is ECS's; trials that were placed are judged."""
    with simulation(host="127.0.0.2") as it:

        def rule(operation: str, _count: int, request: dict[str, Any]) -> Answer | None:
            if operation != "RunTask":
                return None
            placed = it.client.run_task(taskDefinition=request["taskDefinition"], startedBy=request["startedBy"])
            failure = {"arn": "arn:aws:ecs:us-east-1:123456789012:container-instance/1", "reason": "RESOURCE:MEMORY"}
            return as_answer({"tasks": placed["tasks"], "failures": [failure] * (request["count"] - 1)})

        with front(it.url, rule, host="127.0.0.2") as before:
            done = run(before.url, image(repeat=10), jobs="10")
        assert running(it) == []
    outcomes = [item.verdict.outcome for item in done.report.results]
    assert set(outcomes) == {Outcome.GRACEFUL, Outcome.INCONCLUSIVE}
    assert outcomes.count(Outcome.GRACEFUL) == before.calls["RunTask"]
    refused = next(item for item in done.report.results if item.verdict.outcome is Outcome.INCONCLUSIVE)
    assert "did not place the task in cluster default: RESOURCE:MEMORY" in refused.verdict.reason
    assert refused.verdict.status is Status.INCONCLUSIVE


def as_answer(told: dict[str, Any]) -> Answer:
    """With times as the service writes them."""
    return 200, json.loads(json.dumps(told, default=lambda stamp: stamp.timestamp()))


def test_a_service_that_is_gone_makes_its_trials_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the stops; the run ends by itself and says why."""
    monkeypatch.setattr(ecs_api, "SILENT_FOR_S", 1.0)
    monkeypatch.setattr(ecs_api, "ATTEMPTS", 2)
    with simulation({"subject": NEVER}, speed=1) as it, front(it.url) as before:

        class Leaving(Silence):
            def step(self, running: Any, step: str) -> None:
                """Cut off the service when the first stop begins."""
                super().step(running, step)
                if step == "stopping":
                    before.gone.set()

        done = run(before.url, image(timeout_s=120, repeat=5), jobs="3", heard=Leaving())
    results = done.report.results
    assert {item.verdict.outcome for item in results} == {Outcome.INCONCLUSIVE}
    assert {item.observation.problem.kind for item in results if item.observation.problem} == {
        ProblemKind.ENGINE_FAILED
    }


def missing(operation: str, request: dict[str, Any]) -> Answer | None:
    """DescribeTasks that finds nothing."""
    if operation != "DescribeTasks":
        return None
    return 200, {"tasks": [], "failures": [{"arn": arn, "reason": "MISSING"} for arn in request["tasks"]]}


def test_a_task_that_is_not_found_at_first_is_waited_for(cluster: Simulation) -> None:
    """The API is eventually consistent: right after RunTask a task may be MISSING."""
    with front(cluster.url, lambda name, count, asked: missing(name, asked) if count <= 3 else None) as before:
        assert only(run(before.url, image())).verdict.outcome is Outcome.GRACEFUL


def test_a_task_that_stays_missing_is_inconclusive(cluster: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    """ECS forgot it, so nobody knows how it ended."""
    monkeypatch.setattr(ecs_api, "MISSING_FOR_S", 0.5)
    with front(cluster.url, lambda name, _count, asked: missing(name, asked)) as before:
        result = only(run(before.url, image()))
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert result.verdict.reason == "ecs: the task is no longer known to the service"
    assert running(cluster) == []


def test_a_task_that_somebody_else_stopped_is_inconclusive(cluster: Simulation) -> None:
    """A Spot interruption says nothing about the container."""

    def rule(operation: str, _count: int, request: dict[str, Any]) -> Answer | None:
        if operation != "DescribeTasks":
            return None
        found = cluster.client.describe_tasks(tasks=request["tasks"])
        for shown in found["tasks"]:
            if "stopCode" in shown:
                shown |= {"stopCode": "SpotInterruption", "stoppedReason": "Your Spot Task was interrupted."}
        return as_answer({"tasks": found["tasks"], "failures": []})

    with front(cluster.url, rule) as before:
        result = only(run(before.url, image()))
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "SpotInterruption: Your Spot Task was interrupted." in result.verdict.reason


# ── Whatever happens, every task is stopped ──────────────────────────────────────────────────────────────────────────


def test_an_interruption_stops_every_task() -> None:
    """Ctrl-C while some start, some wait for their moment and some are stopped; nothing is claimed of them."""
    interruption = Interruption()

    class Hasty(Silence):
        def step(self, running: Any, step: str) -> None:
            """Interrupt when the first trial waits."""
            super().step(running, step)
            if step == "waiting until ready":
                interruption.request()

    with simulation({"subject": ContainerScript(leaves_after_s=None, starts_after_s=20)}) as it:
        scenario = image(repeat=30, delay_ns=60 * NS_PER_S)
        done = run(it.url, scenario, jobs="20", heard=Hasty(), interruption=interruption)
        assert running(it) == []
    problems = {item.observation.problem and item.observation.problem.kind for item in done.report.results}
    assert problems == {ProblemKind.INTERRUPTED}


def test_an_interruption_is_heard_while_tasks_are_still_pending() -> None:
    """PROVISIONING and pulls can take minutes; nobody waits for them after Ctrl-C."""
    interruption = Interruption()
    timer = threading.Timer(0.5, interruption.request)

    class Hasty(Silence):
        def step(self, running: Any, step: str) -> None:
            """Interrupt soon after the task was asked for."""
            super().step(running, step)
            if step == "starting":
                timer.start()

    with simulation({"subject": ContainerScript(pulls_for_s=6_000)}) as it:
        result = only(run(it.url, image(), heard=Hasty(), interruption=interruption))
        assert running(it) == []
    assert result.observation.problem is not None
    assert result.observation.problem.kind is ProblemKind.INTERRUPTED


def test_closing_stops_tasks_that_nobody_knows_of(cluster: Simulation) -> None:
    """RunTask's answer was lost, but it had placed its task: found by `startedBy`."""

    def rule(operation: str, count: int, request: dict[str, Any]) -> Answer | None:
        if operation == "RunTask" and count == 1:
            cluster.client.run_task(taskDefinition=request["taskDefinition"], startedBy=request["startedBy"])
            return 400, {"__type": "UnknownException", "message": "lost"}
        return None

    with front(cluster.url, rule) as before:
        result = only(run(before.url, image()))
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert running(cluster) == []
    assert len(cluster.client.list_tasks(desiredStatus="STOPPED")["taskArns"]) == 1


KILLED_HARNESS = """
import sys
from stop_harness.engines.ecs.engine import EcsEngine
from stop_harness.engines.ecs.api import EcsSettings
from stop_harness.model import NS_PER_S, Scenario, StopPlan, Subject, Trial
engine = EcsEngine("killed", EcsSettings(endpoint_url=sys.argv[1]))
scenario = Scenario("web", Subject(image="subject"), stop=StopPlan((30 * NS_PER_S,)))
engine.prepare((scenario,), lambda *_: None)
for number in range(3):
    subject = engine.start(Trial(f"web@30s#{number}", scenario, 30 * NS_PER_S, 0, number))
    subject.wait_started()
print("ready", flush=True)
sys.stdin.read()
"""


def test_tasks_of_a_killed_harness_are_stopped_within_20_s(cluster: Simulation) -> None:
    """kill -9 leaves no time for anything; the reaper does it. Tasks of others are left alone."""
    stranger = cluster.run({"name": "other"})
    command = [sys.executable, "-c", KILLED_HARNESS, cluster.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as harness:
        assert harness.stdout is not None
        assert harness.stdout.readline() == b"ready\n"
        assert len(running(cluster)) == 4
        os.kill(harness.pid, signal.SIGKILL)
        until(lambda: running(cluster), lambda left: left == [stranger], 20)


# ── What is refused before the run ───────────────────────────────────────────────────────────────────────────────────


def test_a_task_definition_that_ecs_refuses_stops_the_run(cluster: Simulation) -> None:
    """Before anything is started, with ECS's words; also for members that do not exist."""
    with pytest.raises(BuildError, match=r"task: ecs: RegisterTaskDefinition: ClientException: .*memory"):
        run(cluster.url, task({"name": "app", "memory": None}))
    with pytest.raises(BuildError, match=r'task: the task definition cannot be registered: .*"memroy"'):
        run(cluster.url, task({"name": "app", "memroy": 64}))


def test_a_lack_of_permissions_is_not_the_definitions_fault(cluster: Simulation) -> None:
    """Nor is it the user's command line."""
    answer = (400, {"__type": "AccessDeniedException", "message": "not authorized"})
    with (
        front(cluster.url, refuse("RegisterTaskDefinition", answer, 100)) as before,
        pytest.raises(EngineError, match="RegisterTaskDefinition: AccessDeniedException: not authorized"),
    ):
        run(before.url, image())


def test_a_cluster_that_does_not_exist_is_named(cluster: Simulation) -> None:
    """With what to do."""
    with pytest.raises(EngineError, match="no active cluster 'nope' in us-east-1; name one with --cluster"):
        run(cluster.url, image(), settings=EcsSettings("nope", endpoint_url=cluster.url))


def test_a_service_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its address."""
    monkeypatch.setattr(ecs_api, "ATTEMPTS", 1)
    with pytest.raises(EngineError, match=r"ecs at http://127.0.0.1:1: Could not connect"):
        run("http://127.0.0.1:1", image())


def test_more_of_run_tasks_input_is_checked_and_passed_on(cluster: Simulation) -> None:
    """A member that RunTask does not have is refused before anything starts."""
    settings = EcsSettings(endpoint_url=cluster.url, run_task={"launchtype": "EC2"})
    with pytest.raises(UsageError, match=r'--run-task: .*"launchtype"'):
        run(cluster.url, image(), settings=settings)
    with front(cluster.url) as before:
        good = EcsSettings(endpoint_url=before.url, run_task={"launchType": "EC2", "group": "web"})
        assert only(run(before.url, image(), settings=good)).verdict.outcome is Outcome.GRACEFUL
    (asked,) = [request for operation, request in before.requests if operation == "RunTask"]
    assert (asked["launchType"], asked["group"], asked["count"]) == ("EC2", "web", 1)


def test_an_image_on_fargate_gets_what_fargate_asks_for(cluster: Simulation) -> None:
    """awsvpc, and cpu and memory of the task; stop timeouts out of its range are left out."""
    strategy = {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}]}
    engine = EcsEngine("fargate", EcsSettings(endpoint_url=cluster.url, run_task=strategy))
    try:
        engine.prepare((image(),), lambda *_: None)
        (arn,) = cluster.client.list_task_definitions()["taskDefinitionArns"]
        found = cluster.client.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        assert (found["networkMode"], found["cpu"], found["memory"]) == ("awsvpc", "256", "512")
        assert found["requiresCompatibilities"] == ["FARGATE"]
        assert engine.cannot_run(image(timeout_s=1)) == "Fargate takes stop timeouts from 2 to 120 s"
        assert engine.cannot_run(image(timeout_s=120)) is None
    finally:
        engine.close()


def test_what_a_cluster_cannot_do_is_said_before_the_run(cluster: Simulation) -> None:
    """Each with its reason; nothing is started."""
    engine, plain = EcsEngine("cannot", EcsSettings(endpoint_url=cluster.url)), image()
    cases: dict[str, Scenario] = {
        "a cluster runs images only": replace(plain, subject=replace(plain.subject, image=None, build_directory=".")),
        "ECS has no setting for the stop signal": replace(plain, stop=replace(plain.stop, signal="SIGQUIT")),
        "nothing can be done inside": image(handler=True),
        "ECS ignores an image's HEALTHCHECK": image(healthcheck=True),
        "ECS takes a stopTimeout of 0 as not set": image(timeout_s=0),
        "`expect.after_stop` cannot be looked at": replace(
            plain, expectations=(Expectation(after_stop=(FileProperty("/data/journal"),)),)
        ),
        "no container of the task publishes port 80: add it": task({"name": "app"}, tcp_port=80),
    }
    try:
        assert engine.cannot_run(plain) is None
        for begin, scenario in cases.items():
            assert str(engine.cannot_run(scenario)).startswith(begin)
    finally:
        engine.close()


def test_fast_ends_nothing_early_on_a_cluster() -> None:
    """ECS has no call for it, and no record says that a stop was cut short which ran its course."""
    with simulation({"subject": NEVER}) as it:
        result = only(run(it.url, image(timeout_s=300), fast=True))
    assert result.observation.derivation.cut_short is None
    assert result.verdict.facts.sigkill_evidence is SigkillEvidence.OBSERVED


def test_the_command_line_finds_the_service_as_boto3_does(cluster: Simulation, tmp_path: Any) -> None:
    """AWS_ENDPOINT_URL_ECS, --cluster and --run-task; mistakes in the file are named."""
    cluster.client.create_cluster(clusterName="batch")
    file = tmp_path / "run-task.json"
    command = [
        sys.executable,
        "-m",
        "stop_harness",
        "check",
        "subject",
        "--engine",
        "ecs",
        "--cluster",
        "batch",
    ]

    def check(text: str) -> subprocess.CompletedProcess[str]:
        file.write_text(text)
        environment = {**os.environ, "AWS_ENDPOINT_URL_ECS": cluster.url}
        return subprocess.run(
            [*command, "--run-task", str(file), "--report-dir", str(tmp_path)],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    good = check('{"group": "harness"}')
    assert good.returncode == 0, good.stderr + good.stdout
    (arn,) = cluster.client.list_tasks(cluster="batch", desiredStatus="STOPPED")["taskArns"]
    assert cluster.client.describe_tasks(cluster="batch", tasks=[arn])["tasks"][0]["group"] == "harness"
    for text, said in (
        ('{"count": 3}', "count is set by stop-harness"),
        ('{"launchTyp": "EC2"}', 'Unknown parameter in input: "launchTyp"'),
        ("[]", "an object is needed"),
        ("{", "Expecting property name"),
    ):
        bad = check(text)
        assert (bad.returncode, said in bad.stderr, "Traceback" in bad.stderr) == (2, True, False), bad.stderr


def test_without_a_region_it_says_where_settings_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """As the AWS CLI finds them."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(EngineError, match=r"ecs: You must specify a region; the AWS CLI's settings apply"):
        EcsEngine("region", EcsSettings(endpoint_url="http://127.0.0.1:1"))


@pytest.mark.parametrize("option", ["--predict", "--sweep-start"])
def test_what_looks_at_one_container_takes_no_task_definition(tmp_path: Any, option: str) -> None:
    """Refused before any engine is asked."""
    file = tmp_path / "web.json"
    file.write_text('{"containerDefinitions": [{"name": "app", "image": "x", "memory": 64}]}')
    command = [sys.executable, "-m", "stop_harness", "check", "--task-definition", str(file), option]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, f"{option} looks at one container" in done.stderr) == (2, True), done.stderr


def test_a_value_of_the_wrong_type_is_explained_in_plain_words() -> None:
    """botocore speaks of Python's classes there."""
    api = EcsApi(EcsSettings("none", "http://127.0.0.1:9", own_endpoint=True))
    container = {"name": "a", "image": "a", "cpu": "many", "links": 3, "dockerLabels": [1], "essential": "no"}
    said = api.mistakes("register_task_definition", {"family": "f", "containerDefinitions": [container]})
    assert "containerDefinitions[0].cpu, value: many; needed: a whole number" in said
    assert "containerDefinitions[0].links, value: 3; needed: a list" in said
    assert "value: [1]; needed: an object" in said
    assert "value: no; needed: true or false" in said
    assert "class" not in said


def test_a_port_is_reached_by_its_binding_else_at_the_tasks_own_address() -> None:
    """Tasks with awsvpc have no bindings: any port of theirs is at the address of their network interface."""
    bound = {"networkBindings": [{"bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 8080}]}
    own = {"networkBindings": [], "networkInterfaces": [{"privateIpv4Address": "10.0.0.7"}]}
    assert ready.binding({"containers": [{}, bound]}, 80) == ("127.0.0.1", 8080)
    assert ready.binding({"containers": [bound]}, 81) is None
    assert ready.binding({"containers": [own]}, 81) == ("10.0.0.7", 81)
