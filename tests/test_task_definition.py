"""Task definitions: what people have is read, mistakes are named, and what they show before anything runs."""

from __future__ import annotations

import contextlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stop_harness.ecs import task_definition
from stop_harness.errors import ScenarioError
from stop_harness.model import NS_PER_S, Scenario, StopPlan, Subject, TaskContainer, TaskDefinition
from stop_harness.scenario import discovery, named_files
from stop_harness.verdict import static_findings
from stop_harness.verdict.rules import RULES

APP: dict[str, Any] = {"name": "app", "image": "app:1", "memory": 64}
START = "START"

DESCRIBED = {
    "taskDefinition": {
        "taskDefinitionArn": "arn:aws:ecs:eu-west-1:123456789012:task-definition/web:7",
        "containerDefinitions": [
            {
                "name": "app",
                "image": "app:1",
                "cpu": 0,
                "memory": 64,
                "portMappings": [{"containerPort": 80, "hostPort": 80, "protocol": "tcp"}],
                "essential": True,
                "entryPoint": None,
                "environment": [],
                "mountPoints": [],
                "volumesFrom": [],
                "stopTimeout": None,
                "dependsOn": [{"containerName": "router", "condition": "START"}],
            },
            {"name": "router", "image": "router:1", "memory": 32, "essential": False, "stopTimeout": 5},
        ],
        "family": "web",
        "revision": 7,
        "volumes": [],
        "status": "ACTIVE",
        "requiresAttributes": [{"name": "com.amazonaws.ecs.capability.docker-remote-api.1.18"}],
        "placementConstraints": [],
        "compatibilities": ["EC2"],
        "requiresCompatibilities": None,
        "registeredAt": "2026-11-23T12:00:00+00:00",
        "registeredBy": "arn:aws:iam::123456789012:user/me",
        "deregisteredAt": None,
    },
    "tags": [{"key": "team", "value": "web"}],
}
"""As `aws ecs describe-task-definition --include TAGS` prints one; older clients print nulls."""


def parsed(*containers: dict[str, Any], **more: Any) -> TaskDefinition:
    """Of containers that have an image."""
    full = [{"image": "image", **item} for item in containers]
    return task_definition.parse(json.dumps({"containerDefinitions": full, **more}), "web.json")


def mistakes(document: Any, **images: str) -> tuple[str, ...]:
    """What is said of JSON, or of text that is none."""
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(ScenarioError) as caught:
        task_definition.parse(text, "web.json", images)
    return caught.value.problems


def after(name: str, condition: str = START) -> dict[str, str]:
    """An entry of dependsOn."""
    return {"containerName": name, "condition": condition}


# ── What people have ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_input_of_register_task_definition_is_read() -> None:
    """Names, images, timeouts, and who waits for whom: those that depend on it."""
    task = parsed(
        {"name": "app", "image": "app:1", "dependsOn": [after("proxy")], "stopTimeout": 60},
        {"name": "proxy", "image": "proxy:2", "essential": False},
        family="web",
    )
    assert (task.family, task.fargate) == ("web", False)
    assert task.containers == (
        TaskContainer("app", "app:1", essential=True, stop_timeout_s=60, own_stop_timeout_s=60),
        TaskContainer("proxy", "proxy:2", essential=False, waits_for=("app",), stop_timeout_s=30),
    )


def test_what_describe_task_definition_prints_is_read() -> None:
    """With its wrapper, its nulls and what only ECS itself writes; the document can be registered again."""
    task = task_definition.parse(json.dumps(DESCRIBED), "web.json")
    assert [(item.name, item.waits_for, item.stop_timeout_s) for item in task.containers] == [
        ("app", (), 30),
        ("router", ("app",), 5),
    ]
    document = json.loads(task.document)
    assert document.keys() == {"containerDefinitions", "family", "volumes", "placementConstraints"}
    assert not {"entryPoint", "stopTimeout"} & document["containerDefinitions"][0].keys()


def test_the_wrapper_can_be_left_out() -> None:
    """The same task, as `--query taskDefinition` prints it."""
    inner = task_definition.parse(json.dumps(DESCRIBED["taskDefinition"]), "web.json")
    assert inner == task_definition.parse(json.dumps(DESCRIBED), "web.json")


def test_what_is_registered_again_is_what_botocore_takes() -> None:
    """No member that RegisterTaskDefinition does not know is left in the document."""
    import boto3
    from botocore.validate import ParamValidator

    client = boto3.session.Session().client("ecs", region_name="us-east-1")
    shape = client.meta.service_model.operation_model("RegisterTaskDefinition").input_shape
    document = json.loads(task_definition.parse(json.dumps(DESCRIBED), "web.json").document)
    report = ParamValidator().validate(document, shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize(
    "member",
    [
        {"dependsOn": [after("side", "HEALTHY")]},
        {"links": ["side:alias"]},
        {"volumesFrom": [{"sourceContainer": "side", "readOnly": True}]},
        {"logConfiguration": {"logDriver": "awsfirelens"}},
    ],
)
def test_every_kind_of_dependency_makes_the_other_wait(member: dict[str, Any]) -> None:
    """As the ECS agent reads them: dependsOn, links, volumesFrom, and logs through FireLens."""
    task = parsed({"name": "app", **member}, {"name": "side", "firelensConfiguration": {"type": "fluentbit"}})
    assert task.containers[1].waits_for == ("app",)


def test_a_stop_timeout_of_0_counts_as_not_set() -> None:
    """The default of 30 s applies, and the task keeps what was written."""
    (container,) = parsed({"name": "app", "stopTimeout": 0}).containers
    assert (container.stop_timeout_s, container.own_stop_timeout_s) == (30, 0)


def test_images_are_replaced_by_container() -> None:
    """In the record and in what is registered; the others keep theirs."""
    task = task_definition.parse(json.dumps(DESCRIBED), "web.json", {"router": "mine:2"})
    assert [item.image for item in task.containers] == ["app:1", "mine:2"]
    assert [item["image"] for item in json.loads(task.document)["containerDefinitions"]] == ["app:1", "mine:2"]


def test_an_image_for_no_container_is_a_mistake() -> None:
    """With the names that there are."""
    (problem,) = mistakes(DESCRIBED, sidecar="mine:2")
    assert problem == "web.json: no container of this task is named sidecar; its containers: app, router"


def test_stop_timeouts_are_replaced_in_every_container() -> None:
    """In the record and in what is registered."""
    task = task_definition.stop_timeouts_replaced(parsed({"name": "a"}, {"name": "b", "stopTimeout": 5}), 7)
    assert [item.stop_timeout_s for item in task.containers] == [7, 7]
    assert [item["stopTimeout"] for item in json.loads(task.document)["containerDefinitions"]] == [7, 7]


def test_a_scenario_takes_the_timeouts_of_its_definition(tmp_path: Path) -> None:
    """The trial's stop timeout is then the longest chain's; `stop.timeouts` replaces all of them."""
    (tmp_path / "web.json").write_text(json.dumps(DESCRIBED))
    text = "version: 1\nname: web\nsubject: {task_definition: web.json, images: {app: mine}}\n"
    (tmp_path / "own.yaml").write_text(text)
    (tmp_path / "given.yaml").write_text(text.replace("name: web", "name: given") + "stop: {timeouts: [2s]}\n")
    given, own = discovery.load((tmp_path,))
    assert (own.stop.own_timeouts, own.stop.timeouts_ns) == (True, (35 * NS_PER_S,))
    assert (given.stop.own_timeouts, given.stop.timeouts_ns) == (False, (2 * NS_PER_S,))
    assert own.subject.task is not None
    assert own.subject.task.containers[0].image == "mine"


# ── Mistakes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ('{"containerDefinitions": [}', "web.json:1:27: not valid JSON: Expecting value"),
        ("", "web.json:1:1: not valid JSON"),
        ("[" * 100_000, "web.json:1:1: nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "web.json:1:1: a number has too many digits"),
        ('{"family": "\\ud800", "containerDefinitions": []}', "half a surrogate pair"),
        ([], "this is no task definition: `containerDefinitions` is missing"),
        ({"services": []}, "this is no task definition: `containerDefinitions` is missing"),
        ({"taskDefinition": None}, "this is no task definition"),
        ({"containerDefinitions": []}, "containerDefinitions: at least one is needed"),
        ({"containerDefinitions": {}}, "containerDefinitions: {} is not allowed; needed: list"),
        ({"containerDefinitions": ["app"]}, "containerDefinitions.0: an object is needed"),
        ({"containerDefinitions": [{"name": "app"}]}, "containerDefinitions.0.image: this key is required"),
        ({"containerDefinitions": [{**APP, "image": " "}]}, "containerDefinitions.0.image: ' ' is not allowed"),
        ({"containerDefinitions": [{**APP, "name": "a b"}]}, "needed: 1 to 255 letters, digits, hyphens"),
        ({"containerDefinitions": [APP], "family": "a.b"}, "family: 'a.b' is not allowed"),
        (
            {"containerDefinitions": [{**APP, "stopTimeout": "30"}]},
            "containerDefinitions.0.stopTimeout: '30' is not allowed; needed: whole number",
        ),
        ({"containerDefinitions": [{**APP, "stopTimeout": True}]}, "True is not allowed; needed: whole number"),
        ({"containerDefinitions": [{**APP, "essential": 1}]}, "1 is not allowed; needed: boolean"),
        ({"containerDefinitions": [{**APP, "command": "run me"}]}, "'run me' is not allowed; needed: list"),
        ({"containerDefinitions": [{**APP, "logConfiguration": []}]}, "logConfiguration: an object is needed"),
        (
            {"containerDefinitions": [{**APP, "dependsOn": [after("app", "start")]}]},
            "'start' is not allowed; needed: 'START', 'COMPLETE', 'SUCCESS' or 'HEALTHY'",
        ),
        (
            {"containerDefinitions": [{**APP, "dependsOn": [after("db")]}]},
            "containerDefinitions: app: depends on 'db', which is not a container of this task (app)",
        ),
        (
            {"containerDefinitions": [{**APP, "dependsOn": [after("app")]}]},
            "containerDefinitions: dependsOn goes in a circle: app → app",
        ),
        ({"containerDefinitions": [APP, APP]}, "app: each name may stand once"),
        ({"containerDefinitions": [{**APP, "essential": False}]}, "at least one container must be essential"),
    ],
)
def test_a_mistake_is_named_with_its_place(document: Any, said: str) -> None:
    """File, key, what is wrong and what is allowed."""
    (problem,) = mistakes(document)
    assert said in problem
    assert problem.startswith("web.json")


def test_all_mistakes_are_reported_together() -> None:
    """Not one a run."""
    assert len(mistakes({"containerDefinitions": [{"name": ""}, {**APP, "stopTimeout": 1.5}]})) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["a", "b", "c", ""])
MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "name": NAMES | JSON,
    "image": st.just("image") | JSON,
    "essential": st.booleans() | JSON,
    "stopTimeout": st.integers(-1, 300) | JSON,
    "dependsOn": st.lists(st.fixed_dictionaries({"containerName": NAMES, "condition": st.just(START) | JSON})) | JSON,
    "links": st.lists(NAMES) | JSON,
    "volumesFrom": st.lists(st.fixed_dictionaries({"sourceContainer": NAMES})) | JSON,
    "entryPoint": st.just(["sh", "-c"]) | JSON,
    "command": st.lists(st.text(max_size=4)) | JSON,
    "linuxParameters": st.just({"initProcessEnabled": True}) | JSON,
    "logConfiguration": st.just({"logDriver": "awsfirelens"}) | JSON,
    "firelensConfiguration": JSON,
    "portMappings": st.just([{"containerPort": 80}]) | JSON,
}
CONTAINERS = st.fixed_dictionaries({}, optional=MEMBERS) | st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "c"]), "image": st.just("image")},
    optional={"stopTimeout": st.integers(-1, 300), "essential": st.booleans(), "links": st.lists(NAMES, max_size=2)},
)
DOCUMENTS = st.fixed_dictionaries(
    {"containerDefinitions": st.lists(CONTAINERS, max_size=4) | JSON},
    optional={"family": st.text(max_size=3) | JSON, "requiresCompatibilities": st.just(["FARGATE"]) | JSON},
)


@given(JSON | DOCUMENTS | st.fixed_dictionaries({"taskDefinition": DOCUMENTS}))
def test_any_json_is_a_task_definition_or_a_mistake(document: Any) -> None:
    """Never a traceback, whatever is in the file; and what is read can be judged and written."""
    try:
        task = task_definition.parse(json.dumps(document), "web.json")
    except ScenarioError as error:
        str(error).encode()
        return
    names, total_s = task_definition.longest_chain(task)
    assert names
    assert total_s > 0
    for found in static_findings.of_task("web", task):
        found.finding.message.encode()
    again = task_definition.parse(task.document, "web.json")
    assert again == task


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_a_mistake_at_worst(text: str) -> None:
    """Files that are no JSON at all."""
    with contextlib.suppress(ScenarioError):
        task_definition.parse(text, "web.json")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "a.yaml:3:11: subject.task_definition: there is no file"),
        ("expect: {timeout: 3s, outcome: killed}\n", "`timeout` goes with `stop.timeouts`"),
        ("stop: {signal: SIGINT}\n", "`stop.signal`: ECS has no such setting"),
        ("ready: {handler: true}\n", "`ready.handler` cannot be done with a task definition"),
    ],
)
def test_a_scenario_says_where_its_task_is_wrong(tmp_path: Path, more: str, said: str) -> None:
    """File, line, column and key."""
    (tmp_path / "a.yaml").write_text(f"version: 1\nname: web\nsubject: {{task_definition: nope.json}}\n{more}")
    with pytest.raises(ScenarioError) as caught:
        discovery.load((tmp_path,))
    assert said in str(caught.value)


# ── The longest chain ────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def tasks(draw: st.DrawFn) -> TaskDefinition:
    """Containers of which each waits for some of those before it, in any order of the file."""
    count = draw(st.integers(1, 7))
    names = [f"c{number}" for number in range(count)]
    made = [
        TaskContainer(
            name,
            "image",
            waits_for=tuple(draw(st.lists(st.sampled_from(names[:place]), unique=True)) if place else ()),
            stop_timeout_s=draw(st.integers(1, 120)),
        )
        for place, name in enumerate(names)
    ]
    return TaskDefinition("web", "{}", tuple(draw(st.permutations(made))))


def brute_force(task: TaskDefinition) -> int:
    """The dearest of all sequences in which each waits for the one before it."""
    return max(
        sum(item.stop_timeout_s for item in order)
        for length in range(1, len(task.containers) + 1)
        for order in itertools.permutations(task.containers, length)
        if all(first.name in second.waits_for for first, second in itertools.pairwise(order))
    )


@given(tasks())
def test_the_longest_chain_is_that_of_a_brute_force_search(task: TaskDefinition) -> None:
    """Its containers wait for one another in this order, their timeouts add up to the sum, and no chain is longer."""
    names, total_s = task_definition.longest_chain(task)
    by_name = {item.name: item for item in task.containers}
    assert all(first in by_name[second].waits_for for first, second in itertools.pairwise(names))
    assert total_s == sum(by_name[name].stop_timeout_s for name in names)
    assert total_s == brute_force(task)


def test_a_container_that_ends_before_the_others_start_is_in_no_chain() -> None:
    """Others wait for its end, so it has no stop timeout to spend when the task is stopped."""
    first = {"name": "migrate", "essential": False, "stopTimeout": 100}
    app = {"name": "app", "stopTimeout": 50, "dependsOn": [after("migrate", "SUCCESS")]}
    task = parsed(first, app)
    assert [item.ends_first for item in task.containers] == [True, False]
    assert task_definition.longest_chain(task) == (("app",), 50)
    assert found(first, app) == []


def test_a_very_long_chain_is_summed_up() -> None:
    """More containers than Python has stack."""
    chain = [{"name": f"c{at}", "stopTimeout": 1} for at in range(1500)]
    task = parsed(*({**item, "links": [f"c{at + 1}"]} if at < 1499 else item for at, item in enumerate(chain)))
    assert task_definition.longest_chain(task)[1] == 1500


# ── Findings ─────────────────────────────────────────────────────────────────────────────────────────────────────────

ON_FARGATE = {"requiresCompatibilities": ["FARGATE"]}
PORT = {"portMappings": [{"containerPort": 80}]}
SHELL = {"command": ["sh", "-c", "migrate && serve"]}


def found(*containers: dict[str, Any], **more: Any) -> list[tuple[str, str | None]]:
    """(rule, container) of each finding."""
    task = parsed(*containers, **more)
    return [(item.finding.rule, item.container) for item in static_findings.of_task("web", task)]


@pytest.mark.parametrize("timeout_s", [-1, 0])
def test_a_stop_timeout_that_counts_for_nothing_is_found(timeout_s: int) -> None:
    """On every platform."""
    assert found({"name": "app", "stopTimeout": timeout_s}) == [("stop-timeout-out-of-range", "app")]


@pytest.mark.parametrize("timeout_s", [1, 121])
def test_a_stop_timeout_that_fargate_refuses_is_found(timeout_s: int) -> None:
    """Where the task asks for Fargate."""
    assert ("stop-timeout-out-of-range", "app") in found({"name": "app", "stopTimeout": timeout_s}, **ON_FARGATE)


@pytest.mark.parametrize(("timeout_s", "more"), [(2, ON_FARGATE), (120, ON_FARGATE), (1, {}), (None, ON_FARGATE)])
def test_a_stop_timeout_in_range_is_no_finding(timeout_s: int | None, more: dict[str, Any]) -> None:
    """2 to 120 s on Fargate, more than 0 elsewhere, or none."""
    assert found({"name": "app", "stopTimeout": timeout_s}, **more) == []


def test_a_chain_longer_than_two_minutes_is_found() -> None:
    """With each container's part in the order in which they stop."""
    task = parsed(
        {"name": "app", "stopTimeout": 60, "dependsOn": [after("proxy")]},
        {"name": "proxy", "essential": False, "stopTimeout": 31, "dependsOn": [after("router")]},
        {"name": "router", "essential": False},
    )
    (only,) = static_findings.of_task("web", task)
    assert (only.finding.rule, only.container) == ("chain-exceeds-limit", None)
    assert "121 s (app 60 s + proxy 31 s + router 30 s)" in only.finding.message


def test_a_chain_of_two_minutes_is_no_finding() -> None:
    """Containers that do not wait for one another stop side by side."""
    assert found({"name": "app", "stopTimeout": 120}, {"name": "b", "stopTimeout": 120}) == []


def test_an_essential_sidecar_is_found() -> None:
    """Others depend on it, it depends on none, and its end stops the task."""
    assert found({"name": "app", "dependsOn": [after("proxy")]}, {"name": "proxy"}) == [("essential-sidecar", "proxy")]


def test_a_container_beside_the_one_with_the_ports_is_found() -> None:
    """Where nobody wrote whether it is essential."""
    assert found({"name": "app", "essential": True, **PORT}, {"name": "agent"}) == [("essential-sidecar", "agent")]


def test_a_sidecar_that_is_not_essential_is_no_finding() -> None:
    """Nor is one that says so itself, nor the only essential container."""
    assert found({"name": "app", "dependsOn": [after("proxy")]}, {"name": "proxy", "essential": False}) == []
    assert found({"name": "app", "essential": True, **PORT}, {"name": "agent", "essential": True}) == []
    assert found({"name": "app", "essential": False, "links": ["db"]}, {"name": "db"}) == []


@pytest.mark.parametrize(
    "container",
    [SHELL, {"entryPoint": ["/bin/sh", "-c"], "command": ["serve; cleanup"]}, {**SHELL, "linuxParameters": {}}],
)
def test_a_shell_without_an_init_is_found(container: dict[str, Any]) -> None:
    """As entry point, as command, or in two parts."""
    assert found({"name": "app", **container}) == [("init-process-missing", "app")]


@pytest.mark.parametrize(
    "container",
    [
        {**SHELL, "linuxParameters": {"initProcessEnabled": True}},
        {"command": ["sh", "-c", "migrate && exec serve"]},
        {"command": ["sh", "-c", "trap 'kill $!' TERM; serve & wait"]},
        {"command": ["serve"]},
        {},
    ],
)
def test_a_shell_that_hands_over_is_no_finding(container: dict[str, Any]) -> None:
    """Under an init, by exec, with a trap; or no shell at all."""
    assert found({"name": "app", **container}) == []


def test_every_finding_names_a_rule() -> None:
    """With the severity that the rule has."""
    task = parsed({"name": "app", "stopTimeout": 300, **SHELL}, **ON_FARGATE)
    findings = static_findings.of_task("web", task)
    assert {item.finding.rule for item in findings} == {
        "stop-timeout-out-of-range",
        "init-process-missing",
        "chain-exceeds-limit",
    }
    assert all(item.finding.severity is RULES[item.finding.rule].severity for item in findings)


def test_container_definitions_alone_are_a_task() -> None:
    """As Terraform's `container_definitions` has them, with its nulls."""
    text = json.dumps([{"name": "front", "image": "a", "command": None, "stopTimeout": 7}])
    task = task_definition.parse(text, "list.json")
    assert [(item.name, item.stop_timeout_s) for item in task.containers] == [("front", 7)]


def test_the_agents_stop_timeout_applies_where_a_container_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` and `run` read ECS_CONTAINER_STOP_TIMEOUT as `ecs serve` does; Fargate has no agent."""
    file = tmp_path / "task.json"
    containers = [{"name": "own", "image": "a", "stopTimeout": 7}, {"name": "none", "image": "a"}]
    scenario = Scenario("task", Subject(task_file=str(file)), stop=StopPlan(own_timeouts=True))
    for fargate, expected in ((False, [7, 3]), (True, [7, 30])):
        more = {"requiresCompatibilities": ["FARGATE"]} if fargate else {}
        file.write_text(json.dumps({"containerDefinitions": containers, **more}), encoding="utf-8")
        monkeypatch.setenv("ECS_CONTAINER_STOP_TIMEOUT", "3s")
        read = named_files.with_task(scenario)
        assert read.subject.task is not None
        assert [item.stop_timeout_s for item in read.subject.task.containers] == expected
        assert read.stop.timeouts_ns == (max(expected) * NS_PER_S,)
